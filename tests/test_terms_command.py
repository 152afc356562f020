"""``winnow terms`` of datasets, releases and queries: what is told, and what is told to nobody but the house."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import yaml
from click.testing import CliRunner

from catalog.dataset import load_dataset
from catalog.manifest import FORMAT, Manifest, ReleasedDataset, ReleasedPart, ReleasedTable, ReleasedTerms
from catalog.records import Found
from dagster_project import cli, curate
from dagster_project.settings import Settings

TODAY = date(2027, 3, 1)
TABLE = "genomics.clinical_significance"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=GENE,Number=1,Type=String,Description="gene">
##INFO=<ID=LIC,Number=1,Type=String,Description="licence">
"""
ROWS = [("a", "CC-BY-4.0"), ("a", "CC-BY-SA-4.0"), ("b", "ODbL-1.0"), ("b", "CC-BY-4.0"), ("c", "CC-BY-NC-4.0")]


def contract(folder, name, terms, rows=ROWS, header=HEADER):
    place = folder / "genomics" / name
    place.mkdir(parents=True, exist_ok=True)
    lines = [f"1\t{100 + i}\tr{i}\tA\tC\t.\t.\tGENE={gene};LIC={licence}\n" for i, (gene, licence) in enumerate(rows)]
    (place / "sample.vcf").write_text(header + COLUMNS + "".join(lines))
    licence = terms.get("licence", "CC-BY-4.0")
    finding = {"file": "README", "read_on": "2026-11-23", "quote": "as its owner says", "licence": licence}
    attributes = {
        "title": name,
        "table": TABLE,
        "source": {"unpublished": "made for a test", "format": "vcf"},
        "sample": "sample.vcf",
        "terms": {"licence": licence, "evidence": [finding], "attribution": f"the makers of {name}", **terms},
        "columns": {"gene_symbols": "[GENE]"},
        "owner": "tests",
    }
    document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
    (place / "defs.yaml").write_text(yaml.safe_dump(document))
    return load_dataset(f"genomics/{name}", folder)


@pytest.fixture(scope="module")
def estate(tmp_path_factory):
    """A house with rows of several licences, one dataset under embargo, one whose bytes say otherwise."""
    home = tmp_path_factory.mktemp("house")
    house = curate.House(Settings.at(home), clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))
    folder = home / "datasets"
    citation = {"doi": "10.1000/mixed"}
    datasets = {
        "mixed": contract(folder, "mixed", {"row_licence": {"column": "LIC"}, "citation": citation}),
        "late": contract(folder, "late", {"embargo": {"until": TODAY + timedelta(days=1)}}, ROWS[:1]),
        "event": contract(folder, "event", {"embargo": {"event": "publication", "review_by": "2027-02-01"}}, ROWS[:2]),
        "plain": contract(folder, "plain", {"licence": "CC0-1.0"}, ROWS[:3]),
    }
    for dataset in datasets.values():
        snapshot = curate.fetch(house, dataset, curate.address(dataset, sample=True))
        stage, report = curate.stage(house, dataset, snapshot, f"run-{dataset.short_name}")
        assert report.passed, report.refusals()
        curate.commit(house, dataset, stage)
    return house, datasets


@pytest.fixture
def terms(estate, monkeypatch):
    """Call ``winnow terms`` on the estate; with ``only``, on these datasets."""
    house, datasets = estate
    chosen = dict(datasets)
    monkeypatch.setattr(cli, "_house", lambda: house)
    monkeypatch.setattr(cli, "_known", lambda names: None)
    monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: (tuple(chosen.values()), {}))

    def call(*arguments, only=None):
        if only is not None:
            chosen.clear()
            chosen.update({dataset.short_name: dataset for dataset in only})
        return CliRunner().invoke(cli.main, ["terms", *arguments])

    return call


def changed(dataset, **terms):
    """The dataset under other terms, without another run."""
    told = yaml.safe_load((dataset.folder / "defs.yaml").read_text())["attributes"]
    told["terms"] |= terms
    copy = type(dataset).model_validate(told)
    copy._name, copy._folder = dataset.name, dataset.folder
    return copy


# -- a dataset ---------------------------------------------------------------------------------------


def test_rows_are_counted_under_the_licences_that_the_profile_may_have(terms):
    told = terms("genomics/mixed").stdout
    assert f"  genomics/mixed@1, {TABLE}: 2 rows under CC-BY-4.0\n" in told
    assert "1 rows under CC-BY-SA-4.0" in told
    assert "CC-BY-NC-4.0" not in told
    assert "source column LIC" in told
    inside = terms("genomics/mixed", "--profile", "internal").stdout
    assert "1 rows under CC-BY-NC-4.0, withheld from open\n" in inside


def test_nothing_is_counted_of_a_withheld_dataset_and_its_end_is_told(terms):
    told = terms("genomics/late").stdout
    assert "embargo: until 2027-03-02\n" in told
    assert "open: withheld, until 2027-03-02" in told
    assert "noncommercial: withheld, until 2027-03-02" in told
    assert "internal: permitted" in told
    assert "rows under" not in told
    inside = terms("genomics/late", "--profile", "internal").stdout
    assert "1 rows under CC-BY-4.0, withheld from open, until 2027-03-02" in inside


