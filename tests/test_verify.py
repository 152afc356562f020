"""Verify: every change to a release's bytes is found, and every right that was lost since."""

import hashlib
import json
import re
from datetime import UTC, date, datetime

import pytest

from catalog.errors import ReleaseError
from catalog.manifest import sums_text
from catalog.records import Found, Withdrawal
from catalog.verify import verify

DATA = "biodiversity/occurrences/dataset=birds/part-00000.parquet"
PLACE = {"species": "Parus major", "decimalLatitude": 1.05, "decimalLongitude": 2.05, "year": 2020}


@pytest.fixture
def release(lab, tmp_path):
    """A release of one dataset with rows of two licences."""
    lab.contract("birds", row_licence={"column": "license"})
    lab.publish("birds", [PLACE, {**PLACE, "_licence": "CC-BY-4.0"}])
    lab.cut(tmp_path / "out")
    assert lab.verify(tmp_path / "out").passed
    return tmp_path / "out"


def resum(release, manifest):
    """Rewrite the manifest, with sums that agree, as a forger would."""
    (release / "manifest.json").write_text(json.dumps(manifest))
    paths = [path for path in release.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    sums = {str(path.relative_to(release)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    (release / "SHA256SUMS").write_text(sums_text(sums))


def changed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # it may be a link to the warehouse's
    path.write_bytes(content)


@pytest.mark.parametrize("name", [DATA, "catalog.duckdb", "ATTRIBUTION.md", "LICENSES/CC-BY-4.0.txt"])
def test_every_changed_missing_and_surplus_file_is_found(lab, release, name):
    (release / "surplus.txt").write_text("x")
    changed(release / name)
    found = lab.verify(release)
    assert found.problems == tuple(
        sorted(
            [
                f"{name} is not the file that was released: its sha256 differs",
                "surplus.txt is surplus: it is not in SHA256SUMS",
            ]
        )
    )
    (release / name).unlink()
    (release / "surplus.txt").unlink()
    found = lab.verify(release)
    assert found.problems == (f"{name} is missing",)
    assert not found.passed


def test_a_manifest_that_its_files_do_not_bear_out_is_found(lab, release):
    told = json.loads((release / "manifest.json").read_text())
    tables = {table["name"]: table for table in told["tables"]}
    (part,) = tables["biodiversity.occurrences"]["parts"]
    part["terms"] = [terms for terms in part["terms"] if terms["said_licence"] is None]
    part["files"][0]["rows"] = 7
    resum(release, told)
    problems = "\n".join(lab.verify(release).problems)
    assert "rows whose terms manifest.json does not list: licence CC-BY-4.0" in problems
    assert f"{DATA} has 2 rows, not the 7 of manifest.json" in problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "[" * 100_000, "is not JSON"),
        (lambda text: text.replace("winnow-release-1", "winnow-release-9"), "not a release's of format"),
        (lambda text: text.replace(f'"{DATA}"', '"../../etc/passwd"'), "is not a path inside a release"),
        (lambda text: text.replace(f'"{DATA}"', '"/etc/passwd"'), "is not a path inside a release"),
        (lambda text: text.replace('"profile": "open"', '"profile": "everybody"'), "profile"),
    ],
)
def test_a_manifest_that_no_release_has_is_refused_in_words(lab, release, change, message):
    text = (release / "manifest.json").read_text()
    assert change(text) != text
    (release / "manifest.json").write_text(change(text))
    with pytest.raises(ReleaseError, match=re.escape(message)) as caught:
        lab.verify(release)
    assert caught.value.remedy


@pytest.mark.parametrize("line", ["x", f"{'0' * 64}  ../../etc/passwd", f"{'0' * 64}  /etc/passwd", f"{'0' * 64} *a"])
def test_a_hostile_list_of_sums_is_refused_in_words(lab, release, line):
    with (release / "SHA256SUMS").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ReleaseError, match="SHA256SUMS, line"):
        lab.verify(release)


def test_what_is_no_release_is_told_so(lab, tmp_path):
    with pytest.raises(ReleaseError, match="is no release"):
        lab.verify(tmp_path)
    with pytest.raises(ReleaseError, match="is no release"):
        lab.verify(tmp_path / "nowhere")


# -- rights as of today ----------------------------------------------------------------------------------


def refusals(found):
    return {(each.table, each.source, each.rows): each.reason for each in found.refused}


def test_a_corrected_licence_is_told_with_what_was_made_of_the_rows(lab, release):
    lab.contract("birds", licence="CC-BY-NC-4.0", row_licence={"column": "license"})
    told = refusals(lab.verify(release))
    assert "NON_COMMERCIAL" in told["biodiversity.occurrences", "biodiversity/birds@1", 1]
    assert "made of rows that are refused" in told["biodiversity.species_by_cell", "biodiversity/birds@1", 1]
    assert not lab.verify(release).passed
    # A stranger, who has only the manifest, sees what held when it was cut.
    assert verify(str(release), date(2027, 3, 1)).passed


def test_a_new_embargo_is_told_until_it_lapses(lab, release):
    lab.contract("birds", row_licence={"column": "license"}, embargo={"until": "2027-04-01"})
    found = lab.verify(release)
    assert all("under embargo until 2027-04-01" in each.reason for each in found.refused)
    assert sum(each.rows for each in found.refused if each.table == "biodiversity.occurrences") == 2
    assert lab.verify(release, day="2027-04-01").passed


