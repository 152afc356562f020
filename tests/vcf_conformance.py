"""Writes docs/reference/vcf-conformance.md: what the VCF reader makes of files that test validators of VCF.

``python -m tests.vcf_conformance docs/reference`` writes it; the files lie beside the repository, in ../shared/data;
without them the page stays as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from assets.readers import vcf
from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
PAGE = "vcf-conformance.md"
FOLDERS = {
    "vcf_v4.2/passed": "Files that EBI's vcf-validator accepts",
    "vcf_v4.2/failed": "Files that EBI's vcf-validator refuses",
    "malformed": "Malformed files from the tests of Hail",
}
_INTRODUCTION = """<!-- Written by `make docs`; change the reader of VCF, not this page. -->
# VCF conformance

What becomes of the conformance files of EBI's vcf-validator and of the malformed files in Hail's tests. All INFO keys
that a file's records have are read, and AC, AN and AF where it has samples. Files that do not say their
assembly are read under an assembly that has no known lengths.

What breaks a record or its meaning refuses that record; it waits in quarantine with its place, its text and the reason.
What leaves in doubt how the records are to be read refuses the file. A mere formality passes.

- A record at POS 0 is read: VCF has that position for telomeres. It becomes no row: before the first base there is none
  that an allele could replace, and the transform sends it to quarantine.
- QUAL `inf` and `nan` are permitted by VCF and become null: they say no quality that could be compared.
- A negative QUAL refuses the record.
- A filter list that names PASS beside others is kept as it stands: the record did not pass all filters.
"""
# Why a file passes that the validator refuses, by the first of these that its name has.
_PASSES = {
    "meta_info": "the declaration is taken at its word; values that do not fit it refuse their record",
    "meta_": "a formality of the header; no record depends on it",
    "header_": "FORMAT without samples is a formality; there are no records",
    "body_unsorted": "rows are sorted when they are written",
    "body_contiguous": "rows are sorted when they are written",
    "body_duplicated": "each record is sound by itself; the key of the table refuses an allele that is there twice",
    "body_format": "of the samples only GT is read",
    "body_sample": "of the samples only GT is read",
    "body_info_031": "the numbers are read; splitting by allele refuses the record, since they are too few",
    "body_info_033": "the numbers are read; splitting by allele refuses the record, since they are too many",
    "body_info_028": "the key is no other than it says; nothing can be mapped from it by mistake",
    "body_info": "read as the type that VCF gives the key; the table's own checks bound what is mapped from it",
    "bad_flag": "a Flag has no value, whatever Number its declaration says",
    "skip_invalid_loci": "POS 0 gets no place, as above; the table's own check refuses the contig 0",
    "33alleles": "any number of alternates is read",
}


def snapshot(path: Path) -> Snapshot:
    """One file as a snapshot."""
    file = SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64)
    return Snapshot(
        dataset="genomics/test", uri=path.as_uri(), origin="override", sha256="0" * 64, validator="",
        size=file.size, fetched_at=datetime(2026, 11, 23, tzinfo=UTC), files=(file,),
    )  # fmt: skip


def read(path: Path) -> pa.Table:
    """All records of a file with all that they have in INFO.

    Raises:
        SourceError: the file is refused.
    """
    wanted = _keys(path)
    try:
        return vcf.read(snapshot(path), vcf.Options(), wanted).read_all()
    except SourceError as error:
        if "does not say its assembly" not in error.problem:
            raise
    return vcf.read(snapshot(path), vcf.Options(assembly="unnamed"), wanted).read_all()


def _keys(path: Path) -> set[str]:
    found: set[str] = set()
    for line in path.read_bytes().decode("utf-8", "replace").splitlines():
        fields = line.split("\t")
        if line.startswith("#CHROM") and len(fields) > 9:
            found |= {"AC", "AN", "AF"}
        if not line.startswith("#") and len(fields) > 7 and fields[7] != ".":
            found |= {part.partition("=")[0] for part in fields[7].split(";") if part}
    return found


def page(data: Path = DATA) -> str:
    """The text of the page."""
    return "\n".join([_INTRODUCTION, *(line for folder in FOLDERS for line in _table(data, folder))]) + "\n"


def _table(data: Path, folder: str) -> Iterator[str]:
    yield f"## {FOLDERS[folder]}\n"
    yield "| file | at fault | what happened | why |\n|---|---|---|---|"
    for path in sorted((data / folder).glob("*.vcf")):
        happened, why = _outcome(path)
        if not why and not folder.endswith("passed"):
            why = next(reason for part, reason in _PASSES.items() if part in path.name)
        yield f"| {path.name} | {_cell(_cause(path))} | {happened} | {_cell(why)} |"
    yield ""


def _cause(path: Path) -> str:
    found = re.search(r"##CauseOfFailure=(.*)", path.read_bytes().decode("utf-8", "replace"))
    return found[1].strip() if found else ""


def _outcome(path: Path) -> tuple[str, str]:
    try:
        table = read(path)
    except SourceError as error:
        return "file refused", error.problem.removeprefix(path.name).strip()
    reasons = [reason for reason in table["_error"].to_pylist() if reason]
    if reasons:
        return f"{len(reasons)} of {table.num_rows} records refused", "; ".join(dict.fromkeys(reasons))
    return (f"all {table.num_rows} records read" if table.num_rows else "read; no records"), ""


def _cell(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\t", "\\t")
    return "".join(character for character in escaped if character.isprintable())[:300]


if __name__ == "__main__" and DATA.exists():
    (Path(sys.argv[1]) / PAGE).write_text(page(), encoding="utf-8")
