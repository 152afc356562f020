"""Quarantine: what is kept of a refused record, and how refused records are held back until there are enough."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), metadata={"description": "The dataset, whose terms the record inherits"}),
        pa.field("table", pa.string(), metadata={"description": "The canonical table that it was meant for"}),
        pa.field("source", pa.int64(), metadata={"description": "Ordinal of the record in the snapshot, from 0"}),
        pa.field("position", pa.string(), metadata={"description": "Where the record stands in the source"}),
        pa.field("record", pa.string(), metadata={"description": "The source's own identifier"}),
        pa.field("column", pa.string(), metadata={"description": "The canonical column at fault, if it is one"}),
        pa.field("check", pa.string(), metadata={"description": "The check that refused"}),
        pa.field("value", pa.string(), metadata={"description": "The value that was refused"}),
        pa.field("reason", pa.string(), metadata={"description": "What is wrong, in words"}),
        pa.field(
            "raw",
            pa.string(),
            metadata={
                "description": "The source's own values as JSON, or its text where it could not be read; long ones cut"
            },
        ),
    ]
)
RAW_LIMIT = 65_536  # characters of raw values kept per refused record; the snapshot has the rest
FLUSH_ROWS = 10_000
FLUSH_CHARACTERS = 16 << 20

Refuse = Callable[[pa.Table], None]


class Quarantine:
    """Refused records on their way to the callback that keeps them, in tables of QUARANTINE_SCHEMA."""

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._waiting: list[dict[str, Any]] = []
        self._waiting_characters = 0

    def add(self, failure: dict[str, Any]) -> None:
        """Hold a refused record back until there are enough for a file; they may be large."""
        self._waiting.append(failure)
        self._waiting_characters += len(failure["raw"])
        if len(self._waiting) >= FLUSH_ROWS or self._waiting_characters >= FLUSH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Hand over what is held back."""
        if self._waiting:
            self._refuse(pa.Table.from_pylist(self._waiting, schema=QUARANTINE_SCHEMA))
            self._waiting = []
            self._waiting_characters = 0


def bounded_json(values: dict[str, Any]) -> str:
    """The source's values as JSON of bounded length that still parses: long texts and lists are cut, not the JSON."""
    told = {name: value for name, value in values.items() if not name.startswith("_")}
    most, (text, whole) = _MOST, _told(told, _MOST)
    while len(text) > RAW_LIMIT and most > 1:
        most //= 2
        text, _ = _told(told, most)
    while not whole and most >= _MOST and len(text) <= RAW_LIMIT // 2:
        most *= 2
        more, whole = _told(told, most)
        if len(more) > RAW_LIMIT:
            break
        text = more
    return text if len(text) <= RAW_LIMIT else as_json({"columns": len(told)})


_MOST = 128  # characters and items that are tried first; whole long lists are not written out only to be cut


def _told(values: dict[str, Any], most: int) -> tuple[str, bool]:
    """The values as JSON with what is longer than ``most`` cut, and whether nothing was."""
    cuts: list[Any] = []
    return as_json({name: _cut(value, most, cuts) for name, value in values.items()}), not cuts


def _cut(value: Any, most: int, cuts: list[Any]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    if isinstance(value, (str, list)) and len(value) > most:
        cuts.append(value)
    if isinstance(value, str):
        return value if len(value) <= most else value[:most] + "…"
    if isinstance(value, list):
        return [_cut(item, most, cuts) for item in value[:most]] + (["…"] if len(value) > most else [])
    return {key: _cut(item, most, cuts) for key, item in value.items()} if isinstance(value, dict) else value


def as_json(value: Any) -> str:
    """A value as JSON; what JSON does not know as text."""
    return json.dumps(value, default=str, ensure_ascii=False)