def test_a_withdrawn_version_is_told_with_its_tombstone(lab, release):
    when = datetime(2027, 3, 1, tzinfo=UTC)
    tombstone = Withdrawal(
        dataset="biodiversity/birds",
        number=1,
        by="Ada",
        at=when,
        reason="an observer objected",
        snapshot_sha256="0",
        contract="",
    )
    lab.house.ledger.record_withdrawal(tombstone)
    told = refusals(lab.verify(release))
    assert "an observer objected" in told["biodiversity.occurrences", "biodiversity/birds@1", 2]


def test_a_doubt_from_the_bytes_themselves_counts(lab, release, monkeypatch):
    version = lab.house.ledger.recorded("biodiversity/birds", 1)
    words = Found(file="meta.xml", place="line 3", words="Licensed under CC BY-NC 4.0", means=("CC-BY-NC-4.0",))
    doubtful = version.model_copy(update={"found": (words,)})
    monkeypatch.setattr("catalog.ledger.Ledger.recorded", lambda *_: doubtful)
    told = refusals(lab.verify(release))
    assert any("it names CC-BY-NC-4.0" in reason for reason in told.values())


def test_a_manifest_that_admits_what_its_profile_forbids_is_refused_even_by_a_stranger(release):
    told = json.loads((release / "manifest.json").read_text())
    for table in told["tables"]:
        for part in table["parts"]:
            for terms in part["terms"]:
                terms["licence"] = "CC-BY-NC-4.0"
    resum(release, told)
    found = verify(str(release), date(2027, 3, 1))
    assert not found.passed
    assert all("NON_COMMERCIAL" in each.reason for each in found.refused)


# -- a manifest that was edited together with its sums ---------------------------------------------------


def pretend(told, licence=None, dataset=None, version=None, profile=None):
    """Edit a manifest: ``dataset`` is a name to pass rows off under, or "" for none."""
    told["profile"] = profile or told["profile"]
    for table in told["tables"]:
        for part in table["parts"]:
            for terms in part["terms"]:
                terms["licence"] = licence or terms["licence"]
            if dataset is not None and part["dataset"]:
                part["dataset"] = dataset or None
        if version:
            table["sources"] = [source.replace("@1", f"@{version}") for source in table["sources"]]
    for each in told["datasets"]:
        each["version"] = version or each["version"]
        each["name"] = dataset or each["name"]
    if dataset == "":
        told["datasets"] = []


@pytest.fixture
def internal(lab, tmp_path):
    """A genuine internal release of rows of which open may have none but one."""
    lab.contract("mixed", row_licence={"column": "license"})
    rows = [{**PLACE, "_licence": licence} for licence in (None, "CC-BY-NC-4.0", "CC-BY-ND-4.0")]
    lab.publish("mixed", [*rows, {**PLACE, "_embargo_until": date(2027, 6, 1)}])
    lab.cut(tmp_path / "internal", profile="internal")
    assert lab.verify(tmp_path / "internal").passed
    return tmp_path / "internal"


def edited(release, **changes):
    told = json.loads((release / "manifest.json").read_text())
    pretend(told, **changes)
    resum(release, told)


@pytest.mark.parametrize("dataset", [None, "", "biodiversity/other"])
@pytest.mark.parametrize("licence", [None, "CC0-1.0"])
def test_an_internal_release_cannot_be_passed_off_as_open(lab, internal, dataset, licence):
    edited(internal, profile="open", licence=licence, dataset=dataset)
    for found in (lab.verify(internal), verify(str(internal), date(2027, 3, 1))):
        assert not found.passed
        reasons = "\n".join(each.reason for each in found.refused)
        assert "CC-BY-NC-4.0 carries NON_COMMERCIAL" in reasons
        assert "CC-BY-ND-4.0 carries NO_DERIVATIVES" in reasons
        assert "under embargo until 2027-06-01" in reasons
        assert bool(dataset is None) != any("has rows of biodiversity/mixed" in each for each in found.problems)
    assert any("not a release that this house cut" in each for each in lab.verify(internal).problems)


@pytest.mark.parametrize("change", [{"version": 99}, {"dataset": ""}, {"dataset": "biodiversity/other"}])
def test_a_withdrawn_version_cannot_be_passed_off_as_another(lab, release, change):
    when = datetime(2027, 3, 1, tzinfo=UTC)
    told = {"dataset": "biodiversity/birds", "number": 1, "by": "Ada", "at": when, "reason": "an observer objected"}
    lab.house.ledger.record_withdrawal(Withdrawal(**told, snapshot_sha256="0", contract=""))
    edited(release, **change)
    found = lab.verify(release)
    assert any("not a release that this house cut" in each for each in found.problems)
    if change.get("version"):
        assert "this house's ledger knows no version biodiversity/birds@99" in found.problems
    else:
        assert any("has rows of biodiversity/birds" in each for each in found.problems)


def test_a_derived_table_cannot_hide_what_it_was_made_of(lab, release):
    told = json.loads((release / "manifest.json").read_text())
    for table in told["tables"]:
        table["sources"] = []
    resum(release, told)
    problems = "\n".join(verify(str(release), date(2027, 3, 1)).problems)
    assert (
        "biodiversity.species_by_cell of no single dataset has rows of biodiversity/birds, not of no dataset"
        in problems
    )


def test_a_stranger_is_told_what_only_the_house_can_tell(lab, lab_at, release, tmp_path):
    digest = hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()
    elsewhere = lab_at(tmp_path / "elsewhere")
    for found in (verify(str(release), date(2027, 3, 1)), elsewhere.verify(release)):
        assert found.passed
        assert any("only the house that cut it" in note and digest in note for note in found.notes)
    assert lab.verify(release).notes == ()
    elsewhere.contract("finches")
    elsewhere.publish("finches", [PLACE])
    elsewhere.cut(tmp_path / "finches")
    assert any("not a release that this house cut" in each for each in elsewhere.verify(release).problems)
