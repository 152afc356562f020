"""One module per format, named for the format. Each has ``read`` and ``Options``; none knows a dataset or a table."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from catalog.errors import ContractError, SourceError, how_to_install
from catalog.records import Snapshot

Reader = Callable[[Snapshot, Any, Collection[str]], pa.RecordBatchReader]

SOURCE_FIELDS = (
    pa.field("_source", pa.int64(), nullable=False),
    pa.field("_position", pa.string(), nullable=False),
    pa.field("_record", pa.string()),
    pa.field("_error", pa.string()),
    pa.field("_raw", pa.string()),
)
"""What every reader's batches begin with: the ordinal of the source record in the snapshot (from 0), where it
stands in words (``clinvar.vcf.gz line 31``), the source's own identifier, why it could not be read (else null),
and in that case its raw text."""


def formats() -> tuple[str, ...]:
    """The formats that can be read, sorted."""
    return tuple(sorted(module.name for module in iter_modules(__path__)))


def reader(name: str) -> tuple[Reader, type[BaseModel]]:
    """The ``read`` function and the ``Options`` model of one format.

    Raises:
        ContractError: no such format.
        SourceError: its library is not installed.
    """
    try:
        module = import_module(f"{__name__}.{known_format(name)}")
    except ModuleNotFoundError as error:
        raise missing_library(f"format {name!r}", error) from None
    return module.read, module.Options


def missing_library(what: str, error: ModuleNotFoundError) -> SourceError:
    """The error for a format whose library comes with an extra that is not installed."""
    return SourceError(f"{what} needs the package {error.name!r}", how_to_install("all"))


def known_format(name: str) -> str:
    """The name itself, if it is a format's; nothing is imported.

    Raises:
        ContractError: no such format.
    """
    if name not in formats():
        raise ContractError(f"there is no reader for format {name!r}", f"the formats are: {', '.join(formats())}")
    return name
