"""Policy: one decision, closed unless everything needed is known."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from catalog.records import Found, Profile
from catalog.rights.embargo import utc_day
from catalog.rights.licences import load_licences, normalise
from catalog.rights.policy import Terms, decide, effective
from catalog.rights.terms import DatasetTerms

TODAY = date(2026, 11, 23)
PROFILES = get_args(Profile)

# Written by hand from the licences' own words: open, noncommercial, what is asked.
EXPECTED = {
    "CC0-1.0": (True, True, ""),
    "PDDL-1.0": (True, True, ""),
    "CC-PDM-1.0": (True, True, ""),
    "CC-BY-2.0": (True, True, "ATTRIBUTION INDICATE_CHANGES"),
    "CC-BY-SA-2.0": (True, True, "ATTRIBUTION INDICATE_CHANGES SHARE_ALIKE"),
    "CC-BY-NC-2.0": (False, True, "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL"),
    "CC-BY-NC-SA-2.0": (False, True, "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL SHARE_ALIKE"),
    "CC-BY-ND-2.0": (False, False, "ATTRIBUTION NO_DERIVATIVES"),
    "CC-BY-NC-ND-2.0": (False, False, "ATTRIBUTION NON_COMMERCIAL NO_DERIVATIVES"),
    "CC-BY-2.5": (True, True, "ATTRIBUTION INDICATE_CHANGES"),
    "CC-BY-SA-2.5": (True, True, "ATTRIBUTION INDICATE_CHANGES SHARE_ALIKE"),
    "CC-BY-NC-2.5": (False, True, "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL"),
    "CC-BY-NC-SA-2.5": (False, True, "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL SHARE_ALIKE"),
    "CC-BY-ND-2.5": (False, False, "ATTRIBUTION NO_DERIVATIVES"),
    "CC-BY-NC-ND-2.5": (False, False, "ATTRIBUTION NON_COMMERCIAL NO_DERIVATIVES"),
    "CC-BY-3.0": (True, True, "ATTRIBUTION INDICATE_CHANGES NO_ENDORSEMENT"),
    "CC-BY-3.0-IGO": (True, True, "ATTRIBUTION INDICATE_CHANGES NO_ENDORSEMENT"),
    "CC-BY-4.0": (True, True, "ATTRIBUTION INDICATE_CHANGES NO_ENDORSEMENT"),
    "CC-BY-SA-3.0": (True, True, "ATTRIBUTION INDICATE_CHANGES NO_ENDORSEMENT SHARE_ALIKE"),
    "CC-BY-SA-3.0-IGO": (True, True, "ATTRIBUTION INDICATE_CHANGES NO_ENDORSEMENT SHARE_ALIKE"),
    "CC-BY-SA-4.0": (True, True, "ATTRIBUTION INDICATE_CHANGES NO_ENDORSEMENT SHARE_ALIKE"),
    "CC-BY-NC-3.0": (False, True, "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL NO_ENDORSEMENT"),
    "CC-BY-NC-4.0": (False, True, "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL NO_ENDORSEMENT"),
    "CC-BY-NC-SA-3.0": (
        False,
        True,
        "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL NO_ENDORSEMENT SHARE_ALIKE",
    ),
    "CC-BY-NC-SA-3.0-IGO": (
        False,
        True,
        "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL NO_ENDORSEMENT SHARE_ALIKE",
    ),
    "CC-BY-NC-SA-4.0": (
        False,
        True,
        "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL NO_ENDORSEMENT SHARE_ALIKE",
    ),
    "CC-BY-ND-3.0": (False, False, "ATTRIBUTION NO_DERIVATIVES NO_ENDORSEMENT"),
    "CC-BY-ND-4.0": (False, False, "ATTRIBUTION INDICATE_CHANGES NO_DERIVATIVES NO_ENDORSEMENT"),
    "CC-BY-NC-ND-3.0": (False, False, "ATTRIBUTION NON_COMMERCIAL NO_DERIVATIVES NO_ENDORSEMENT"),
    "CC-BY-NC-ND-3.0-IGO": (False, False, "ATTRIBUTION NON_COMMERCIAL NO_DERIVATIVES NO_ENDORSEMENT"),
    "CC-BY-NC-ND-4.0": (
        False,
        False,
        "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL NO_DERIVATIVES NO_ENDORSEMENT",
    ),
    "ODC-By-1.0": (True, True, "ATTRIBUTION DATABASE_RIGHT"),
    "ODbL-1.0": (True, True, "ATTRIBUTION DATABASE_RIGHT SHARE_ALIKE"),
    "OGL-UK-3.0": (True, True, "ATTRIBUTION NO_ENDORSEMENT"),
    "MIT": (True, True, "ATTRIBUTION"),
    "Apache-2.0": (True, True, "ATTRIBUTION INDICATE_CHANGES"),
    "BSD-2-Clause": (True, True, "ATTRIBUTION"),
    "BSD-3-Clause": (True, True, "ATTRIBUTION NO_ENDORSEMENT"),
    "LicenseRef-NCBI-public-domain": (True, True, ""),
    "LicenseRef-PublicDomain-USGov": (True, True, ""),
    "LicenseRef-COD-public-domain": (True, True, "ATTRIBUTION"),
    "LicenseRef-MaterialsProject-terms": (
        False,
        True,
        "ATTRIBUTION INDICATE_CHANGES NON_COMMERCIAL NO_ENDORSEMENT",
    ),
    "LicenseRef-gnomAD-terms": (True, True, "ATTRIBUTION"),
    "LicenseRef-IGSR-terms": (True, True, "ATTRIBUTION"),
    "LicenseRef-no-reidentification": (False, False, "ATTRIBUTION NO_REIDENTIFICATION"),
    "LicenseRef-all-rights-reserved": (False, False, "NO_REDISTRIBUTION"),
    "LicenseRef-no-redistribution": (False, False, "NO_REDISTRIBUTION"),
}
UNKNOWN = ("NOASSERTION", "NONE", "GPL-3.0-only", "CC-BY-4.0+", "Nonsense", "CC BY")


def terms(licence: str | None = "CC-BY-4.0", until: date | None = None, **more: Any) -> Terms:
    return Terms(licence=licence, embargo_until=until, **more)


def dataset(licence: str = "CC-BY-4.0", **embargo: Any) -> DatasetTerms:
    read = {"file": "readme", "read_on": TODAY, "quote": "as its owner says", "licence": licence}
    return DatasetTerms(licence=licence, evidence=(read,), attribution="its owner", embargo=embargo or None)


def test_the_table_covers_every_licence() -> None:
    assert set(EXPECTED) == set(load_licences())


@pytest.mark.parametrize("spdx", EXPECTED)
def test_each_licence_under_each_profile(spdx: str) -> None:
    in_open, in_noncommercial, asked = EXPECTED[spdx]
    allowed = {"open": in_open, "noncommercial": in_noncommercial, "internal": True}
    for profile in PROFILES:
        decision = decide(terms(spdx), profile, TODAY)
        assert decision.allowed is allowed[profile]
        assert sorted(decision.obligations) == sorted(asked.split())
        assert decision.profile == profile
        assert decision.changes_on is None
        assert spdx in decision.reason


@pytest.mark.parametrize("licence", [None, "", " ", *UNKNOWN, *(f"CC0-1.0 OR {each}" for each in UNKNOWN)])
def test_unknown_is_withheld_except_inside_which_says_so(licence: str | None) -> None:
    for profile in ("open", "noncommercial"):
        decision = decide(terms(licence, TODAY + timedelta(days=1)), profile, TODAY)
        assert not decision.allowed
        assert decision.changes_on is None, "lifting the embargo would not release it"
        assert "licence unknown" in decision.reason
    inside = decide(terms(licence), "internal", TODAY)
    assert inside.allowed
    assert "licence unknown" in inside.reason


def test_the_reason_says_what_forbids_it() -> None:
    never = decide(terms("CC-BY-NC-ND-4.0"), "open", TODAY).reason
    assert "NO_DERIVATIVES, which no release permits" in never
    assert "NON_COMMERCIAL, which open does not permit" in never
    for spdx, why in (
        ("LicenseRef-no-reidentification", "NO_REIDENTIFICATION"),
        ("LicenseRef-no-redistribution", "NO_REDISTRIBUTION"),
    ):
        assert f"{why}, which no release permits" in decide(terms(spdx), "noncommercial", TODAY).reason
    inside = decide(terms("CC-BY-NC-4.0"), "internal", TODAY)
    assert inside.reason == "internal use; CC-BY-NC-4.0 asks " + ", ".join(inside.obligations)


@pytest.mark.parametrize(
    ("expression", "profile", "chosen"),
    [
        ("CC-BY-NC-4.0 OR CC-BY-4.0", "open", "CC-BY-4.0"),
        ("CC-BY-SA-4.0 OR LicenseRef-no-redistribution", "open", "CC-BY-SA-4.0"),
        ("LicenseRef-no-redistribution OR CC-BY-NC-SA-4.0", "noncommercial", "CC-BY-NC-SA-4.0"),
        ("LicenseRef-no-redistribution OR CC-BY-NC-SA-4.0", "internal", "LicenseRef-no-redistribution"),
        ("CC-BY-4.0 OR MIT OR BSD-3-Clause", "open", "MIT"),
        ("CC-BY-4.0 OR CC-BY-3.0", "open", "CC-BY-3.0"),
        ("CC-BY-3.0 OR CC-BY-4.0", "open", "CC-BY-3.0"),
    ],
)
def test_of_the_permitted_alternatives_the_one_that_asks_least(expression: str, profile: Profile, chosen: str) -> None:
    decision = decide(terms(expression), profile, TODAY)
    assert decision.allowed
    assert sorted(decision.obligations) == sorted(EXPECTED[chosen][2].split())
    assert f"{chosen} asks" in decision.reason


def test_stacked_licences_are_as_strict_as_all_of_them_together() -> None:
    for one, other in product(EXPECTED, repeat=2):
        decision = decide(terms(f"{one} AND {other}"), "open", TODAY)
        assert decision.allowed is (EXPECTED[one][0] and EXPECTED[other][0])
        assert set(decision.obligations) == {*EXPECTED[one][2].split(), *EXPECTED[other][2].split()}


def test_a_choice_without_a_permitted_alternative_names_the_nearest() -> None:
    decision = decide(terms("CC-BY-NC-ND-4.0 OR CC-BY-NC-4.0"), "open", TODAY)
    assert not decision.allowed
    assert "none of 2 alternatives is permitted; the nearest, CC-BY-NC-4.0 carries" in decision.reason


def test_there_are_no_other_profiles() -> None:
    for profile in ("public", "", "Open", None):
        with pytest.raises(ValueError, match="the profiles are open, noncommercial, internal"):
            decide(terms("CC0-1.0"), profile, TODAY)  # type: ignore[arg-type]


def test_today_is_a_day_and_nothing_else() -> None:
    for today in (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23", None):
        with pytest.raises(TypeError, match="utc_day"):
            decide(terms("CC0-1.0"), "open", today)  # type: ignore[arg-type]


# --- embargo


@pytest.mark.parametrize("until", [date(2027, 6, 1), date(2028, 2, 29), date(2028, 3, 1), date(2027, 1, 1)])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/London"])
def test_an_embargo_lifts_at_the_first_second_of_its_utc_day(until: date, zone: str) -> None:
    midnight = datetime(until.year, until.month, until.day, tzinfo=UTC)
    before = utc_day((midnight - timedelta(seconds=1)).astimezone(ZoneInfo(zone)))
    at = utc_day(midnight.astimezone(ZoneInfo(zone)))
    for profile in ("open", "noncommercial"):
        held = decide(terms(until=until), profile, before)
        assert not held.allowed
        assert held.changes_on == until
        assert f"under embargo until {until}" in held.reason
        lifted = decide(terms(until=until), profile, at)
        assert lifted.allowed
        assert lifted.changes_on is None
        assert "embargo" not in lifted.reason


def test_it_changes_on_the_day_only_if_it_really_does() -> None:
    later = TODAY + timedelta(days=9)
    assert decide(terms("CC-BY-NC-4.0", later), "open", TODAY).changes_on is None
    assert decide(terms("CC-BY-NC-4.0", later), "noncommercial", TODAY).changes_on == later
    assert decide(terms("CC-BY-4.0", later), "internal", TODAY).changes_on is None
    event = {"embargo_event": "publication", "review_by": TODAY}
    assert decide(terms("CC-BY-4.0", later, **event), "open", TODAY).changes_on is None
    assert decide(terms("CC-BY-4.0", later, undated_column="released"), "open", TODAY).changes_on is None


def test_internal_holds_what_is_under_embargo_and_says_so() -> None:
    decision = decide(terms(until=date(2030, 1, 1)), "internal", TODAY)
    assert decision.allowed
    assert "under embargo until 2030-01-01" in decision.reason


def test_an_event_never_lifts_by_the_calendar() -> None:
    held = effective(dataset(event="publication", review_by=TODAY), None, None)
    for days, said in (
        (0, f"review due by {TODAY}"),
        (1, f"review overdue since {TODAY}"),
        (365_000, "overdue"),
    ):
        decision = decide(held, "open", TODAY + timedelta(days=days))
        assert not decision.allowed
        assert decision.changes_on is None
        assert "under embargo until publication" in decision.reason
        assert said in decision.reason


def test_an_event_whose_review_day_got_lost_still_holds() -> None:
    held = terms(embargo_event="publication", review_by=TODAY).model_copy(update={"review_by": None})
    assert not decide(held, "open", TODAY).allowed


def test_terms_refuse_what_is_not_a_day() -> None:
    for until in (datetime(2027, 6, 1, tzinfo=UTC), 20270601, "soon"):
        with pytest.raises(ValidationError):
            Terms(licence="CC0-1.0", embargo_until=until)
    with pytest.raises(ValidationError):
        Terms.model_validate({"licence": "CC0-1.0"})  # an embargo is never forgotten by default
    with pytest.raises(ValidationError, match="go together"):
        terms(embargo_event="publication")


# --- terms in force


def test_a_row_says_its_own_licence_and_else_has_its_datasets() -> None:
    assert effective(dataset("CC-BY-4.0"), "CC-BY-NC-4.0", None).licence == "CC-BY-NC-4.0"
    assert effective(dataset("CC-BY-NC-4.0"), "CC0-1.0", None).licence == "CC0-1.0"
    assert effective(dataset("CC-BY-4.0"), None, None).licence == "CC-BY-4.0"


@pytest.mark.parametrize("said", ["", "  ", "NOASSERTION", "see website"])
def test_a_row_that_says_something_unclear_does_not_get_its_datasets_licence(said: str) -> None:
    assert not decide(effective(dataset("CC0-1.0"), said, None), "open", TODAY).allowed


def test_of_two_embargoes_the_later_counts() -> None:
    early, late = date(2027, 1, 1), date(2028, 1, 1)
    assert effective(dataset(until=late), None, early).embargo_until == late
    assert effective(dataset(until=early), None, late).embargo_until == late
    assert effective(dataset(until=late), None, None).embargo_until == late
    assert effective(dataset(), None, early).embargo_until == early
    assert effective(dataset(), None, None).embargo_until is None


def test_no_row_lifts_its_datasets_event() -> None:
    held = effective(dataset(event="publication", review_by=TODAY), "CC0-1.0", date(2020, 1, 1))
    assert not decide(held, "open", TODAY).allowed


def test_a_row_without_the_day_that_its_dataset_promised_is_withheld() -> None:
    promised = dataset("CC0-1.0", column="released", months=6)
    undated = decide(effective(promised, None, None), "open", TODAY)
    assert not undated.allowed
    assert undated.changes_on is None
    assert "column 'released' does not say until when" in undated.reason
    assert decide(effective(promised, None, TODAY), "open", TODAY).allowed
    assert decide(effective(promised, None, TODAY + timedelta(days=1)), "open", TODAY).changes_on


# --- laws

LICENCE_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from([*EXPECTED, *UNKNOWN]),
    st.lists(st.sampled_from([*EXPECTED, *UNKNOWN, "AND", "OR", "WITH", "(", ")", "or", "+"]), max_size=9).map(
        " ".join
    ),
    st.tuples(st.sampled_from(sorted(EXPECTED)), st.characters(), st.integers(0, 12)).map(
        lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :]
    ),
)
DAYS = st.one_of(st.none(), st.dates(TODAY - timedelta(days=3), TODAY + timedelta(days=3)))
ANY_TERMS = st.builds(
    Terms,
    licence=st.one_of(st.none(), LICENCE_TEXTS),
    embargo_until=DAYS,
    undated_column=st.one_of(st.none(), st.just("released")),
)


def open_by_python(expression: str) -> bool:
    """Whether an expression is open, worked out by Python's own `and`, `or` and parentheses."""
    truth = {name.lower(): str(row[0]) for name, row in EXPECTED.items()} | {
        word: word for word in ("and", "or", "(", ")")
    }
    words = [truth.get(word.lower()) for word in re.findall(r"[()]|[^\s()]+", expression)]
    try:
        return None not in words and bool(eval(" ".join(map(str, words)), {}))
    except (SyntaxError, TypeError):
        return False


