"""Evidence: what was read agrees with what is declared, or contradicts it until a person says why it does not count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.rights.evidence import finding_problem, judge, row_problem
from catalog.rights.licences import load_licences

DAY = date(2026, 3, 1)


@dataclass(frozen=True)
class Finding:
    quote: str
    licence: str | None = None
    url: str | None = "https://example.org/terms"
    file: str | None = None
    read_on: date = DAY


@dataclass(frozen=True)
class Found:
    words: str
    means: tuple[str, ...]
    file: str = "sample.tsv"
    place: str = "line 3"


@dataclass(frozen=True)
class Resolution:
    over: tuple[str, ...]
    by: str = "Ada"
    decided_on: date = DAY
    why: str = "the owner relicensed it"


ALPHAMISSENSE = Found("# Licensed under CC BY-NC-SA 4.0 license", ("CC-BY-NC-SA-4.0",))
ids = st.sampled_from(sorted(load_licences()))


def test_the_files_own_words_contradict_a_declaration() -> None:
    evidence = judge("CC-BY-4.0", [Finding("CC BY 4.0")], [ALPHAMISSENSE], None)
    assert evidence.state == "conflict"
    assert evidence.conflicts == (
        'sample.tsv, line 3 says CC-BY-NC-SA-4.0, not CC-BY-4.0: "# Licensed under CC BY-NC-SA 4.0 license"',
    )
    assert evidence.diff.splitlines() == [
        "declared   CC-BY-4.0",
        'agrees     CC-BY-4.0         https://example.org/terms, read 2026-03-01: "CC BY 4.0"',
        'says       CC-BY-NC-SA-4.0   sample.tsv, line 3: "# Licensed under CC BY-NC-SA 4.0 license"',
    ]


def test_what_says_the_same_agrees() -> None:
    assert judge("CC-BY-NC-SA-4.0", [], [ALPHAMISSENSE], None).state == "agreement"
    assert judge("CC-BY-4.0", [Finding("http://creativecommons.org/licenses/by/4.0/")], [], None).state == "agreement"
    assert judge("MIT", [Finding("MIT")], [], None).state == "agreement"


def test_words_that_may_mean_it_agree_and_words_that_cannot_do_not() -> None:
    assert judge("CC-BY-4.0", [Finding("Licensed CC BY")], [], None).state == "agreement"
    assert judge("CC-BY-NC-4.0", [Finding("Licensed CC BY")], [], None).state == "conflict"
    assert judge("CC0-1.0", [Finding("placed in the public domain")], [], None).state == "agreement"


def test_every_licence_of_an_expression_is_declared() -> None:
    both = [Finding("CC BY 4.0"), Finding("CC BY-NC 4.0")]
    assert judge("CC-BY-4.0 AND CC-BY-NC-4.0", both, [], None).state == "agreement"
    assert judge("CC-BY-4.0 OR MIT", both, [], None).state == "conflict"


def test_a_choice_is_borne_out_only_by_words_that_leave_it() -> None:
    choice = "CC-BY-4.0 OR CC-BY-NC-4.0"
    assert judge(choice, [Finding("CC BY 4.0 or CC BY-NC 4.0, as you like")], [], None).state == "agreement"
    assert judge(choice, [Finding("as you like", licence=choice)], [], None).state == "agreement"
    found = [Found("CC BY 4.0 or CC BY-NC 4.0", ("CC-BY-4.0",)), Found("CC BY 4.0 or CC BY-NC 4.0", ("CC-BY-NC-4.0",))]
    assert judge(choice, [], found, None).state == "agreement"
    for words in ("CC BY-NC 4.0", "CC BY 4.0", "https://creativecommons.org/licenses/by-nc/4.0/"):
        assert judge(choice, [Finding(words)], [], None).state == "conflict"
    assert judge("MIT OR Apache-2.0 AND MIT", [Finding("MIT License")], [], None).state == "agreement"


@pytest.mark.parametrize("words", ["Creative Commons", "Licensed under a Creative Commons licence"])
def test_words_that_may_mean_any_licence_of_their_kind_bear_none_out(words: str) -> None:
    assert judge("CC0-1.0", [Finding(words)], [], None).state == "unknown"
    assert judge("MIT", [Finding(words)], [], None).state == "conflict"
    assert judge("CC0-1.0", [Finding(words), Finding("CC0")], [], None).state == "agreement"


NC = Found("CC BY-NC 4.0", ("CC-BY-NC-4.0",))
BY = Found("CC BY", ("CC-BY-3.0", "CC-BY-4.0"))
MEMBERS = Found("for members only", ())


@pytest.mark.parametrize(
    ("licence", "found"),
    [
        ("CC0-1.0", [NC]),
        ("CC-BY-4.0", [NC, MEMBERS]),
        ("CC-BY-4.0", [MEMBERS]),
        ("CC-BY-4.0 OR CC-BY-NC-4.0", [NC]),
        ("CC-BY-4.0", [Found("Creative Commons", ("CC-BY-4.0", "CC-BY-NC-4.0"))]),
        ("CC-BY-NC-4.0", [Found("CC BY-NC-ND", ("CC-BY-NC-ND-4.0",))]),
    ],
)
def test_rows_are_not_freer_than_all_the_words_in_their_bytes(licence: str, found: list[Found]) -> None:
    assert f"the rows' own {licence}" in (row_problem(licence, found, None) or "")
    over = tuple(each.words for each in found)
    assert row_problem(licence, found, Resolution(over)) is None


@pytest.mark.parametrize(
    ("licence", "found"),
    [("CC0-1.0", []), ("CC0-1.0", [NC, BY]), ("CC-BY-NC-4.0", [NC]), ("CC-BY-4.0", [BY]), ("see website", [NC])],
)
def test_words_may_speak_of_other_rows(licence: str, found: list[Found]) -> None:
    assert row_problem(licence, found, None) is None


def test_a_licence_that_nobody_knows_contradicts() -> None:
    for finding in (Finding("for academic use only"), Finding("see page 3", licence="GPL-3.0-only")):
        evidence = judge("CC-BY-4.0", [Finding("CC BY 4.0"), finding], [], None)
        assert evidence.state == "conflict"
        assert "a licence not known" in evidence.diff


def test_no_evidence_and_words_of_no_licence_are_unknown() -> None:
    assert judge("CC-BY-4.0", [], [], None).state == "unknown"
    assert judge("CC-BY-4.0", [Finding("Welcome to our database")], [], None).state == "unknown"
    assert judge("CC-BY-4.0", [Finding("no licence is stated", licence="NOASSERTION")], [], None).state == "unknown"


def test_a_person_s_reading_counts_before_the_words() -> None:
    assert judge("CC-BY-4.0", [Finding("our usual terms", licence="CC-BY-4.0")], [], None).state == "agreement"
    assert judge("CC-BY-4.0", [Finding("CC BY", licence="CC-BY-3.0")], [], None).state == "conflict"


@pytest.mark.parametrize("licence", ["NOASSERTION", "NONE", "nonsense"])
def test_nothing_contradicts_what_declares_nothing(licence: str) -> None:
    evidence = judge(licence, [Finding("CC BY 4.0")], [ALPHAMISSENSE], Resolution(("MIT",)))
    assert (evidence.state, evidence.conflicts) == ("unknown", ())
    assert "# Licensed under" in evidence.diff


@pytest.mark.parametrize("over", ["CC-BY-NC-SA-4.0", "cc by-nc-sa 4.0", "# licensed UNDER  cc BY-NC-SA 4.0 license"])
def test_a_resolution_sets_aside_what_it_names(over: str) -> None:
    evidence = judge("CC-BY-4.0", [], [ALPHAMISSENSE], Resolution((over,)))
    assert (evidence.state, evidence.conflicts) == ("agreement", ())
    assert "set aside" in evidence.diff
    assert "Ada on 2026-03-01: the owner relicensed it" in evidence.diff


@pytest.mark.parametrize(
    "over", [(), ("CC-BY-NC-4.0",), ("",), ("  ",), ("c",), ("other words",), ("licensed under",), ("4.0",)]
)
def test_a_resolution_sets_aside_nothing_else(over: tuple[str, ...]) -> None:
    assert judge("CC-BY-4.0", [], [ALPHAMISSENSE], Resolution(over)).state == "conflict"


def test_an_id_sets_aside_only_words_that_mean_nothing_else() -> None:
    kind = Found("CC BY-ND", ("CC-BY-ND-3.0", "CC-BY-ND-4.0"))
    assert judge("CC0-1.0", [], [kind], Resolution(("CC-BY-ND-4.0",))).state == "conflict"
    assert judge("CC0-1.0", [], [kind], Resolution(("CC-BY-ND-4.0", "CC-BY-ND-3.0"))).state == "agreement"
    assert judge("CC0-1.0", [], [MEMBERS], Resolution(("CC-BY-ND-4.0",))).state == "conflict"


def test_words_that_appear_after_a_resolution_contradict_again() -> None:
    later = Found("Not for redistribution", ("LicenseRef-no-redistribution",))
    evidence = judge("CC-BY-4.0", [], [ALPHAMISSENSE, later], Resolution(("CC-BY-NC-SA-4.0",)))
    assert evidence.state == "conflict"
    assert len(evidence.conflicts) == 1


@given(ids, st.lists(ids, max_size=4), st.lists(ids, max_size=4))
def test_agreement_is_a_statement_for_and_none_against(declared: str, found: list[str], over: list[str]) -> None:
    statements = [Found(f"words of {spdx}", (spdx,)) for spdx in found]
    against = set(found) - {declared}
    without = judge(declared, [], statements, None).state
    assert without == ("conflict" if against else "agreement" if found else "unknown")
    resolved = judge(declared, [], statements, Resolution(tuple(over))).state
    assert resolved == ("conflict" if against - set(over) else "agreement")


@pytest.mark.parametrize(
    ("quote", "licence", "said"),
    [
        ("CC BY-NC 4.0", "CC-BY-4.0", "mean CC-BY-NC-4.0, not CC-BY-4.0"),
        ("placed in the public domain", "CC-BY-4.0", "mean CC-PDM-1.0 or CC0-1.0"),
        ("our usual terms", "GPL-3.0-only", "GPL-3.0-only"),
        ("CC BY", "CC BY", "CC BY"),
    ],
)
def test_a_reading_that_the_words_contradict_is_a_problem(quote: str, licence: str, said: str) -> None:
    assert said in (finding_problem(Finding(quote, licence)) or "")


@pytest.mark.parametrize(
    ("quote", "licence"),
    [("CC BY", "CC-BY-4.0"), ("our usual terms", "CC-BY-4.0"), ("CC BY-NC 4.0", None), ("MIT", "MIT")],
)
def test_a_reading_that_the_words_allow_is_none(quote: str, licence: str | None) -> None:
    assert finding_problem(Finding(quote, licence)) is None


def test_a_reading_may_be_that_nothing_is_stated() -> None:
    assert finding_problem(Finding("Welcome", "NOASSERTION")) is None
    assert finding_problem(Finding("CC BY 4.0", "NOASSERTION")) is not None
