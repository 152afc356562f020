"""Domain science between reading and mapping; one module per kind of thing, each with ``transform``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

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
    names = sorted(module.name for module in iter_modules(__path__))
    if name not in names:
        raise ContractError(f"there is no transform {name!r}", f"the transforms are: {', '.join(names)}")
    try:
        function: Transform = import_module(f"{__name__}.{name}").transform
    except ModuleNotFoundError as error:
        raise missing_library(f"transform {name!r}", error) from None
    return function
