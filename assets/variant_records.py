"""The places and alleles of a batch of variant records, and their normal form: with faults told record by record."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets import alleles
from assets.allele_text import Array, Rows, Text, Trimmed, numbers
from assets.alleles import Window
from assets.fasta import Contig, Fasta
from catalog.assemblies import assembly_by_lengths, assembly_of, contig_of
from catalog.errors import HarmoniseError

_HG19_CHRM = 16571
_SHOWN = 60
_NO_CONTIG = alleles.BEYOND + 1


class Records(NamedTuple):
    """The place and the alleles of each record; of ``contigs`` and ``assemblies`` each record has a code, or -1."""

    contig: Array
    contigs: list[str]
    assembly: Array
    assemblies: list[str]
    positions: Array
    placed: Array
    refs: Text
    alts: Text

    @classmethod
    def of(cls, contig: pa.Array, assembly: pa.Array, position: pa.Array, ref: pa.Array, alt: pa.Array) -> Records:
        """The records of five columns; names of contigs and assemblies as they stand."""
        return cls(
            *_coded(contig), *_coded(assembly), *numbers(position), Text.of(ref), alleles.without_dots(Text.of(alt))
        )

    @property
    def nowhere(self) -> Array:
        """Which records say nothing of an allele, such as an amino-acid change, or ClinVar's copy-number changes.

        Those may name a contig, which alone is no place. A table whose rows are alleles refuses them, unless a rule
        of the contract leaves them out by name.
        """
        return ~self.placed & ~self.refs.valid & ~self.alts.valid

    @property
    def which(self) -> Array:
        """Which of ``prefixes`` the ids of each record begin with; -1 for none."""
        code = self.assembly.astype(np.int64) * len(self.contigs) + self.contig
        return np.where((self.contig >= 0) & (self.assembly >= 0), code, -1)

    @property
    def prefixes(self) -> list[str]:
        """What ids begin with, by assembly and contig."""
        return [f"{assembly}-{contig}-" for assembly in self.assemblies for contig in self.contigs]


class Normal(NamedTuple):
    """Rows and their alleles; which records are without fault, and how many alternates each of these has."""

    rows: Rows
    trimmed: Trimmed
    sound: Array
    alternates: Array


def records_of(batch: pa.RecordBatch, reference: Fasta | None) -> tuple[Records, dict[int, str]]:
    """The records of a batch with CHROM, under one spelling of contigs and assemblies, and those at fault by then.

    Raises:
        HarmoniseError: the batch has no POS, REF or ALT, or POS is no integer.
    """
    for name in ("POS", "REF", "ALT"):
        if name not in batch.schema.names:
            raise HarmoniseError(f"the source has CHROM, but no {name}", "give all of CHROM, POS, REF and ALT")
    if not pa.types.is_integer(batch["POS"].type):
        raise HarmoniseError(f"POS is {batch['POS'].type}, expected integers", "give its type in source.options")
    said = batch["assembly"] if "assembly" in batch.schema.names else pa.nulls(batch.num_rows, pa.string())
    read = Records.of(batch["CHROM"], said, batch["POS"].cast(pa.int64()), batch["REF"], batch["ALT"])
    named = [contig_of(name) for name in read.contigs]
    old = _older_mitochondrion(read, reference)
    spelled = [name if name in old else spelling for name, (spelling, _) in zip(read.contigs, named, strict=True)]
    contigs = list(dict.fromkeys(spelled))
    assemblies = [assembly_of(name) or name for name in read.assemblies]
    told = [assembly for _, assembly in named]
    every = list(dict.fromkeys([*assemblies, *(name for name in told if name)]))
    of_contig = _recoded(read.contig, [contigs.index(name) for name in spelled])
    of_assembly = _recoded(read.assembly, [every.index(name) for name in assemblies])
    by_name = _recoded(read.contig, [every.index(name) if name else -1 for name in told])
    errors = {
        int(row): f"CHROM {read.contigs[read.contig[row]]} belongs to {every[by_name[row]]}, "
        f"but the file's assembly is {every[of_assembly[row]]}"
        for row in np.flatnonzero((by_name >= 0) & (of_assembly >= 0) & (by_name != of_assembly))
    }
    of_assembly = np.where(of_assembly < 0, by_name, of_assembly)
    records = read._replace(contig=of_contig, contigs=contigs, assembly=of_assembly, assemblies=every)
    unread = batch["_error"].is_valid().to_numpy(zero_copy_only=False) | records.nowhere
    for row in np.flatnonzero((of_contig < 0) & ~unread):
        errors.setdefault(int(row), "CHROM is missing, expected the name of a contig")
    for row in np.flatnonzero((of_assembly < 0) & ~unread):
        errors.setdefault(int(row), "nothing tells the record's assembly; set source.options.assembly")
    return records, {row: reason for row, reason in errors.items() if not unread[row]}


def normalise(records: Records, sound: Array, reference: Fasta | None, errors: dict[int, str]) -> Normal:
    """One row per alternate of each sound record, trimmed, and aligned if there is a reference.

    A fault of one allele is its whole record's: it is added to ``errors``, and the record is not sound.
    """
    sound = sound.copy()
    while True:
        rows, alternates = alleles.split(records.alts, sound)
        trimmed = alleles.trim((records.positions, records.placed), records.refs, records.alts, rows, sound)
        if reference is not None:
            _align(records, rows, trimmed, sound, reference)
        wrong = np.flatnonzero(trimmed.fault)
        if len(wrong) == 0:
            return Normal(rows, trimmed, sound, alternates)
        for row in wrong.tolist():
            errors.setdefault(int(rows.record[row]), _reason(records, rows, int(trimmed.fault[row]), row, reference))
        sound[rows.record[wrong]] = False


def _coded(column: pa.Array) -> tuple[Array, list[str]]:
    coded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    indices = pc.fill_null(coded.indices, -1) if coded.null_count else coded.indices
    return np.asarray(indices.to_numpy(), dtype=np.int32), coded.dictionary.to_pylist()


def _recoded(codes: Array, places: list[int]) -> Array:
    """Codes into another list; -1 stays."""
    return np.array([*places, -1], dtype=np.int32)[codes]


def _older_mitochondrion(read: Records, reference: Fasta | None) -> set[str]:
    """Names of hg19's own chrM, NC_001807, which is not the MT of all others."""
    held = reference and (reference.contigs.get("chrM") or reference.contigs.get("M"))
    # A file of GRCh37 by UCSC's name of it has UCSC's sequences.
    ucsc = bool(read.assemblies) and {name.lower() for name in read.assemblies} == {"hg19"}
    return {"chrM"} if ucsc or (held and held.length == _HG19_CHRM) else set()


