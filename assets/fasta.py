"""A reference sequence, read by range: FASTA with its ``.fai``, plain or as BGZF with its ``.gzi``, near or far.

Bases come in blocks through fsspec, and the last few blocks are kept, so memory does not grow with the genome.
Layout of the indices: samtools faidx(5) and bgzip(1).
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from assets.source import Address, Remote, Source
from catalog.assemblies import contig_of
from catalog.errors import SourceError

Array: TypeAlias = np.ndarray[Any, Any]

NEAR_BLOCK = 128 << 10
FAR_BLOCK = 4 << 20
KEPT_BLOCKS = 16

_INDEX = "index it: `samtools faidx FILE` writes FILE.fai, and FILE.gzi if it is compressed by bgzip"
_UPPER = bytes.maketrans(bytes(range(97, 123)), bytes(range(65, 91)))
# hg19's chrM is NC_001807, another sequence than the MT of every other name; its length tells it.
_HG19_CHRM = 16571


class Contig(NamedTuple):
    """One line of a ``.fai``: how many bases, at which byte they begin, bases and bytes per line."""

    name: str
    length: int
    offset: int
    bases: int
    width: int

    def byte(self, base: int) -> int:
        """Where a base (from 0) lies in the uncompressed file."""
        return self.offset + base // self.bases * self.width + base % self.bases


class Fasta:
    """The sequences of one FASTA file, upper-case, by contig and range."""

    def __init__(
        self, uri: str, storage_options: Mapping[str, Any] | None = None, setting: str = "transform.reference"
    ) -> None:
        """Open it and read its index. ``setting`` is the line of the contract that names it.

        Raises:
            SourceError: the file or an index of it is not there, or they do not fit each other.
        """
        self.uri = uri
        self._address = Address(uri, "source", storage_options=storage_options or {}, setting=setting)
        self._source = Source("", self._address)
        self._file = _only(self._source)
        self._bgzf = self._packed()
        self.contigs = {contig.name: contig for contig in self._index()}
        self._spelled: dict[str, Contig] = {}
        for name, contig in self.contigs.items():
            spelling = contig_of(name)[0]
            if not (spelling == "MT" and contig.length == _HG19_CHRM):
                self._spelled.setdefault(spelling, contig)
        self._block = NEAR_BLOCK if self._source.address.protocol == "file" else FAR_BLOCK
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def contig(self, name: str) -> Contig | None:
        """The contig of that name, or that goes by another of its names (chr1, 1, NC_000001.11); None if none does."""
        return self.contigs.get(name) or self._spelled.get(contig_of(name)[0])

    def sequence(self, contig: str, start: int, end: int) -> bytes:
        """The bases ``start`` to before ``end``, counted from 0, upper-case; cut at the contig's end.

        Raises:
            SourceError: there is no such contig, or the file does not fit its index.
        """
        found = self.contig(contig)
        if found is None:
            raise SourceError(f"{self.uri} has no contig {contig!r}", "give the reference of the data's assembly")
        begin, end = max(start, 0), min(end, found.length)
        if begin >= end:
            return b""
        first, text = self._joined(found, begin, end)
        return text[begin - first : end - first]

    def window(self, contig: Contig, start: int, end: int) -> tuple[int, Array]:
        """The whole blocks around a range, as bytes, and the base (from 0) with which they begin.

        Whoever asks in order of position gets each block once.
        """
        first, text = self._joined(contig, max(start, 0), min(max(end, start + 1, 1), contig.length))
        return first, np.frombuffer(text, dtype=np.uint8)

    def _joined(self, contig: Contig, start: int, end: int) -> tuple[int, bytes]:
        blocks = range(min(start, max(contig.length - 1, 0)) // self._block, max(end - 1, 0) // self._block + 1)
        texts = [self._held(contig, block) for block in blocks]
        return blocks[0] * self._block, texts[0] if len(texts) == 1 else b"".join(texts)

    def _held(self, contig: Contig, block: int) -> bytes:
        key = (contig.name, block)
        if key not in self._blocks:
            self._blocks[key] = self._fetched(contig, block * self._block)
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _fetched(self, contig: Contig, start: int) -> bytes:
        end = min(start + self._block, contig.length)
        if start >= end:
            return b""
        begin, close = contig.byte(start), contig.byte(end - 1) + 1
        text = self._bgzf.between(begin, close) if self._bgzf else self._source.between(self._file, begin, close)
        text = text.translate(_UPPER, b"\r\n")
        if len(text) != end - start or not text.isalpha():
            raise SourceError(f"{self.uri} does not fit its .fai in contig {contig.name!r}", _INDEX)
        return text

    def _packed(self) -> _Bgzf | None:
        head = self._source.between(self._file, 0, min(14, self._file.size or 14))
        if not head.startswith(b"\x1f\x8b"):
            return None
        if head[12:14] != b"BC":
            raise SourceError(f"{self.uri} is gzip, which cannot be read by range", "compress it by bgzip; " + _INDEX)
        return _Bgzf(self._source, self._file, self._beside(".gzi"))

    def _beside(self, suffix: str) -> bytes:
        source = Source("", replace(self._address, uri=self.uri + suffix))
        try:
            file = _only(source)
            return source.persist(lambda: b"".join(source.read(file, 0)[2]), lambda: 0)
        except SourceError as error:
            # What is there and cannot be had is no matter of making an index.
            missing = error.problem.endswith("is not there")
            raise SourceError(error.problem, _INDEX if missing else error.remedy) from error

    def _index(self) -> list[Contig]:
        contigs: dict[str, Contig] = {}
        for number, line in enumerate(self._beside(".fai").decode("utf-8", "replace").splitlines(), start=1):
            contig = _contig(line)
            if contig is None or contig.name in contigs:
                raise SourceError(f"{self.uri}.fai line {number} is no line of a FASTA index: {line[:80]!r}", _INDEX)
            if not self._bgzf and contig.length and contig.byte(contig.length - 1) >= (self._file.size or 1 << 62):
                raise SourceError(f"{self.uri} is shorter than its .fai says of contig {contig.name!r}", _INDEX)
            contigs[contig.name] = contig
        if not contigs:
            raise SourceError(f"{self.uri}.fai is empty", _INDEX)
        return list(contigs.values())


class _Bgzf:
    """Byte ranges of what a BGZF file holds, by its ``.gzi``: pairs of offsets, compressed and not."""

    def __init__(self, source: Source, file: Remote, index: bytes) -> None:
        self._source, self._file = source, file
        numbers = np.frombuffer(index[: len(index) // 8 * 8], dtype="<u8").astype(np.int64)
        pairs = numbers[1:].reshape(-1, 2) if len(numbers) % 2 else np.empty((0, 2), dtype=np.int64)
        if (
            len(index) % 8
            or not len(numbers)
            or numbers[0] != len(pairs)
            or (np.diff(pairs, axis=0, prepend=0) <= 0).any()
        ):
            raise SourceError(source.problem("has a .gzi that is none"), _INDEX)
        self._packed, self._plain = (np.concatenate(([0], column)) for column in (pairs[:, 0], pairs[:, 1]))

    def between(self, start: int, end: int) -> bytes:
        """The uncompressed bytes ``start`` to before ``end``."""
        first = int(np.searchsorted(self._plain, start, "right")) - 1
        behind = int(np.searchsorted(self._plain, end, "left"))
        close = int(self._packed[behind]) if behind < len(self._packed) else self._file.size or 0
        text, rest = [], self._source.between(self._file, int(self._packed[first]), close)
        try:
            while rest:
                member = zlib.decompressobj(31)
                text.append(member.decompress(rest))
                rest = member.unused_data
        except zlib.error as error:
            raise SourceError(self._source.problem(f"does not fit its .gzi: {error}"), _INDEX) from error
        skipped = start - int(self._plain[first])
        return b"".join(text)[skipped : skipped + end - start]


def _only(source: Source) -> Remote:
    listing = source.listing()
    if listing.is_folder:
        raise SourceError(source.problem("is a folder, expected one file"), "give the FASTA file itself")
    return listing.files[0]


def _contig(line: str) -> Contig | None:
    fields = line.split("\t")
    if len(fields) != 5 or not fields[0] or not all(field.isascii() and field.isdigit() for field in fields[1:]):
        return None
    contig = Contig(fields[0], *(int(field) for field in fields[1:]))
    return contig if contig.width >= contig.bases and (contig.bases or not contig.length) else None
