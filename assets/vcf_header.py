"""What the meta-information of a VCF file says: its INFO keys, its contigs, its assembly.

A formality that no record depends on may be wrong; what gives a record its meaning may not.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pyarrow as pa

from assets.annotations import KEYS, fields
from assets.bgzf import Opener, take
from catalog import assemblies
from catalog.errors import SourceError
from catalog.records import SourceFile

UNSPLIT = "none"
"""Said in place of the annotation string's key: it is taken as text."""

_MANDATORY = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
_VERSION = re.compile(r"##fileformat=VCFv4\.([0-5])")
_PERCENT_ENCODED = 3
_NUMBERS = {"Integer": pa.int64(), "Float": pa.float64()}
_TEXTS = ("String", "Character")
_MANY = re.compile(r"[ARG]|[2-9]|[1-9][0-9]+")
# The mitochondrial sequence of UCSC's hg19, NC_001807, which is not GRCh37's.
_HG19_CHRM = 16_571
# htslib's greatest position, written where the length is not known.
_NO_LENGTH = (1 << 31) - 1


# The magic numbers of the files `.tbi` and `.csi`, once they are decompressed.
_INDICES = {"TBI\1": "tabix", "CSI\1": "CSI"}


class Info(NamedTuple):
    """One INFO key: its Arrow type, its Number as declared, and what is said of it."""

    type: pa.DataType
    number: str
    description: str = ""


class Header(NamedTuple):
    """The meta-information of one file.

    ``lengths`` are the contigs' as declared, in bp; ``foreign`` are contigs whose sequence is none of the assembly's;
    ``annotations`` is the INFO key of the annotation string with its fields; ``decodes`` says whether text is
    percent-encoded; ``lines`` is how many lines come before the first record, ``width`` how many fields a record has.
    """

    info: dict[str, Info]
    lengths: dict[str, int]
    foreign: frozenset[str]
    assembly: str
    annotations: tuple[str, tuple[str, ...]] | None
    decodes: bool
    samples: bool
    width: int
    lines: int


def _reserved() -> dict[str, Info]:
    declared = {
        "A,Integer": ["AC", "nhomalt"], "A,Float": ["AF"], "1,Integer": ["AN", "DP", "END", "MQ0", "NS"],
        "R,Integer": ["AD", "ADF", "ADR"], "1,Float": ["BQ", "MQ"], "1,String": ["AA"], "A,String": ["CIGAR"],
        "0,Flag": ["DB", "H2", "H3", "SOMATIC", "VALIDATED", "1000G"],
    }  # fmt: skip
    return {name: _info(kind[0], kind[2:], "") for kind, names in declared.items() for name in names}


def read_header(file: SourceFile, opener: Opener, assembly: str | None, annotation: str | None) -> Header:
    """Read the lines before the first record.

    Args:
        file: which file.
        opener: gives its text.
        assembly: what the contract says of the assembly, if anything.
        annotation: the INFO key that the contract names as the annotation string's.

    Raises:
        SourceError: it is not VCF 4.0 to 4.5, or does not say its assembly, or contradicts it or itself.
    """
    with opener(file) as stream:
        first = take(stream, file, 0).decode("utf-8", "replace").rstrip("\r\n")
        _check_format(file, first)
        meta = [first]
        while (line := take(stream, file, 0).decode("utf-8", "replace").rstrip("\r\n")).startswith("##"):
            meta.append(line)
    names = line.split("\t")
    if names[: len(_MANDATORY)] != _MANDATORY:
        raise SourceError(
            f"{file.name} line {len(meta) + 1}: expected the line '#CHROM POS ID REF ALT QUAL FILTER INFO', "
            f"with tabs, not {line[:80]!r}",
            "check that the file is complete VCF",
        )
    info, lengths = _declared(meta), _lengths(meta)
    name = _assembly(file, meta, lengths, assembly)
    foreign = frozenset(_foreign(lengths, name))
    _check_lengths(file, {contig: lengths[contig] for contig in lengths.keys() - foreign}, name)
    version = _VERSION.fullmatch(first)
    return Header(
        info, lengths, foreign, name, _annotations(file, info, annotation),
        version is not None and int(version[1]) >= _PERCENT_ENCODED,
        len(names) > len(_MANDATORY) + 1, len(names), len(meta) + 1,
    )  # fmt: skip


def _check_format(file: SourceFile, first: str) -> None:
    if first[:4] in _INDICES:
        raise SourceError(f"{file.name} is a {_INDICES[first[:4]]} index, not a VCF", "fetch the file beside it")
    if not first:
        raise SourceError(f"{file.name} is empty or begins with an empty line", "check source.uri, and fetch it again")
    if not first.startswith("##fileformat=VCF"):
        raise SourceError(
            f"{file.name} is not VCF: its first line is {first[:80]!r}, not '##fileformat=VCF...'",
            "check source.uri and source.format",
        )
    if not _VERSION.fullmatch(first):
        raise SourceError(
            f"{file.name} says {first[:80]!r}; what can be read are VCFv4.0 to VCFv4.5",
            "convert it, or check that its first line is right",
        )


