"""The checks on frequencies, consequences and predictions: what each one catches, and what it leaves alone."""

from __future__ import annotations

from fractions import Fraction

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.table import Ratio, load_table
from validations.science import science_checks
from validations.science.genomics import GROUPS, IMPACTS

ROWS = {
    "genomics.variants": {
        "allele_count": 10,
        "allele_number": 100,
        "allele_frequency": 0.1,
        "homozygote_count": 2,
        "allele_count_afr": 4,
        "allele_number_afr": 40,
        "allele_frequency_afr": 0.1,
        "homozygote_count_afr": 1,
        "allele_count_xx": 6,
        "allele_number_xx": 60,
    },
    "genomics.consequences": {"consequences": ["missense_variant"], "impact": "MODERATE"},
    "genomics.effect_predictions": {
        "protein_variant": "R175H",
        "model": "AlphaMissense",
        "score": 0.9857,
        "class": "likely_pathogenic",
    },
}


def verdict(table: str, check: str, **changes: object) -> bool | None:
    contract = load_table(table)
    assert check in contract.science
    empty = pl.from_arrow(contract.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    row = dict.fromkeys(empty.columns) | ROWS[table] | changes
    answer = science_checks()[check](pl.DataFrame([row], schema=empty.schema))
    assert answer.dtype == pl.Boolean
    assert len(answer) == 1
    return answer[0]


@pytest.mark.parametrize(
    ("check", "changes", "expected"),
    [
        ("allele_count_within_number", {}, True),
        ("allele_count_within_number", {"allele_count": 100}, True),
        ("allele_count_within_number", {"allele_count": 101}, False),
        ("allele_count_within_number", {"allele_count": 0, "allele_number": 0}, True),
        ("allele_count_within_number", {"allele_count": None}, None),
        ("allele_frequency_is_count_by_number", {}, True),
        ("allele_frequency_is_count_by_number", {"allele_frequency": 0.2}, False),
        ("allele_frequency_is_count_by_number", {"allele_frequency": 0.1002}, False),
        ("allele_frequency_is_count_by_number", {"allele_frequency": 0.100009}, True),
        ("allele_frequency_is_count_by_number", {"allele_frequency": float("nan")}, False),
        ("allele_frequency_is_count_by_number", {"allele_frequency": None}, None),
        ("allele_frequency_is_count_by_number", {"allele_count": 0, "allele_frequency": 0.0}, True),
        ("allele_frequency_is_count_by_number", {"allele_number": 0, "allele_frequency": 0.5}, False),
        ("allele_frequency_is_count_by_number", {"allele_count": 0, "allele_number": 0, "allele_frequency": 0.0}, True),
        ("homozygotes_within_allele_count", {}, True),
        ("homozygotes_within_allele_count", {"homozygote_count": 5}, True),
        ("homozygotes_within_allele_count", {"homozygote_count": 6}, False),
        ("homozygotes_within_allele_count", {"homozygote_count_afr": 3}, False),
        ("homozygotes_within_allele_count", {"homozygote_count": None, "homozygote_count_afr": None}, None),
        ("groups_within_overall", {}, True),
        ("groups_within_overall", {"allele_count_afr": 11}, False),
        ("groups_within_overall", {"allele_number_xx": 101}, False),
        ("groups_within_overall", {"homozygote_count_afr": 3}, False),
        ("groups_within_overall", {"allele_count_xx": -1}, False),
        ("group_frequencies_are_counts_by_numbers", {}, True),
        ("group_frequencies_are_counts_by_numbers", {"allele_frequency_afr": 0.2}, False),
        ("group_frequencies_are_counts_by_numbers", {"allele_count_xx": 61}, False),
        ("group_frequencies_are_counts_by_numbers", {"allele_frequency_afr": None}, True),
    ],
)
def test_a_check_on_frequencies_catches_what_it_is_for(check, changes, expected):
    assert verdict("genomics.variants", check, **changes) is expected


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_is_checked(group):
    of = {f"allele_count_{group}": 3, f"allele_number_{group}": 30, f"homozygote_count_{group}": 1}
    frequency = f"allele_frequency_{group}"
    assert verdict("genomics.variants", "groups_within_overall", **of) is True
    assert verdict("genomics.variants", "groups_within_overall", **of | {f"allele_count_{group}": 11}) is False
    assert (
        verdict("genomics.variants", "homozygotes_within_allele_count", **of | {f"homozygote_count_{group}": 2})
        is False
    )
    assert verdict("genomics.variants", "group_frequencies_are_counts_by_numbers", **of | {frequency: 0.1}) is True
    assert verdict("genomics.variants", "group_frequencies_are_counts_by_numbers", **of | {frequency: 0.11}) is False


def test_the_groups_are_those_of_the_table():
    names = {column.name for column in load_table("genomics.variants").columns}
    wide = {f"{name}_{group}" for group in GROUPS for name in ("allele_count", "allele_number", "homozygote_count")}
    assert wide <= names
    assert {name for name in names if name.startswith("allele_frequency_")} == {f"allele_frequency_{g}" for g in GROUPS}


@given(st.integers(0, 2_000_000), st.integers(1, 2_000_000))
def test_a_frequency_holds_as_gnomad_writes_it_and_not_when_it_is_another_alleles(count, number):
    count = min(count, number)
    said = float(f"{float(Fraction(count, number)):.5e}")
    row = {"allele_count": count, "allele_number": number, "homozygote_count": None}
    assert verdict("genomics.variants", "allele_frequency_is_count_by_number", **row, allele_frequency=said) is True
    other = said * 1.001 + 3e-6
    assert verdict("genomics.variants", "allele_frequency_is_count_by_number", **row, allele_frequency=other) is False


@pytest.mark.parametrize(
    ("check", "changes", "expected"),
    [
        ("consequences_are_known", {}, True),
        ("consequences_are_known", {"consequences": ["missense_variant", "nonsense"]}, False),
        ("consequences_are_known", {"consequences": ["disruptive_inframe_deletion"]}, True),
        ("consequences_are_known", {"consequences": None}, None),
        ("impact_agrees_with_consequences", {}, True),
        ("impact_agrees_with_consequences", {"impact": "HIGH"}, False),
        (
            "impact_agrees_with_consequences",
            {"consequences": ["stop_gained", "splice_region_variant"], "impact": "HIGH"},
            True,
        ),
        ("impact_agrees_with_consequences", {"consequences": ["disruptive_inframe_deletion"], "impact": "LOW"}, None),
        ("impact_agrees_with_consequences", {"impact": None}, None),
    ],
)
def test_a_check_on_consequences_catches_what_it_is_for(check, changes, expected):
    assert verdict("genomics.consequences", check, **changes) is expected


@pytest.mark.parametrize(
    ("score", "kind", "expected"),
    [
        (0.9857, "likely_pathogenic", True),
        (0.565, "likely_pathogenic", True),
        (0.564, "likely_pathogenic", True),
        (0.5639, "likely_pathogenic", False),
        (0.564, "ambiguous", True),
        (0.5641, "ambiguous", False),
        (0.34, "ambiguous", True),
        (0.3399, "ambiguous", False),
        (0.34, "likely_benign", True),
        (0.3401, "likely_benign", False),
        (0.0, "likely_benign", True),
        (0.9, "likely_benign", False),
        (0.9, None, None),
    ],
)
def test_a_class_must_be_that_of_its_score(score, kind, expected):
    row = {"score": score, "class": kind}
    assert verdict("genomics.effect_predictions", "class_agrees_with_score", **row) is expected
    assert verdict("genomics.effect_predictions", "class_agrees_with_score", **row, model="Another") is None


def test_a_substitution_changes_the_amino_acid():
    assert verdict("genomics.effect_predictions", "protein_variant_is_a_substitution") is True
    assert verdict("genomics.effect_predictions", "protein_variant_is_a_substitution", protein_variant="R175R") is False


def test_no_consequence_has_two_impacts():
    terms = [term for terms in IMPACTS.values() for term in terms]
    assert len(terms) == len(set(terms)) == 41


def ratios(*alleles: tuple[str, str]) -> dict[str, float | None]:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE staged (ref VARCHAR, alt VARCHAR)")
    for allele in alleles:
        connection.execute("INSERT INTO staged VALUES (?, ?)", allele)
    found = {}
    for ratio in load_table("genomics.variants").ratios:
        found[ratio.name] = connection.execute(f"SELECT {ratio.sql} FROM staged").fetchone()[0]
    return found


def test_the_ratios_count_what_their_names_say():
    transitions = [("A", "G"), ("G", "A"), ("C", "T"), ("T", "C")]
    transversions = [(ref, alt) for ref in "ACGT" for alt in "ACGT" if ref != alt and (ref, alt) not in transitions]
    assert len(transversions) == 8
    others = [
        ("AC", "GT"),
        ("A", "*"),
        ("A", "<DEL>"),
        ("A", None),
        ("N", "A"),
        ("G", "G]17:198982]"),
        ("G", "G."),
        ("AC", "*"),
    ]
    indels = [("A", "AC"), ("A", "ACC"), ("A", "ACCC"), ("AC", "A"), ("ACC", "A")]
    assert ratios(*transitions, *transversions, *others, *indels) == {
        "transitions_per_transversion": 0.5,
        "insertions_per_deletion": 1.5,
    }
    assert ratios() == {"transitions_per_transversion": None, "insertions_per_deletion": None}


def test_random_errors_and_a_lost_kind_of_allele_leave_the_bounds_and_real_alleles_keep_them():
    bounds = {ratio.name: ratio for ratio in load_table("genomics.variants").ratios}
    for name, low, real, high in (
        ("transitions_per_transversion", 0.5, 2.1, 8),
        ("insertions_per_deletion", 0, 0.8, 5),
    ):
        assert low < bounds[name].least < real < bounds[name].most < high


def test_a_ratios_bounds_must_not_cross():
    with pytest.raises(ValueError, match="`least` is more than `most`"):
        Ratio(name="x", description="", sql="1", least=2, most=1)


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical])
def test_a_place_is_checked_in_batches_of_one_and_of_several_chromosomes(kind):
    check = science_checks()["position_within_chromosome"]
    rows = [
        ("GRCh38", "21", 46_709_983),
        ("GRCh38", "21", 46_709_984),
        ("GRCh38", "22", 46_709_984),
        ("GRCh37", "21", 1),
    ]
    rows += [("GRCh38", "KI270302", 10**9), (None, None, None)]
    frame = pl.DataFrame(rows, schema={"assembly": pl.String, "contig": pl.String, "position": pl.Int64}, orient="row")
    frame = frame.with_columns(pl.lit("A").alias("ref"), pl.col("assembly", "contig").cast(kind))
    expected = [True, False, True, True, None, None]
    assert check(frame).to_list() == expected
    assert [check(frame[index : index + 1]).to_list() for index in range(6)] == [[each] for each in expected]
    assert check(frame[:2]).to_list() == [True, False]
    assert check(frame[:0]).to_list() == []
