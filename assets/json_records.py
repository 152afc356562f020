"""Records of JSON: lines, the items of a list, of the ``data`` of a response, or one document; read as a stream."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

import ijson
import orjson

from assets.members import DAMAGED, damaged, members, unpacked
from catalog.records import Snapshot

MAX_LINE = 64 << 20
"""Bytes; a longer line is one record that cannot be read."""

MAX_RAW = 64 * 1024


class Document(NamedTuple):
    """One JSON value and where it stands in its file, or why it cannot be read and the text as it is."""

    place: str
    value: Any
    problem: str = ""
    raw: str = ""


def placed_documents(snapshot: Snapshot, keyed: bool = False) -> Iterator[tuple[str, str | None, Document]]:
    """The records of all JSON files of a snapshot: where each stands, its key if the files are keyed, and itself.

    Raises:
        SourceError: a file or an archive is damaged (while iterating).
    """
    for member in members(snapshot, _is_json):
        stream = unpacked(member.stream)
        found = keyed_documents(stream) if keyed else ((None, document) for document in documents(stream))
        try:
            for key, document in found:
                yield f"{member.place} {document.place}".strip(), key, document
        except DAMAGED as error:
            raise damaged(member.place, error) from error


def _is_json(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson"))


def documents(stream: IO[bytes]) -> Iterator[Document]:
    """The records of one file.

    A file whose first line is a value of its own and has others after it holds one record on each line. Else it is
    one value: a list of records, an object whose ``data`` is such a list, or one record.
    """
    first = stream.readline(MAX_LINE)
    while first and not first.strip():
        first = stream.readline(MAX_LINE)
    head = stream.readline(MAX_LINE) if first.endswith(b"\n") else b""
    whole = _loaded(first)
    if head.strip() and not isinstance(whole, ValueError) and isinstance(whole, dict):
        yield from _lines(itertools.chain([first, head], iter(lambda: stream.readline(MAX_LINE), b"")))
    elif not head.strip() and len(first) < MAX_LINE and not isinstance(whole, ValueError):
        yield from _of_value(whole)
    else:
        yield from _streamed(_Chained(first + head, stream))


def keyed_documents(stream: IO[bytes]) -> Iterator[tuple[str | None, Document]]:
    """The members of one object, each with its key, which is the identifier of the record."""
    number = 0
    try:
        for key, value in ijson.kvitems(stream, "", use_float=True):
            number += 1
            yield key, Document(f"key {key}", value)
    except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
        after = f"after record {number}" if number else ""
        yield None, Document(after, None, f"the file is not valid JSON: {str(error).splitlines()[0]}")


def text(value: Any) -> str | None:
    """A value as text: numbers as they are written, lists and objects as JSON; null is None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # a number of more than 64 bits, half a surrogate pair
        return json.dumps(value, default=str)


def at(record: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path (``data.run_type``), or None; a key that holds dots itself is found first."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def paths(record: Mapping[str, Any], depth: int = 3) -> Iterator[str]:
    """The dotted paths of a record, as far as some keys deep."""
    for key, value in record.items():
        yield key
        if depth > 1 and isinstance(value, Mapping):
            yield from (f"{key}.{path}" for path in paths(value, depth - 1))


def _loaded(line: bytes) -> Any:
    """The value, or the error that says why there is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(line)  # pymatgen and pandas write NaN, which orjson refuses
        except (ValueError, RecursionError):
            return error


def _lines(lines: Iterator[bytes]) -> Iterator[Document]:
    for number, line in enumerate(lines, 1):
        value = _loaded(line) if line.strip() else None
        if isinstance(value, ValueError):
            raw = line[:MAX_RAW].decode(errors="replace")
            yield Document(f"line {number}", None, f"the line is not valid JSON: {value}", raw)
        elif line.strip():
            yield Document(f"line {number}", value)


def _of_value(value: Any) -> Iterator[Document]:
    items = value.get("data") if isinstance(value, dict) and isinstance(value.get("data"), list) else value
    if isinstance(items, list):
        yield from (Document(f"entry {number}", item) for number, item in enumerate(items, 1))
    else:
        yield Document("", items)


class _Chained:
    """A stream again, after its beginning was looked at."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; all if it is negative."""
        if self._head:
            part, self._head = self._head[:size] if size >= 0 else self._head, self._head[size:] if size >= 0 else b""
            return part if size >= 0 else part + self._stream.read()
        return self._stream.read(size)


def _streamed(stream: _Chained) -> Iterator[Document]:
    """Records of a value that is too large, or too broken, to be read at once: all up to the fault are kept."""
    number = 0
    rest = ijson.ObjectBuilder()
    item: ijson.ObjectBuilder | None = None
    prefix_of_items: str | None = None
    try:
        for prefix, event, value in ijson.parse(stream, use_float=True):
            if prefix_of_items is None and event == "start_array" and prefix in ("", "data"):
                prefix_of_items = f"{prefix}.item".lstrip(".")
            elif prefix_of_items is not None and (
                prefix == prefix_of_items or prefix.startswith(f"{prefix_of_items}.")
            ):
                item = item or ijson.ObjectBuilder()
                item.event(event, value)
                if prefix == prefix_of_items and event not in ("start_map", "start_array", "map_key"):
                    number += 1
                    yield Document(f"entry {number}", item.value)
                    item = None
            elif prefix_of_items is None:
                rest.event(event, value)
        if prefix_of_items is None:
            yield Document("", rest.value)
    except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
        after = f"after entry {number}" if number else ""
        yield Document(after, None, f"the file is not valid JSON: {str(error).splitlines()[0]}")