def test_a_review_that_is_overdue_is_said_plainly(terms, estate):
    assert (
        "embargo: until publication; REVIEW OVERDUE since 2027-02-01: it still holds" in terms("genomics/event").stdout
    )
    later = changed(estate[1]["event"], embargo={"event": "publication", "review_by": TODAY})
    assert "embargo: until publication; review by 2027-03-01\n" in terms("genomics/event", only=[later]).stdout


def test_each_kind_of_embargo_is_told(terms, estate):
    plain = estate[1]["plain"]
    by_row = changed(plain, embargo={"column": "DAY", "months": 12})
    assert "until the day in source column DAY, and 12 months after it" in terms("genomics/plain", only=[by_row]).stdout
    past = changed(plain, embargo={"until": "2020-01-01"})
    assert "embargo: until 2020-01-01, which has passed" in terms("genomics/plain", only=[past]).stdout


def test_agreeing_conflicting_and_missing_evidence_are_told_apart(terms, estate):
    plain = estate[1]["plain"]
    assert "state of the evidence: agreement" in terms("genomics/plain").stdout
    quote = {"file": "README", "read_on": "2026-11-23", "quote": "Licensed under CC BY-NC-SA 4.0"}
    contradicted = terms("genomics/plain", only=[changed(plain, evidence=[quote])]).stdout
    assert "state of the evidence: conflict" in contradicted
    assert "says       CC-BY-NC-SA-4.0   README, read 2026-11-23" in contradicted
    assert "open: withheld" in contradicted
    silent = {**quote, "quote": "Have fun"}
    unknown = terms("genomics/plain", only=[changed(plain, evidence=[silent])]).stdout
    assert "state of the evidence: unknown" in unknown
    resolution = {"by": "A. Person", "decided_on": "2026-11-24", "why": "they wrote to us", "over": ["CC-BY-NC-SA-4.0"]}
    resolved = terms("genomics/plain", only=[changed(plain, evidence=[quote], resolution=resolution)]).stdout
    assert "state of the evidence: agreement" in resolved
    assert "resolved by A. Person on 2026-11-24: they wrote to us (set aside: CC-BY-NC-SA-4.0)" in resolved
    assert "open: permitted" in resolved


def test_words_of_withheld_bytes_are_told_to_the_house_only(terms, estate, monkeypatch):
    words = Found(file="canary-file.vcf", place="line 3", words="canary words CC BY-NC 4.0", means=("CC-BY-NC-4.0",))
    house, _datasets = estate
    version = house.ledger.current("genomics/plain").model_copy(update={"found": (words,)})
    monkeypatch.setattr(house.ledger, "current", lambda name: version if name == "genomics/plain" else None)
    monkeypatch.setattr(house.ledger, "versions", lambda name=None: [version])
    for asked in (["genomics/plain"], [], ["--query", f"FROM {TABLE}"]):
        outside = terms(*asked)
        assert outside.exit_code == 0
        assert "canary" not in outside.output
    told = terms("genomics/plain").stdout
    assert "state of the evidence: conflict; words in the source itself are told with `--profile internal`" in told
    assert "open: withheld" in told
    assert "canary words" in terms("genomics/plain", "--profile", "internal").stdout


def test_a_rule_for_sensitive_records_is_told(terms, estate):
    rule = {"when": "GENE = 'a'", "cell": 0.1, "reason": "nests are robbed"}
    told = terms("genomics/plain", only=[changed(estate[1]["plain"], sensitive=[rule])]).stdout
    assert "sensitive: where GENE = 'a', the place is told to a cell of 0.1 degrees: nests are robbed" in told


# -- a query -----------------------------------------------------------------------------------------


def test_a_query_tells_the_licences_of_its_rows_and_every_attribution(terms):
    done = terms("--query", f"SELECT gene_symbols[1] AS gene FROM {TABLE} WHERE gene_symbols[1] = 'a'")
    assert done.exit_code == 0
    assert "  CC-BY-4.0: 1 rows\n" in done.stdout
    assert "  CC-BY-SA-4.0: 1 rows\n" in done.stdout
    assert "  CC0-1.0: 2 rows\n" in done.stdout
    assert "ODbL" not in done.stdout
    assert "  under CC-BY-4.0 AND CC-BY-SA-4.0 AND CC0-1.0; asks ATTRIBUTION" in done.stdout
    assert "  the makers of mixed (genomics/mixed)\n  the makers of plain (genomics/plain)\n" in done.stdout
    assert "cite genomics/mixed (doi): 10.1000/mixed" in done.stdout
    assert "the makers of late" not in done.stdout
    assert "withheld under open: rows of genomics/late" in done.stderr