@settings(max_examples=400)
@given(LICENCE_TEXTS)
def test_open_is_what_is_parsed_and_known_and_nothing_else(expression: str) -> None:
    meant = normalise(expression)  # which spellings that accepts is written down in test_licences.py
    assert decide(terms(expression), "open", TODAY).allowed is open_by_python(meant)


@given(
    st.recursive(
        st.sampled_from(sorted(EXPECTED)),
        lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        max_leaves=6,
    )
)
def test_nested_expressions_mean_what_python_says(expression: str) -> None:
    assert decide(terms(expression), "open", TODAY).allowed is open_by_python(expression)


@settings(max_examples=300)
@given(ANY_TERMS)
def test_what_open_allows_noncommercial_allows_and_internal_allows(any_terms: Terms) -> None:
    allowed = [decide(any_terms, profile, TODAY).allowed for profile in PROFILES]
    assert PROFILES == ("open", "noncommercial", "internal")
    assert allowed == sorted(allowed)
    assert allowed[-1]


@settings(max_examples=300)
@given(ANY_TERMS, st.integers(-5, 5))
def test_a_decision_changes_on_the_day_it_names_and_time_only_opens(any_terms: Terms, days: int) -> None:
    today = TODAY + timedelta(days=days)
    for profile in PROFILES:
        now = decide(any_terms, profile, today)
        tomorrow = decide(any_terms, profile, today + timedelta(days=1))
        assert tomorrow.allowed or not now.allowed, "an embargo never comes back"
        if now.changes_on:
            assert not now.allowed
            assert not decide(any_terms, profile, now.changes_on - timedelta(days=1)).allowed
            assert decide(any_terms, profile, now.changes_on).allowed
        else:
            assert decide(any_terms, profile, date.max).allowed is now.allowed