def _attributes(line: str) -> dict[str, str]:
    """``<ID=x,Number=1,Description="a, b">`` as a mapping; of two the first counts."""
    found: dict[str, str] = {}
    for name, quoted, bare in re.findall(r'[<,]\s*(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^,>"]*))', line):
        found.setdefault(name, quoted or bare)
    return found


def _declared(meta: list[str]) -> dict[str, Info]:
    """The INFO keys that are declared with ID, Number and Type; of two the first counts."""
    found: dict[str, Info] = {}
    for line in meta:
        if line.startswith("##INFO=<"):
            said = _attributes(line[7:])
            if {"ID", "Number", "Type"} <= said.keys():
                found.setdefault(said["ID"], _info(said["Number"], said["Type"], said.get("Description", "")))
    return found


def _info(number: str, kind: str, description: str) -> Info:
    if kind == "Flag":
        return Info(pa.bool_(), "0", description)
    single = _NUMBERS.get(kind, pa.string())
    listed = bool(_MANY.fullmatch(number)) and (kind in _NUMBERS or kind in _TEXTS)
    if listed or (number == "." and kind in _NUMBERS):
        return Info(pa.list_(single), number, description)
    # A comma may belong to the text where its number is unknown, as in ClinVar's CLNREVSTAT.
    return Info(single if number == "1" else pa.string(), number, description)


RESERVED = _reserved()
"""The INFO keys to which VCF 4.2 to 4.5 give one meaning, in section 1.6.1, and gnomAD's count of homozygotes."""


def _lengths(meta: list[str]) -> dict[str, int]:
    said = [_attributes(line[9:]) for line in meta if line.startswith("##contig=<")]
    found: dict[str, int] = {}
    for contig in said:
        if "ID" in contig and re.fullmatch(r"[0-9]{1,10}", contig.get("length", "")):
            found.setdefault(contig["ID"], int(contig["length"]))
    return {name: length for name, length in found.items() if length < _NO_LENGTH}


def _named(text: str) -> set[str]:
    """The assemblies that an address or a name tells: by its last part, or else by any."""
    last = assemblies.assembly_of(text)
    parts = [assemblies.assembly_of(part) for part in re.split(r"[/\\]", text)]
    return {last} if last else {part for part in parts if part}


def _assembly(file: SourceFile, meta: list[str], lengths: dict[str, int], stated: str | None) -> str:
    said = [line[12:] for line in meta if line.startswith("##reference=")]
    said += [_attributes(line[9:]).get("assembly", "") for line in meta if line.startswith("##contig=<")]
    found = {name for text in set(said) for name in _named(text)}
    given = (assemblies.assembly_of(stated) or stated) if stated else None
    if len(found) > 1:
        raise SourceError(
            f"the header of {file.name} names two assemblies: {', '.join(sorted(found))}", "mend the header"
        )
    if given and found and found != {given}:
        raise SourceError(
            f"source.options.assembly is {given}, but the header of {file.name} says {', '.join(found)}",
            "correct source.options.assembly, or leave it out",
        )
    name = given or next(iter(found), None) or assemblies.assembly_by_lengths(lengths)
    if name is None:
        raise SourceError(
            f"the header of {file.name} does not say its assembly in ##reference or ##contig",
            "set source.options.assembly, for example to GRCh38",
        )
    return name


def _foreign(lengths: dict[str, int], assembly: str) -> list[str]:
    if assembly != "GRCh37":
        return []
    return [name for name, length in lengths.items() if _mitochondrial(name) and length == _HG19_CHRM]


def _mitochondrial(name: str) -> bool:
    return assemblies.contig_of(name)[0] == "MT"


def _check_lengths(file: SourceFile, lengths: dict[str, int], assembly: str) -> None:
    """A contig of another length is another sequence: positions on it would name other bases."""
    known = assemblies.lengths(assembly)
    for name in sorted(lengths):
        contig, told = assemblies.contig_of(name)
        if told is not None and told != assembly and known:
            raise SourceError(
                f"{file.name} declares contig {name}, which is {contig} of {told}, but its assembly is {assembly}",
                "set source.options.assembly to the assembly that the positions are on",
            )
        if contig in known and known[contig] != lengths[name]:
            raise SourceError(
                f"{file.name} declares contig {name} with length {lengths[name]:,}, "
                f"but {contig} of {assembly} has {known[contig]:,}",
                "set source.options.assembly to the assembly that the positions are on",
            )


def _annotations(file: SourceFile, info: dict[str, Info], wanted: str | None) -> tuple[str, tuple[str, ...]] | None:
    if wanted == UNSPLIT and UNSPLIT not in info:
        return None
    for key in (wanted,) if wanted else KEYS:
        names = fields(info[key].description) if key in info else None
        if names:
            return key, names
    if wanted:
        raise SourceError(
            f"source.options.annotations is {wanted}, but the header of {file.name} gives it no 'Format: a|b|c'",
            "name the INFO key of the annotation string, or leave the option out",
        )
    return None
