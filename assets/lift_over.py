"""Alleles moved between GRCh37 and GRCh38 along a UCSC chain file.

An allele is moved only if every base of it has exactly one place in the other assembly, side by side, and the
other assembly's reference has the same bases there. Whatever else is refused with the reason.
"""

from __future__ import annotations

import gzip
import re
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from assets.fasta import Fasta
from assets.source import Address, Source
from catalog.assemblies import ASSEMBLIES, assembly_by_lengths, contig_of, lengths
from catalog.errors import ContractError, SourceError, how_to_install

_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
_BASES = re.compile("[ACGTN]+")
_HEADER = re.compile(rb"^chain\s+\S+\s+(\S+)\s+(\d+)\s+\S+\s+\d+\s+\d+\s+(\S+)\s+(\d+)\s", re.MULTILINE)
_REMEDY = "give UCSC's chain file for this direction, such as hg19ToHg38.over.chain.gz"


class Lifted(NamedTuple):
    """The alleles on the other assembly, row by row; all null where ``reason`` says why a row was not moved.

    ``swapped`` is true where the other assembly's reference is the allele that was the alternate.
    """

    contig: pa.StringArray
    position: pa.Int64Array
    ref: pa.StringArray
    alt: pa.StringArray
    swapped: pa.BooleanArray
    reason: pa.StringArray


class _Place(NamedTuple):
    """Where a stretch lies on the other assembly, from 0; ``forward`` is False on the other strand."""

    contig: str
    start: int
    end: int
    forward: bool


class _Row(NamedTuple):
    contig: str
    position: int
    ref: str
    alt: str | None
    swapped: bool = False