def test_rows_made_under_other_row_rules_are_withheld_until_a_rerun() -> None:
    terms = dataset("CC0-1.0", column="day", months=6)
    held = {"row_licence": None, "row_embargo": date(2020, 1, 1)}
    assert decide(effective(terms, **held, row_rules=terms.row_rules()), "open", TODAY).allowed
    for before in (dataset("CC0-1.0", column="day", months=3), dataset("CC0-1.0")):
        outdated = effective(terms, **held, row_rules=before.row_rules())
        assert not decide(outdated, "open", TODAY).allowed
        assert not decide(outdated, "noncommercial", TODAY).allowed
        assert decide(outdated, "internal", TODAY).allowed
        assert "run the dataset again" in decide(outdated, "open", TODAY).reason


def test_words_in_the_bytes_hold_rows_whose_dataset_declares_no_licence() -> None:
    only = Found(file="rights.txt", place="line 1", words="CC BY-NC 4.0", means=("CC-BY-NC-4.0",))
    other = Found(file="rights.txt", place="line 2", words="CC BY 4.0", means=("CC-BY-4.0",))

    def leaves(row: str | None, *found: Found) -> bool:
        return decide(effective(dataset("NOASSERTION"), row, None, found), "open", TODAY).allowed

    assert leaves("CC0-1.0")
    assert leaves("CC0-1.0", only, other)
    assert not leaves("CC0-1.0", only)
    assert not leaves(None, other)
