"""One block of VCF text as one batch: each line a record or a fault; a record tells the first fault found in it."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets import genotypes, info_scan, vcf_fields, vcf_numbers, vcf_values
from assets.annotations import split as split_annotations
from assets.info_scan import Array
from assets.vcf_fields import ALT, CHROM, FILTER, FORMAT, ID, INFO, POS, QUAL, REF
from assets.vcf_header import Header

MAX_RAW = 64_000

_NAME = pa.dictionary(pa.int32(), pa.string())
FIXED = {
    "CHROM": _NAME,
    "POS": pa.int64(),
    "ID": pa.string(),
    "REF": pa.string(),
    "ALT": pa.string(),
    "QUAL": pa.float64(),
    "FILTER": pa.list_(pa.string()),
    "assembly": _NAME,
}
COUNTED = ("AC", "AN", "AF", "nhomalt")
"""What is counted from the genotypes where INFO does not give it."""

_CONTIG = re.compile(r"<[^<>\s,]+>|[^<>\s,*=][^<>\s,]*")
# What VCF 4.3 sections 1.6.1 and 5.4 allow beside plain bases: <ID>, the four breakends, single breakends, *
_PLACE = r"(<[^<>\s,]+>|[^<>\[\]*\s,:][^<>\[\]\s,]*):\d+"
_ALLELE = re.compile(
    rf"[ACGTNacgtn]+|\*|<[^<>\s,]+>|([ACGTNacgtn]+|\.)(\[{_PLACE}\[|\]{_PLACE}\])"
    rf"|(\[{_PLACE}\[|\]{_PLACE}\])([ACGTNacgtn]+|\.)|\.[ACGTNacgtn]+|[ACGTNacgtn]+\."
)
_UNTOUCHED = re.compile(r"(<[^>]*>|\[[^\[]*\[|\][^\]]*\])")
_AMBIGUOUS = re.compile(r"[ACGTNRYSWKMBDHVacgtnryswkmbdhv]+")
_EXPECTED = {
    pa.int64(): "an Integer",
    pa.float64(): "a Float",
    pa.list_(pa.int64()): "Integers",
    pa.list_(pa.float64()): "Floats",
}


class Wanted(NamedTuple):
    """One wanted column: an INFO key, perhaps counted from genotypes where it is absent, or the annotation string."""

    field: pa.Field
    computed: bool = False
    fields: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


def keys(wanted: tuple[Wanted, ...]) -> info_scan.Keys:
    """The keys of wanted columns, in their order, and what each is looked at as."""
    return info_scan.prepare(tuple(one.field.name for one in wanted), tuple(_kind(one.field.type) for one in wanted))


def _kind(kind: pa.DataType) -> int:
    kinds = {pa.bool_(): info_scan.FLAG, pa.int64(): info_scan.INTEGER, pa.float64(): info_scan.FLOAT}
    return kinds.get(kind.value_type if pa.types.is_list(kind) else kind, info_scan.TEXT)


class Records:
    """The lines in the first ``size`` bytes of a block, the last of which ends a line."""

    def __init__(self, block: bytes, size: int, header: Header) -> None:
        self.block = block
        self.header = header
        self.faults: dict[int, str] = {}
        self.text = np.frombuffer(block, dtype=np.uint8, count=size)
        self.begin, self.end = info_scan.lines(self.text)
        self.raw_begin = self.begin.copy()
        self._refuse_undecodable()
        self.fields = vcf_fields.scan(self.text, self.begin, self.end)
        self.edges, self.counts = self.fields.edges, self.fields.counts
        self._odd = int(np.bitwise_or.reduce(self.fields.odd)) if len(self.begin) else 0
        for row in np.flatnonzero(self.begin == self.end):
            self._refuse(row, "the line is empty, where a record was expected")
        if b"\r" in block:
            for row in np.flatnonzero(info_scan.returns(self.text, self.begin, self.end)):
                self._refuse(row, "the line has a carriage return within, which ends no line in VCF")
        for row in np.flatnonzero(self.counts != self.header.width):
            self._refuse(row, f"the line has {self.counts[row]} fields, where the header names {self.header.width}")

    def batch(
        self,
        keys: info_scan.Keys,
        wanted: tuple[Wanted, ...],
        prefix: str,
        line: int,
        source: int,
        schema: pa.Schema,
    ) -> pa.RecordBatch:
        """The columns as a batch, null in the records at fault.

        Args:
            keys: of the wanted columns, in their order.
            wanted: what the schema has after the fixed columns.
            prefix: what comes before a record's line number where its place is told.
            line: the number of the block's first line.
            source: the ordinal of its first record.
            schema: of the batch.
        """
        columns = {**self._fixed(), **self._info(keys, wanted)}
        rows = len(self.begin)
        record, errors, raw = columns["ID"], pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string())
        if self.faults:
            sound = np.ones(rows, dtype=np.bool_)
            sound[list(self.faults)] = False
            kept = pa.array(np.arange(rows), mask=~sound)
            columns = {name: column.take(kept) for name, column in columns.items()}
            record = pc.if_else(pa.array(self.counts == self.header.width), record, None)
            errors = pa.array([self.faults.get(row) for row in range(rows)], pa.string())
            raw = pa.array([self._raw(row) if row in self.faults else None for row in range(rows)], pa.string())
        columns |= {
            "_source": vcf_values.column(np.arange(source, source + rows)),
            "_position": vcf_values.numbered(prefix, line, rows),
            "_record": record,
            "_error": errors,
            "_raw": raw,
        }
        return pa.record_batch([columns[name] for name in schema.names], schema=schema)

    def _refuse(self, row: int | np.integer, reason: str) -> None:
        self.faults.setdefault(int(row), reason)

    def _refuse_undecodable(self) -> None:
        """Blank out the lines that are not UTF-8, so that their bytes reach no column."""
        if self.block.isascii():
            return
        try:
            self.block[: self.text.size].decode("utf-8")
        except UnicodeDecodeError:
            for row in range(len(self.begin)):
                try:
                    self.block[self.begin[row] : self.end[row]].decode("utf-8")
                except UnicodeDecodeError as error:
                    self._refuse(row, f"the line is not UTF-8 text at its byte {error.start + 1}")
            bad = list(self.faults)
            self.begin[bad] = self.end[bad]

    def _span(self, field: int) -> tuple[Array, Array]:
        return self.edges[field], self.edges[field + 1] - 1

    def _sized(self, field: int) -> tuple[Array, Array]:
        return self.edges[field], self.edges[field + 1] - 1 - self.edges[field]

    def _value(self, field: int, row: int | np.integer) -> str:
        begin, end = self._span(field)
        return self.block[begin[row] : end[row]].decode("utf-8", "replace")

    def _raw(self, row: int) -> str:
        return self.block[self.raw_begin[row] : self.end[row]][:MAX_RAW].decode("utf-8", "replace")

    # --- the fixed columns

    def _fixed(self) -> dict[str, pa.Array]:
        """The columns that every VCF has, and the assembly."""
        rows = len(self.begin)
        columns = {
            "CHROM": self._contigs(self.fields.position),
            "POS": vcf_values.column(self.fields.position),
            "ID": self._text(ID),
            **self._alleles(),
            "QUAL": self._quality(),
            "FILTER": self._filters(),
            "assembly": pa.DictionaryArray.from_arrays(
                vcf_values.column(np.zeros(rows, dtype=np.int32)), vcf_values.words([self.header.assembly])
            ),
        }
        for row in self._where(vcf_fields.BAD_ID):
            self._refuse(row, f"ID is {self._value(ID, row)[:80]!r}, expected names with ';' between and no space")
        return columns

    def _where(self, oddity: int) -> Array:
        """The rows that have an oddity."""
        if not self._odd & oddity:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.fields.odd & oddity)

    def _text(self, field: int) -> pa.StringArray:
        place = field - ID
        return vcf_values.texts(self.fields.offsets[place], self.fields.data[place], self.fields.valid[place])

    def _contigs(self, position: Array) -> pa.DictionaryArray:
        begin, size = self._sized(CHROM)
        first = (self.fields.odd & vcf_fields.NEW_CHROM) > 0
        runs = np.flatnonzero(first)
        written = vcf_values.strings(self.text, begin[runs], size[runs]).to_pylist()
        places = {name: place for place, name in enumerate(dict.fromkeys(filter(None, written)))}
        names = list(places)
        # One that is missing has the number after the last, and is refused.
        numbers = np.array([places.get(name, len(names)) for name in written], dtype=np.int32)
        numbers = np.repeat(numbers, np.diff(np.append(runs, len(first))))
        right = np.array([bool(_CONTIG.fullmatch(name)) for name in names] + [False])
        for row in np.flatnonzero(~right[numbers]):
            shown = self._value(CHROM, row)
            words = f"{shown[:80]!r}" if shown.strip(".") else "missing"
            self._refuse(row, f"CHROM is {words}, expected the name of a contig")
        for row in self._where(vcf_fields.BAD_POS):
            self._refuse(row, f"POS is {self._value(POS, row)[:80]!r}, expected a whole number")
        self._check_ends(names, numbers, position)
        codes = vcf_values.column(np.minimum(numbers, max(len(names) - 1, 0)))
        if len(names) == 0:
            return pa.nulls(len(numbers), _NAME)
        return pa.DictionaryArray.from_arrays(codes, vcf_values.words(names))

    def _check_ends(self, names: list[str], numbers: Array, position: Array) -> None:
        """Refuse what lies beyond its contig's end, or on a contig that is none of the assembly's."""
        beyond = np.iinfo(np.int64).max
        lengths = np.array([self.header.lengths.get(name, beyond) for name in names] + [beyond])
        last = position + self._sized(REF)[1] - 1
        for row in np.flatnonzero(last > lengths[numbers]):
            name, length = names[numbers[row]], lengths[numbers[row]]
            self._refuse(
                row, f"POS is {position[row]}, REF ends at {last[row]}: beyond contig {name} of {length:,} bases"
            )
        if self.header.foreign:
            foreign = np.array([name in self.header.foreign for name in names] + [False])
            for row in np.flatnonzero(foreign[numbers]):
                name = names[numbers[row]]
                words = f"by its length hg19's own sequence NC_001807, not {self.header.assembly}'s NC_012920.1"
                self._refuse(row, f"CHROM is {name}, {words}: its positions mean other bases")

    def _alleles(self) -> dict[str, pa.StringArray]:
        for row in self._where(vcf_fields.BAD_REF):
            self._refuse(row, self._no_reference(self._value(REF, row)))
        for row in self._where(vcf_fields.ODD_ALT):
            written = self._value(ALT, row)
            wrong = [allele for allele in written.split(",") if not _ALLELE.fullmatch(allele)]
            if wrong:
                self._refuse(row, f"ALT has {wrong[0][:80]!r}, expected bases A, C, G, T, N, '*', <ID> or a breakend")
        reference, alternates = self._text(REF), self._text(ALT)
        if self._odd & vcf_fields.LOW_REF:
            reference = pc.ascii_upper(reference)
        if self._odd & vcf_fields.LOW_ALT:
            alternates = _raised(alternates, self.fields.odd & vcf_fields.ODD_ALT == 0)
        return {"REF": reference, "ALT": alternates}

    @staticmethod
    def _no_reference(shown: str) -> str:
        why = "VCF permits only A, C, G, T and N there"
        if _AMBIGUOUS.fullmatch(shown):
            why += "; an IUPAC ambiguity code says of no base which one it is"
        return f"REF is {shown[:80]!r}, expected bases: {why}"

    def _quality(self) -> pa.DoubleArray:
        """QUAL; VCF lets it be inf or nan, which say no finite quality and become null."""
        values, states = self.fields.quality, self.fields.quality_state
        left = np.flatnonzero(states == info_scan.LEFT)
        column, wrong = vcf_numbers.numbers(self.text, *self._sized(QUAL), states, values)
        for row in wrong:
            self._refuse(row, f"QUAL is {self._value(QUAL, row)[:80]!r}, expected a Float")
        if not len(left):
            return column
        finite = np.isfinite(values)
        for row in np.flatnonzero(finite & (values < 0)):
            self._refuse(row, f"QUAL is {self._value(QUAL, row)[:80]!r}, expected 0 or more")
        return column if finite.all() else pa.array(values, mask=~finite | (states != info_scan.SOUND))

    def _filters(self) -> pa.ListArray:
        column = vcf_values.filters(self.text, *self._sized(FILTER))
        for row in self._where(vcf_fields.BAD_FILTER):
            self._refuse(row, f"FILTER is {self._value(FILTER, row)[:80]!r}, expected PASS, '.' or names with ';'")
        return column

    # --- INFO

    def _info(self, keys: info_scan.Keys, wanted: tuple[Wanted, ...]) -> dict[str, pa.Array]:
        """The wanted INFO keys, typed as the header declares them."""
        found = info_scan.find(self.text, *self._span(INFO), keys)
        for row in np.flatnonzero(found.twice >= 0):
            self._refuse(row, f"INFO has the key {keys.names[found.twice[row]]} more than once")
        for row in np.flatnonzero(found.bare >= 0):
            name = keys.names[found.bare[row]]
            self._refuse(row, f"INFO key {name} has no value, but the header does not declare it a Flag")
        columns = {one.field.name: self._column(one, index, found) for index, one in enumerate(wanted)}
        computed = [one.field.name for one in wanted if one.computed]
        return columns | self._counted({name: columns[name] for name in computed}) if computed else columns

    def _column(self, one: Wanted, index: int, found: info_scan.Spans) -> pa.Array:
        name, kind = one.field.name, one.field.type
        begin, size = found.begin[index], found.size[index]
        if kind == pa.bool_():
            return self._flags(name, begin, size)
        if one.fields:
            return self._entries(one, begin, size)
        if kind == pa.string():
            return self._unescaped(vcf_values.strings(self.text, begin, size))
        single = kind.value_type if pa.types.is_list(kind) else kind
        if single == pa.string():
            elements = vcf_values.split(self.text, begin, size)
            text = self._unescaped(vcf_values.strings(self.text, elements.begin, elements.size))
            return vcf_values.as_list(elements, vcf_values.Column(text, np.empty(0, dtype=np.int64))).array
        numbers = found.numbers[index].view(np.int64 if single == pa.int64() else np.float64)
        read = vcf_numbers.numbers if single == kind else vcf_numbers.number_lists
        column = read(self.text, begin, size, found.states[index], numbers)
        for row in column.wrong:
            shown = self._shown(begin, size, row)
            self._refuse(row, f"INFO key {name} is {shown!r}, expected {_EXPECTED[kind]}")
        return column.array

    def _unescaped(self, column: pa.StringArray) -> pa.StringArray:
        return vcf_values.unescape(column) if self.header.decodes else column

    def _shown(self, begin: Array, size: Array, row: int | np.integer) -> str:
        return self.block[begin[row] : begin[row] + max(size[row], 0)].decode("utf-8", "replace")[:80]

    def _flags(self, name: str, begin: Array, size: Array) -> pa.BooleanArray:
        """A Flag holds where its key is found; some writers give it the value 1, or deny it with 0."""
        found = begin >= 0
        for row in np.flatnonzero(size >= 0):
            value = self._shown(begin, size, row)
            found[row] = value == "1"
            if value not in ("0", "1"):
                self._refuse(row, f"INFO key {name} has the value {value!r}, but is declared a Flag")
        return vcf_values.flags(found)

    def _entries(self, one: Wanted, begin: Array, size: Array) -> pa.ListArray:
        found = split_annotations(self.text, begin, size, one.fields, one.chosen)
        for row, why in found.faults.items():
            self._refuse(row, f"INFO key {one.field.name}: {why}")
        return found.values

    def _counted(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """AC, AN, AF and nhomalt of the records whose INFO does not give them, from their genotypes."""
        absent = np.zeros(len(self.begin), dtype=np.bool_)
        for column in columns.values():
            absent |= column.is_null().to_numpy(zero_copy_only=False)
        absent[list(self.faults)] = False
        rows = np.flatnonzero(absent)
        if not len(rows):
            return columns
        begin, size = self._sized(ALT)
        commas = vcf_values.split(self.text, begin[rows], size[rows]).offsets
        counts = genotypes.count(self.text, self.edges[FORMAT][rows], self.end[rows], np.diff(commas).astype(np.int64))
        for row, why in counts.faults.items():
            self._refuse(rows[row], why)
        places = np.zeros(len(absent), dtype=np.int64)
        places[rows] = np.arange(len(rows))
        taken = pa.array(places, mask=~absent)
        counted = dict(zip(COUNTED, (counts.ac, counts.an, counts.af, counts.nhomalt), strict=True))
        return {name: pc.coalesce(column, counted[name].take(taken)) for name, column in columns.items()}


def _raised(column: pa.StringArray, plain: Array) -> pa.StringArray:
    """Bases in capitals; names between brackets stay as they are."""
    raised = pc.if_else(pa.array(plain), pc.ascii_upper(column), column)
    if plain.all():
        return raised
    return pa.array([_capital(text) if text else text for text in raised.to_pylist()], pa.string())


def _capital(text: str) -> str:
    return "".join(part if part[:1] in ("<", "[", "]") else part.upper() for part in _UNTOUCHED.split(text))
