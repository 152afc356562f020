"""The CIF texts of a snapshot: files, folders and archives of them, unpacked in memory and handed on in lists."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import pyarrow as pa

from assets.cif_blocks import MAX_RAW, Read, Text
from assets.isolated import Lost, isolated_lists
from assets.members import DAMAGED, damaged, members
from assets.readers import SOURCE_FIELDS
from catalog.errors import SourceError
from catalog.records import Snapshot

LIST = 64
LIST_BYTES = 4 << 20
MAX_TEXT = 256 * 1024 * 1024

What = TypeVar("What")


def texts(snapshot: Snapshot) -> Iterator[Text]:
    """Every CIF of a snapshot, whether it can be unpacked or not.

    Raises:
        SourceError: an archive is damaged, or the snapshot is one file that is no CIF (while iterating).
    """
    for member in members(snapshot, _is_cif):
        try:
            content = member.stream.read(MAX_TEXT + 1)
        except DAMAGED as error:
            raise damaged(member.place, error) from error
        text = _text(member.place, content)._replace(file_name=_stem(member.name))
        if member.is_source:
            _refuse_foreign(text)
        yield text


def gathered(given: Iterator[Text], wanted: What) -> Iterator[list[tuple[Text, What]]]:
    """Texts, each with what is wanted of it, in lists that are worth the way to another process."""
    some: list[tuple[Text, What]] = []
    size = 0
    for text in given:
        some.append((text, wanted))
        size += len(text.content)
        if len(some) == LIST or size >= LIST_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def records(
    given: Iterator[Text],
    wanted: What,
    seen: set[str],
    read: Callable[[list[tuple[Text, What]]], Read],
    lost: Callable[[Text, What, str], Read],
    rows: int = LIST,
) -> Iterator[pa.RecordBatch]:
    """The records of texts, parsed in processes of their own and numbered; all data names are added to ``seen``.

    Args:
        given: the texts.
        wanted: what is wanted of each.
        seen: takes up the names.
        read: parses some of them; named in a module.
        lost: makes the record of a text that was not survived.
        rows: of a batch at most.
    """
    number = 0
    for some, answer in isolated_lists(read, gathered(given, wanted)):
        found = lost(*some[0], answer.reason) if isinstance(answer, Lost) else answer
        seen.update(found.seen)
        for start in range(0, found.batch.num_rows, rows):
            batch = found.batch.slice(start, rows)
            ordinals = pa.array(range(number, number + batch.num_rows), pa.int64())
            yield batch.set_column(0, SOURCE_FIELDS[0], ordinals)
            number += batch.num_rows


def _stem(name: str) -> str:
    """A file's name without its folders and endings."""
    return re.sub(r"(?i)\.m?cif(\.gz)?$", "", name.rpartition("/")[2])


def _refuse_foreign(text: Text) -> None:
    """A snapshot of one file that is no CIF at all is a wrong source, not a bad record."""
    if text.problem or not text.content.strip():
        raise SourceError(f"{text.place}: {text.problem or 'the file is empty'}", "fetch it again")
    if not re.search(rb"(?im)^\s*(?:data_|_cell_length_a)", text.content.replace(b"\0", b"")):
        raise SourceError(f"{text.place} is not a CIF: no line begins with data_", "check source.uri and source.format")


def _is_cif(name: str) -> bool:
    return name.lower().endswith((".cif", ".cif.gz", ".mcif"))


def _text(place: str, content: bytes) -> Text:
    if content.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            content = unpacker.decompress(content, MAX_TEXT + 1)
        except zlib.error as error:
            return Text(place, b"", f"the gzip file is damaged: {error}")
        if not unpacker.eof and len(content) <= MAX_TEXT:
            return Text(place, content, "the gzip file is cut short")
    if len(content) > MAX_TEXT:
        return Text(place, content[:MAX_RAW], f"the file is larger than {MAX_TEXT >> 20} MB")
    return Text(place, content)
