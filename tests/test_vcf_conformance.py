"""The conformance files of VCF: what must be accepted is, and the page that says what became of each is true."""

from __future__ import annotations

from pathlib import Path

import pytest
import vcf_conformance

from catalog.errors import SourceError

ROOT = Path(__file__).parent.parent


def paths(folder: str) -> list[Path]:
    found = sorted((vcf_conformance.DATA / folder).glob("*.vcf"))
    if not found:
        pytest.skip(f"{vcf_conformance.DATA / folder} is not here")
    return found


def refused(path: Path) -> list[str]:
    """The reasons of the records refused, or of the whole file."""
    try:
        table = vcf_conformance.read(path)
    except SourceError as error:
        return [error.problem]
    return [reason for reason in table["_error"].to_pylist() if reason]


def test_no_record_is_lost_of_files_that_must_pass():
    assert {path.name: reasons for path in paths("vcf_v4.2/passed") if (reasons := refused(path))} == {}


@pytest.mark.parametrize("part", ["alt", "chrom", "filter", "id", "pos", "qual", "ref"])
def test_each_broken_fixed_field_refuses_its_record(part):
    for path in paths("vcf_v4.2/failed"):
        if path.name.startswith(f"failed_body_{part}_"):
            (reason,) = refused(path)
            assert reason.startswith(part.upper()), path.name


def test_the_page_says_what_happens():
    paths("malformed")
    page = ROOT / "docs" / "reference" / vcf_conformance.PAGE
    assert page.read_text(encoding="utf-8") == vcf_conformance.page(), "run `make docs` and commit what changed"
