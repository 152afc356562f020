"""Values from bytes: the compiled conversions agree with Python's own."""

from __future__ import annotations

import math
import re
import struct

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assets import vcf_numbers, vcf_values

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n\t"), max_size=12)
DECIMALS = st.from_regex(r"[+-]?([0-9]{1,22}(\.[0-9]{0,22})?|\.[0-9]{1,22})([eE][+-]?[0-9]{1,3})?", fullmatch=True)


def spans(values: list[str | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values one after another, with where each lies; None is absent."""
    encoded = [b"" if value is None else value.encode() for value in values]
    sizes = np.array([-1 if value is None else len(data) for value, data in zip(values, encoded, strict=True)])
    ends = np.cumsum([len(data) for data in encoded], dtype=np.int64)
    begin = ends - [len(data) for data in encoded] if values else np.empty(0, dtype=np.int64)
    return np.frombuffer(b"".join(encoded) + b"\n", dtype=np.uint8), begin.astype(np.int64), sizes.astype(np.int64)


def same(found: float, expected: float) -> bool:
    """Equal to the last bit, the sign of zero included; nan is nan."""
    if math.isnan(expected):
        return math.isnan(found)
    return struct.pack("<d", found) == struct.pack("<d", expected)


@settings(max_examples=400, deadline=None)
@given(st.lists(DECIMALS | st.floats().map(repr) | st.floats().map("{:.6e}".format), max_size=20))
@example(["9007199254740993", "9007199254740992e22", "1e23", "8.41e21", "-0.0", "5e-324", "1e400", "+1e-400"])
@example(["123456789012345678", "0.1234567890123456789", "00000000000000000000000001.50", "2.2250738585072011e-308"])
@example(["0e999999999999999999999999", "1e99999999999999999999", "1e-99999999999999999999"])
def test_floats_are_rounded_as_python_rounds_them(values):
    array, wrong = vcf_numbers.floats(*spans(values))
    assert len(wrong) == 0
    for found, text in zip(array.to_pylist(), values, strict=True):
        assert same(found, float(text)), text


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXTS | st.none() | st.sampled_from(["inf", "-INF", "+Infinity", "NaN", "infinit", "1e", "e5", "."])))
def test_what_is_no_float_is_told(values):
    array, wrong = vcf_numbers.floats(*spans(values))
    grammar = r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))"
    for row, text in enumerate(values):
        right = text is not None and re.fullmatch(grammar, text, re.ASCII)
        assert (row in wrong) == (text not in (None, ".") and not right), text
        assert array[row].is_valid == bool(right)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-(10**18) + 1, 10**18 - 1).map(str) | TEXTS | st.none()))
@example(["+5", "-0", "1234567890123456789", "--1", "+", "", "007"])
def test_integers_are_those_of_python_or_told(values):
    array, wrong = vcf_numbers.integers(*spans(values))
    for row, text in enumerate(values):
        right = text is not None and re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII)
        assert array[row].as_py() == (int(text) if right else None)
        assert (row in wrong) == (text not in (None, ".") and not right)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS | st.none() | st.text("ab", min_size=15, max_size=40)))
def test_strings_and_their_parts_are_what_is_written(values):
    text, begin, size = spans(values)
    array = vcf_values.strings(text, begin, size)
    array.validate(full=True)
    assert array.to_pylist() == [None if value == "." else value for value in values]
    elements = vcf_values.split(text, begin, size)
    parts = vcf_values.strings(text, elements.begin, elements.size)
    column, wrong = vcf_values.as_list(elements, vcf_values.Column(parts, np.empty(0, dtype=np.int64)))
    column.validate(full=True)
    assert len(wrong) == 0
    assert column.to_pylist() == [
        None if value in (None, ".") else [None if part == "." else part for part in value.split(",")]
        for value in values
    ]


def test_a_wrong_element_spoils_its_own_list_only():
    text, begin, size = spans(["1,2", "3,x", None, "", "4,.,5", "."])
    elements = vcf_values.split(text, begin, size)
    column, wrong = vcf_values.as_list(elements, vcf_numbers.integers(text, elements.begin, elements.size))
    assert list(wrong) == [1, 3]
    assert column.to_pylist() == [[1, 2], None, None, None, [4, None, 5], None]


def test_filters_tell_passed_from_not_applied():
    found = vcf_values.filters(*spans(["PASS", ".", "q10", "q10;s50", "PASSED", "q10;PASS"]))
    assert found.to_pylist() == [[], None, ["q10"], ["q10", "s50"], ["PASSED"], ["q10", "PASS"]]


def test_only_the_characters_that_vcf_names_are_decoded():
    values = ["%3A%3b%3D%25%2c%0D%0A%09", "100%", "%41%2", "%", "%%3A", "a%253Ab", "é%3Aü", None]
    expected = [":;=%,\r\n\t", "100%", "%41%2", "%", "%:", "a%3Ab", "é:ü", None]
    assert vcf_values.unescape(pa.array(values)).to_pylist() == expected
    assert vcf_values.unescape(pa.array(["x", *values]).slice(1)).to_pylist() == expected
    nested = pa.array([[{"a": value}] for value in values])
    assert [row[0]["a"] for row in vcf_values.unescape(nested).to_pylist()] == expected
    assert vcf_values.unescape(pa.array([1, 2])).to_pylist() == [1, 2]


@given(st.integers(0, 10**12), st.integers(0, 1200))
@settings(max_examples=30, deadline=None)
def test_numbered_places_count_up(first, rows):
    found = vcf_values.numbered("é line ", first, rows)
    found.validate(full=True)
    assert found.to_pylist() == [f"é line {number}" for number in range(first, first + rows)]