class LiftOver:
    """One chain file, and the reference of the assembly that it leads to."""

    def __init__(
        self,
        chain: str,
        to: str,
        reference: Fasta,
        *,
        swap: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Read the chain file, near or far.

        ``swap`` permits that REF and ALT of a substitution change places where the other assembly's reference has
        the alternate. It is sound only for rows that say nothing of the alternate allele: counts, frequencies,
        consequences and classifications of one allele are not those of the other.

        Raises:
            ContractError: ``to`` is neither GRCh37 nor GRCh38.
            SourceError: the chain file is not there, is none, or leads elsewhere; or liftover is not installed.
        """
        if to not in ASSEMBLIES:
            raise ContractError(f"alleles cannot be lifted over to {to!r}", f"choose one of {', '.join(ASSEMBLIES)}")
        self.to, self.source = to, next(name for name in ASSEMBLIES if name != to)
        self._reference, self._swap = reference, swap
        content = _content(chain, storage_options or {})
        _check_direction(chain, content, self.source, to)
        self._targets = {contig_of(name)[0]: target for name, target in _opened(chain, content).items()}

    def apply(self, contig: pa.Array, position: pa.Array, ref: pa.Array, alt: pa.Array) -> Lifted:
        """Move alleles, one per row: position from 1, contigs in the one spelling, bases upper-case.

        Insertions and deletions get the other reference's base as their anchor, but are not aligned anew. A row
        with nothing in contig, position or ref is left null, without a reason; one without ``alt`` is moved as the
        place that it is.
        """
        columns = (contig.cast(pa.string()), position, ref.cast(pa.string()), alt.cast(pa.string()))
        given = zip(*(column.to_pylist() for column in columns), strict=True)
        rows = [self._lifted(*row) if None not in row[:3] else "" for row in given]
        moved = [row if isinstance(row, _Row) else None for row in rows]
        names = ("contig", "position", "ref", "alt", "swapped")
        kinds = (pa.string(), pa.int64(), pa.string(), pa.string(), pa.bool_())
        found: list[pa.Array] = [
            pa.array([getattr(row, name) if row else None for row in moved], kind)
            for name, kind in zip(names, kinds, strict=True)
        ]
        found.append(pa.array([row if isinstance(row, str) and row else None for row in rows], pa.string()))
        return Lifted(*found)

    def _lifted(self, contig: str, position: int, ref: str, alt: str | None) -> _Row | str:
        if not _BASES.fullmatch(ref) or (alt is not None and not _BASES.fullmatch(alt)):
            return f"not lifted over to {self.to}: only alleles of plain bases are, and ALT is {alt!r}"[:200]
        start = position - 1
        place = self._place(contig, start, start + len(ref))
        if isinstance(place, str):
            return place
        if alt is None or alt == ref:
            return self._substitution(place, ref, alt)
        offset, deleted, inserted = _differing(ref, alt)
        if deleted and inserted:
            return self._substitution(place, ref, alt)
        return self._indel(contig, start + offset, deleted, inserted)

    def _substitution(self, place: _Place, ref: str, alt: str | None) -> _Row | str:
        ref, alt = _turned(ref, place.forward), None if alt is None else _turned(alt, place.forward)
        held = self._held(place.contig, place.start, place.end)
        if held == ref:
            return _Row(place.contig, place.start + 1, ref, alt)
        if alt is None or held != alt:
            return self._mismatch(place, held, ref)
        if self._swap:
            return _Row(place.contig, place.start + 1, alt, ref, swapped=True)
        return (
            f"not lifted over: the alternate allele is the reference of {self.to} at {place.contig}:"
            f"{place.start + 1}, and what is said of the one allele does not hold for the other"
        )

    def _indel(self, contig: str, start: int, deleted: str, inserted: str) -> _Row | str:
        """A deletion lies where its bases do; an insertion between the two bases beside it."""
        if not deleted and not start:
            return f"not lifted over to {self.to}: nothing lies before the insertion at the start of {contig}"
        place = (
            self._place(contig, start, start + len(deleted)) if deleted else self._place(contig, start - 1, start + 1)
        )
        if isinstance(place, str):
            return place
        deleted, inserted = _turned(deleted, place.forward), _turned(inserted, place.forward)
        if deleted and (held := self._held(place.contig, place.start, place.end)) != deleted:
            return self._mismatch(place, held, deleted)
        begin = place.start if deleted else place.start + 1
        anchor = self._held(place.contig, begin - 1, begin) if begin else ""
        if not _BASES.fullmatch(anchor):
            return f"not lifted over: the reference of {self.to} has no base before {place.contig}:{begin + 1}"
        return _Row(place.contig, begin, anchor + deleted, anchor + inserted)

    def _place(self, contig: str, start: int, end: int) -> _Place | str:
        """Where the bases [start, end) lie on the other assembly, or why they do not."""
        where = f"{self.source} {contig}:{start + 1}" + (f"-{end}" if end > start + 1 else "")
        if contig == "MT":
            # NC_012920.1 is MT of both assemblies; UCSC's hg19, and so its chain, has another sequence as chrM.
            inside = start >= 0 and end <= lengths(self.to)["MT"]
            return _Place(contig, start, end, forward=True) if inside else f"not lifted over: no {where}"
        target = self._targets.get(contig)
        if target is None or start < 0:
            return f"not lifted over: the chain file leads from {where} to nowhere"
        first = target[start]
        if len(first) != 1:
            return f"not lifted over: {where} has {'several places' if first else 'no place'} in {self.to}"
        name, begin, strand = first[0]
        step = 1 if strand == "+" else -1
        # The last base first: where a long stretch breaks, it mostly shows there.
        for at in (end - 1, *range(start + 1, end - 1)):
            if target[at] != [(name, begin + step * (at - start), strand)]:
                return f"not lifted over: the bases of {where} are not side by side in {self.to}"
        low = begin if step == 1 else begin - (end - start) + 1
        return _Place(contig_of(name)[0], low, low + end - start, forward=step == 1)

    def _held(self, contig: str, start: int, end: int) -> str:
        if self._reference.contig(contig) is None:
            return ""
        return self._reference.sequence(contig, start, end).decode("ascii", "replace")

    def _mismatch(self, place: _Place, held: str, expected: str) -> str:
        where = f"{self.to} at {place.contig}:{place.start + 1}"
        if not held:
            return f"not lifted over: the reference has no bases for {where}"
        return f"not lifted over: the reference of {where} is {held[:50]}, not {expected[:50]}"


def _differing(ref: str, alt: str) -> tuple[int, str, str]:
    """Where two different alleles begin to differ, and what is left of them without their shared ends.

    The shared beginning goes first, so that what was written as an anchor is one.
    """
    offset, shorter = 0, min(len(ref), len(alt))
    while offset < shorter and ref[offset] == alt[offset]:
        offset += 1
    shared = 0
    while shared < shorter - offset and ref[-1 - shared] == alt[-1 - shared]:
        shared += 1
    return offset, ref[offset : len(ref) - shared], alt[offset : len(alt) - shared]


def _turned(bases: str, forward: bool) -> str:
    return bases if forward else bases.translate(_COMPLEMENT)[::-1]


def _content(chain: str, storage_options: Mapping[str, Any]) -> bytes:
    """The chain file's bytes, decompressed: those of the human assemblies have some 10 MB at most."""
    setting = "transform.lift_over.chain"
    source = Source("", Address(chain, "source", storage_options=storage_options, setting=setting))
    listing = source.listing()
    if listing.is_folder:
        raise SourceError(source.problem("is a folder, expected one chain file"), _REMEDY)
    content = source.persist(lambda: b"".join(source.read(listing.files[0], 0)[2]), lambda: 0)
    try:
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(source.problem(f"is damaged: {error}"), _REMEDY) from error


def _check_direction(chain: str, content: bytes, source: str, to: str) -> None:
    """By the lengths of the chromosomes that the chains name, as far as those tell an assembly."""
    headers = _HEADER.findall(content)
    if not headers:
        raise SourceError(f"{chain} is no chain file: it has no line that begins a chain", _REMEDY)
    sizes = (
        {name.decode(): int(size) for name, size in found}
        for found in ([h[:2] for h in headers], [h[2:] for h in headers])
    )
    told = tuple(assembly_by_lengths(size) for size in sizes)
    if any(found not in (None, wanted) for found, wanted in zip(told, (source, to), strict=True)):
        raise SourceError(f"{chain} leads from {told[0]} to {told[1]}, not from {source} to {to}", _REMEDY)


def _opened(chain: str, content: bytes) -> dict[str, Any]:
    try:
        from liftover import ChainFile
    except ImportError as error:
        raise SourceError("lifting over needs the library liftover", how_to_install("genomics")) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain"
        path.write_bytes(content)
        try:
            return dict(ChainFile(str(path)).items())
        except ValueError as error:
            raise SourceError(f"{chain} is no chain file: {error}", _REMEDY) from error
