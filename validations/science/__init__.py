"""Named domain checks: physics, chemistry and biology that a schema cannot say.

A check takes one batch of canonical rows and answers, row by row, whether it holds; null means that there
was nothing to check. Its docstring is the reason that people read beside a quarantined record.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

import polars as pl

ScienceCheck = Callable[[pl.DataFrame], pl.Series]

_CHECKS: dict[str, ScienceCheck] = {}


def science_check(function: ScienceCheck) -> ScienceCheck:
    """Register a check under its function's name."""
    if function.__name__ in _CHECKS:
        raise ValueError(f"two science checks are named {function.__name__!r}")
    _CHECKS[function.__name__] = function
    return function


def science_checks() -> dict[str, ScienceCheck]:
    """All checks by name, from every module of this package."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return dict(_CHECKS)