def test_rows_made_of_several_are_told_with_all_their_licences(terms):
    told = terms("--query", f"SELECT gene_symbols[1] AS gene, count(*) AS n FROM {TABLE} GROUP BY ALL").stdout
    assert "  CC-BY-4.0 with CC-BY-SA-4.0 with CC0-1.0 (rows made of several): 1 rows\n" in told
    assert "  CC-BY-4.0 with CC0-1.0 with ODbL-1.0 (rows made of several): 1 rows\n" in told


def test_licences_that_clash_in_one_adaptation_are_both_named(terms):
    told = terms("--query", f"SELECT * FROM {TABLE}").stdout
    (line,) = [line for line in told.splitlines() if "may not be" in line]
    assert "CC-BY-SA-4.0" in line
    assert "ODbL-1.0" in line


def test_what_cannot_be_traced_is_said_and_answered_for_all_that_may_be_had(terms):
    told = terms("--query", f"SELECT * FROM {TABLE} LIMIT 1").stdout
    assert told.startswith("not traced row by row: the terms of the rows cannot be traced through LIMIT")
    for licence in ("CC-BY-4.0", "CC-BY-SA-4.0", "ODbL-1.0", "CC0-1.0"):
        assert licence in told
    assert "CC-BY-NC-4.0" not in told
    assert "rows\n" not in told.split("licences of the rows\n")[1]


def test_a_wider_profile_may_have_more(terms):
    query = f"SELECT _record FROM {TABLE}"
    assert "CC-BY-NC-4.0" not in terms("--query", query).stdout
    assert "CC-BY-NC-4.0: 1 rows" in terms("--query", query, "--profile", "noncommercial").stdout
    assert "the makers of late" in terms("--query", query, "--profile", "internal").stdout


def test_a_query_that_reads_no_dataset_has_no_terms(terms):
    assert terms("--query", "SELECT 1").stdout == "no row of the answer is made of any dataset's rows\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--query", "SELECT nosuch FROM genomics.plain__clinical_significance"], "nosuch"),
        (["--query", "SELECT * FROM 'x.parquet'"], "files and paths are not read"),
        (["--query", "DELETE FROM x"], "only SELECT"),
    ],
)
def test_a_wrong_query_is_refused_in_its_own_words(terms, arguments, words):
    done = terms(*arguments)
    assert done.exit_code == 1
    assert words in done.stderr
    assert "_terms" not in done.stderr


def test_subject_and_query_exclude_one_another(terms):
    done = terms("genomics/plain", "--query", "SELECT 1")
    assert done.exit_code == 2
    assert "not two of them" in done.stderr


# -- a release ---------------------------------------------------------------------------------------


def manifest(folder, *terms):
    """A release's folder with only its manifest: two datasets in one table under these (licence, rows)."""
    datasets = tuple(
        ReleasedDataset(
            name=f"genomics/{name}",
            title=name,
            version=3,
            fingerprint=None,
            licence=licence,
            attribution="the makers",
            citation={"doi": f"10.1000/{name}"},
            rows=rows,
        )
        for name, (licence, rows) in zip(("one", "two"), terms, strict=True)
    )
    parts = tuple(ReleasedPart(dataset=each.name, columns=(), files=(), terms=(released(each),)) for each in datasets)
    table = ReleasedTable(
        name=TABLE,
        kind="canonical",
        description="t",
        standard=None,
        columns=(),
        parts=parts,
        attribution=("rightsHolder",),
    )
    told = Manifest(format=FORMAT, profile="open", day=TODAY, datasets=datasets, tables=(table,))
    (folder / "manifest.json").write_text(told.to_json())
    return str(folder)


def released(dataset):
    return ReleasedTerms(
        said_licence=None,
        said_embargo_until=None,
        licence=dataset.licence,
        embargo_until=None,
        rows=dataset.rows,
        obligations=(),
    )


def test_a_release_tells_licences_obligations_and_attributions(terms, tmp_path):
    told = terms(manifest(tmp_path, ("CC-BY-4.0", 7), ("CC0-1.0", 5))).stdout
    assert told.startswith("release for open of 2027-03-01: 12 rows\n")
    assert f"  7 rows: {TABLE}, genomics/one\n" in told
    assert "licence: CC-BY-4.0, " in told
    assert "  under CC-BY-4.0 AND CC0-1.0; asks ATTRIBUTION" in told
    assert "  the makers (genomics/one@3, genomics/two@3)\n" in told
    assert "cite genomics/two (doi): 10.1000/two" in told
    assert f"rows of {TABLE} also name whom to credit, in rightsHolder" in told


def test_a_release_whose_licences_clash_may_still_stand_side_by_side(terms, tmp_path):
    told = terms(manifest(tmp_path, ("CC-BY-SA-4.0", 7), ("ODbL-1.0", 5))).stdout
    assert "may not be" in told
    assert "side by side, each row keeps its own licence" in told


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"format": "other"}', f'{{"format": "{FORMAT}"}}'])
def test_what_is_no_release_is_refused_in_words(terms, tmp_path, text):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    done = terms(str(tmp_path))
    assert done.exit_code == 1
    assert "manifest.json" in done.stderr
    assert "remedy" in done.stderr
