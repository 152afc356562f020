"""Domain science between reading and mapping; one module per kind of thing, each with ``transform``.

A module whose work has choices has ``Options`` and ``prepare(options)`` in place of ``transform``: what it gives
is called with every batch in turn, and may hold what it needs from one to the next (a reference sequence).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from assets.readers import missing_library
from catalog.errors import ContractError

Transform = Callable[[pa.RecordBatch], pa.RecordBatch]


def transform(name: str, options: Mapping[str, Any] | None = None) -> Transform:
    """The transform of one module of this package, made ready with a contract's options.

    Raises:
        ContractError: no such transform, or it has no such options.
        SourceError: its library is not installed.
    """
    module = _module(name)
    if not hasattr(module, "Options"):
        if options:
            raise ContractError(f"transform {name!r} has no options", "remove `transform:` from the contract")
        function: Transform = module.transform
        return function
    try:
        prepared: Transform = module.prepare(module.Options(**(options or {})))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise ContractError(
            f"options of transform {name!r}: {problems}", f"the options are: {', '.join(module.Options.model_fields)}"
        ) from None
    return prepared


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


def works_apart(name: str) -> bool:
    """Whether a transform does its work in processes of its own: its module's ``WORKS_APART``, else not."""
    known = name in {module.name for module in iter_modules(__path__)}  # `transform` refuses the others
    return known and bool(getattr(_module(name), "WORKS_APART", False))


def _module(name: str) -> ModuleType:
    names = sorted(module.name for module in iter_modules(__path__))
    if name not in names:
        raise ContractError(f"there is no transform {name!r}", f"the transforms are: {', '.join(names)}")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise missing_library(f"transform {name!r}", error) from None