def _align(records: Records, rows: Rows, trimmed: Trimmed, sound: Array, reference: Fasta) -> None:
    todo = np.flatnonzero(sound[rows.record] & (trimmed.fault == 0))
    contigs, places = records.contig[rows.record[todo]], records.positions[rows.record[todo]]
    order = np.lexsort((places, contigs))
    todo, contigs = todo[order], contigs[order]
    edges = np.flatnonzero(np.diff(contigs, prepend=-2, append=-2))
    known = assembly_by_lengths({contig.name: contig.length for contig in reference.contigs.values()})
    for begin, end in pairwise(edges.tolist()):
        run = todo[begin:end]
        contig = reference.contig(records.contigs[contigs[begin]])
        other = [code for code, name in enumerate(records.assemblies) if known and name != known]
        strange = np.isin(records.assembly[rows.record[run]], other) if contig else np.ones(len(run), dtype=np.bool_)
        trimmed.fault[run[strange]] = _NO_CONTIG
        if contig is not None:
            _align_run(records, rows, trimmed, run[~strange], reference, contig)


def _align_run(records: Records, rows: Rows, trimmed: Trimmed, run: Array, reference: Fasta, contig: Contig) -> None:
    """Rows of one contig in order of position, window after window."""
    reach = 2
    while len(run):
        record = rows.record[run[0]]
        place = int(records.positions[record]) - 1
        end = min(place + int(records.refs.offsets[record + 1] - records.refs.offsets[record]), contig.length)
        start, text = reference.window(contig, min(place, contig.length) - reach, end)
        window = Window(text, start, contig.length)
        done = alleles.align(rows, records.refs, records.alts, trimmed, records.positions, run, window)
        # A long repeat reaches beyond the window: more of what is to its left.
        run, reach = run[done:], 2 if done else reach * 8


def _reason(records: Records, rows: Rows, fault: int, row: int, reference: Fasta | None) -> str:
    record = int(rows.record[row])
    begin, end = records.refs.offsets[record], records.refs.offsets[record + 1]
    ref = bytes(records.refs.data[begin:end]).decode()
    place = int(records.positions[record])
    name = records.contigs[records.contig[record]] if records.contig[record] >= 0 else "?"
    if fault == alleles.BAD_REF:
        return f"REF is {ref[:_SHOWN]!r}, expected bases: A, C, G, T or N"
    if fault == alleles.BAD_ALT:
        alt = bytes(records.alts.data[rows.begin[row] : rows.begin[row] + rows.size[row]]).decode("utf-8", "replace")
        return f"ALT has {alt[:_SHOWN]!r}, expected bases A, C, G, T, N, '*', <ID> or a breakend"
    if fault == alleles.BAD_PLACE:
        return f"POS is {place if records.placed[record] else 'missing'}, expected a position from 1"
    assert reference is not None
    return _against(reference, fault, f"{name}:{place}", name, ref, place)


def _against(reference: Fasta, fault: int, where: str, name: str, ref: str, place: int) -> str:
    contig = reference.contig(name)
    if contig is None:
        return f"{where}: the reference {reference.uri} has no contig {name}; REF cannot be checked"
    if fault == _NO_CONTIG:
        return f"{where}: the reference {reference.uri} is of another assembly than the record"
    if fault == alleles.BEYOND:
        return f"{where}: REF reaches beyond the end of contig {name}, which has {contig.length} bases"
    first = next(_differing(reference, name, ref, place))
    shown = slice(max(first - _SHOWN // 2, 0), first + _SHOWN // 2)
    there = reference.sequence(name, place - 1 + shown.start, place - 1 + min(shown.stop, len(ref))).decode()
    return f"{name}:{place + shown.start}: REF says {ref[shown]!r}, but the reference has {there!r}"


def _differing(reference: Fasta, name: str, ref: str, place: int) -> Iterator[int]:
    held = reference.sequence(name, place - 1, place - 1 + len(ref)).decode()
    said = zip(ref.upper(), held, strict=True)
    return (index for index, (one, other) in enumerate(said) if one != (other if other in "ACGT" else "N"))
