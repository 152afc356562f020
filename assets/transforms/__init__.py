"""Domain science between reading and mapping; one module per kind of thing, each with ``transform``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import pyarrow as pa

from assets.readers import missing_library
from catalog.errors import ContractError

Transform = Callable[[pa.RecordBatch], pa.RecordBatch]


def transform(name: str) -> Transform:
    """The transform of one module of this package.

    Raises:
        ContractError: no such transform.
        SourceError: its library is not installed.
    """
    function: Transform = _module(name).transform
    return function


def reads(name: str) -> frozenset[str]:
    """The source columns that a transform uses where they are there: its module's ``READS``, if it has one.

    Raises:
        ContractError: no such transform.
        SourceError: its library is not installed.
    """
    return frozenset(getattr(_module(name), "READS", ()))


def rows_per_batch(name: str) -> int:
    """How many rows a transform wants at once, if the source has them: its module's ``ROWS_PER_BATCH``, else 1."""
    known = name in {module.name for module in iter_modules(__path__)}  # `transform` refuses the others
    return int(getattr(_module(name), "ROWS_PER_BATCH", 1)) if known else 1


def _module(name: str) -> ModuleType:
    names = sorted(module.name for module in iter_modules(__path__))
    if name not in names:
        raise ContractError(f"there is no transform {name!r}", f"the transforms are: {', '.join(names)}")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise missing_library(f"transform {name!r}", error) from None
