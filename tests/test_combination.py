"""Combination: the terms of a row made of rows, as laws over all licences and as cases that lawyers agree on."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.rights.combination import NOTHING, Combination, combine
from catalog.rights.licences import Obligation, load_licences, obligations

IDS = sorted(load_licences())

expressions = st.recursive(
    st.sampled_from(IDS),
    lambda inner: st.builds(
        lambda word, parts: "(" + f" {word} ".join(parts) + ")",
        st.sampled_from(["AND", "OR"]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=5,
)
anything = expressions | st.sampled_from(["NOASSERTION", "NONE", "", "CC BY", "GPL-3.0-only"])


def one(expression: str) -> Combination:
    return combine([expression])


@given(anything, anything)
def test_it_is_commutative(a: str, b: str) -> None:
    assert combine([a, b]) == combine([b, a])
    assert one(a).join(one(b)) == one(b).join(one(a)) == combine([a, b])


@given(anything, anything, anything)
def test_it_is_associative(a: str, b: str, c: str) -> None:
    assert combine([combine([a, b]), c]) == combine([a, combine([b, c])]) == combine([a, b, c])


@given(anything)
def test_it_is_idempotent_and_nothing_is_neutral(a: str) -> None:
    assert combine([a, a]) == one(a) == one(a).join(one(a))
    assert one(a).join(NOTHING) == NOTHING.join(one(a)) == one(a)


@given(expressions, expressions)
def test_no_choice_ever_asks_less_than_what_it_was_made_of(a: str, b: str) -> None:
    both = combine([a, b])
    for alternative in both.alternatives:
        for made_of in (a, b):
            assert any(each.obligations <= alternative.obligations for each in obligations(made_of))
    if both.expression:
        for made_of in (a, b):
            assert any(each.obligations <= both.obligations for each in obligations(made_of))


@given(expressions, expressions)
def test_the_expression_means_the_alternatives_and_combines_to_itself(a: str, b: str) -> None:
    both = combine([a, b])
    assert (both.expression is None) == (both.conflict is not None) == (not both.alternatives)
    if both.expression:
        assert obligations(both.expression) == both.alternatives
        assert one(both.expression).expression == both.expression


@given(expressions, expressions)
def test_a_conflict_is_never_mended_by_more_rows(a: str, b: str) -> None:
    if one(a).conflict:
        assert combine([a, b]).conflict


@given(anything)
def test_what_is_unknown_makes_the_whole_unknown(a: str) -> None:
    both = combine([a, "NOASSERTION"])
    assert both.expression is None
    assert "NOASSERTION" in (both.conflict or "")
    assert both.obligations == frozenset(Obligation)


@given(st.sampled_from(IDS))
def test_cc0_adds_nothing(spdx: str) -> None:
    both = combine(["CC0-1.0", spdx])
    assert both.obligations == load_licences()[spdx].obligations
    assert (both.conflict is None) == (one(spdx).conflict is None)


@settings(max_examples=50)
@given(st.lists(expressions, min_size=1, max_size=5), st.randoms())
def test_the_order_of_many_does_not_matter(parts: list[str], random) -> None:
    shuffled = random.sample(parts, len(parts))
    assert combine(shuffled) == combine(parts)
    assert combine(shuffled).expression == combine(parts).expression


# Creative Commons' own chart, "Can I combine material under different Creative Commons licenses in my work?",
# rows and columns BY, BY-NC, BY-NC-SA, BY-SA and CC0; an ND licence goes with nothing, not even alone.
GOES_TOGETHER = {
    "CC0-1.0": {"CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-SA-4.0"},
    "CC-BY-4.0": {"CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-SA-4.0"},
    "CC-BY-NC-4.0": {"CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"},
    "CC-BY-NC-SA-4.0": {"CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"},
    "CC-BY-SA-4.0": {"CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0"},
    "CC-BY-ND-4.0": set(),
    "CC-BY-NC-ND-4.0": set(),
}


@pytest.mark.parametrize(("a", "b"), list(itertools.product(GOES_TOGETHER, repeat=2)))
def test_creative_commons_licences_go_together_as_their_chart_says(a: str, b: str) -> None:
    both = combine([a, b])
    assert (both.conflict is None) == (b in GOES_TOGETHER[a])
    if both.conflict:
        assert a in both.conflict
        assert b in both.conflict


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ("CC-BY-SA-4.0", "ODbL-1.0", "SHARE_ALIKE"),
        ("CC-BY-SA-4.0", "LicenseRef-no-reidentification", "NO_REIDENTIFICATION"),
        ("ODbL-1.0", "CC-BY-NC-4.0", "NON_COMMERCIAL"),
        ("CC-BY-NC-SA-4.0", "LicenseRef-all-rights-reserved", "NO_REDISTRIBUTION"),
        ("CC-BY-ND-4.0", "MIT", "NO_DERIVATIVES"),
    ],
)
def test_a_conflict_names_both_sides_and_why(a: str, b: str, said: str) -> None:
    conflict = combine([a, b]).conflict or ""
    for words in (a, b, said):
        assert words in conflict


def test_versions_of_one_family_go_together() -> None:
    assert combine(["CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-SA-3.0-IGO"]).conflict is None


def test_a_choice_that_avoids_the_conflict_remains() -> None:
    both = combine(["CC-BY-SA-4.0 OR CC-BY-4.0", "CC-BY-NC-4.0"])
    assert both.expression == "CC-BY-4.0 AND CC-BY-NC-4.0"
    neither = combine(["CC-BY-SA-4.0 OR ODbL-1.0", "CC-BY-NC-4.0"])
    assert neither.expression is None
    assert "none of 2 choices" in (neither.conflict or "")


def test_a_choice_that_holds_another_is_left_out() -> None:
    assert combine(["MIT OR Apache-2.0", "MIT"]).expression == "MIT"
    assert combine(["MIT OR Apache-2.0", "CC0-1.0"]).expression == "(CC0-1.0 AND MIT) OR (Apache-2.0 AND CC0-1.0)"


def test_nothing_has_no_expression() -> None:
    assert combine([]) == NOTHING
    assert NOTHING.expression is None
    assert NOTHING.conflict
    assert combine([NOTHING, "MIT"]).expression == "MIT"


def test_expressions_made_to_explode_are_unknown_at_once() -> None:
    pairs = [f"{a} OR {b}" for a, b in zip(IDS[0:32:2], IDS[1:32:2], strict=True)]
    began = time.perf_counter()
    result = combine(pairs)
    assert time.perf_counter() - began < 10
    assert result.expression is None
    assert "choices" in (result.conflict or "")
