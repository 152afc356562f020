"""What the compiled search makes of INFO, against Python's own reading of the same text."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from assets import info_scan, vcf_numbers

KEYS = ("AC", "AF", "AN", "nhomalt_afr")
KINDS = (info_scan.INTEGER, info_scan.FLOAT, info_scan.INTEGER, info_scan.FLOAT)
INTEGERS = st.integers(-(10**17), 10**17).map(str) | st.sampled_from(["0", "-0", "007", "+5"])
FLOATS = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(0, 1).map(lambda number: f"{number:.5e}")
    | st.sampled_from(["1.00000e+00", ".5", "5.", "1E3", "-2e-3", "9007199254740993", "1e22", "1e23", "0e999"])
)
MISSING = st.just(".")
RECORDS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["AC", "AN"]), st.lists(INTEGERS | MISSING, min_size=1, max_size=3)),
        st.dictionaries(st.sampled_from(["AF", "nhomalt_afr"]), st.lists(FLOATS | MISSING, min_size=1, max_size=3)),
        st.lists(st.sampled_from(["DB", "ACX=1", "A=2", "AF_=x", "vep=" + "a|b" * 20]), max_size=3),
        st.randoms(use_true_random=False),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


def located(infos: list[str]) -> tuple[info_scan.Spans, np.ndarray]:
    text = np.frombuffer("".join(f"{info}\n" for info in infos).encode(), dtype=np.uint8)
    return info_scan.find(text, *info_scan.lines(text), info_scan.prepare(KEYS, KINDS)), text


def column(spans: info_scan.Spans, text: np.ndarray, key: str, read=vcf_numbers.number_lists) -> vcf_numbers.Column:
    index = KEYS.index(key)
    kind = np.int64 if KINDS[index] == info_scan.INTEGER else np.float64
    values = spans.numbers[index].view(kind)
    return read(text, spans.begin[index], spans.size[index], spans.states[index], values)


@given(RECORDS)
def test_lists_of_numbers_are_what_python_reads(records):
    infos, expected = [], []
    for integers, floats, others, random in records:
        given_values = {**integers, **floats}
        parts = [f"{key}={','.join(values)}" for key, values in given_values.items()] + others
        random.shuffle(parts)
        infos.append(";".join(parts))
        expected.append(given_values)
    spans, text = located(infos)
    for key in KEYS:
        kind = int if key in ("AC", "AN") else float
        wanted = [
            None if values in (None, ["."]) else [None if value == "." else kind(value) for value in values]
            for values in (one.get(key) for one in expected)
        ]
        found = column(spans, text, key)
        assert not len(found.wrong)
        found.array.validate(full=True)
        assert found.array.to_pylist() == wanted


@given(st.lists(FLOATS | st.sampled_from([".", "inf", "-Infinity", "nan"]), min_size=1, max_size=8))
def test_single_numbers_are_the_nearest_to_what_is_written(written):
    spans, text = located([f"AF={value}" for value in written])
    found = column(spans, text, "AF", vcf_numbers.numbers).array.to_pylist()
    for value, number in zip(written, found, strict=True):
        wanted = None if value == "." else float(value)
        if wanted is None or number is None:
            assert number is wanted
        else:
            assert repr(number) == repr(wanted)  # tells -0.0 from 0.0, and takes nan for nan


def test_what_is_no_number_is_wrong_and_null():
    faulty = ["1x", "", "--1", "1e", "1,,2", "1,x", "e5", "1 ", "0x1", "1.2.3", "1e+", "."]
    spans, text = located([f"AF={value}" for value in faulty])
    found = column(spans, text, "AF")
    assert found.wrong.tolist() == list(range(len(faulty) - 1))
    assert found.array.equals(pa.nulls(len(faulty), pa.list_(pa.float64())))


def test_integers_are_told_from_what_only_begins_with_digits():
    faulty = ["1.0", "1e3", "9999999999999999999", "-", "+", "1-"]
    spans, text = located([f"AC={value};AN=7" for value in faulty])
    assert column(spans, text, "AC").wrong.tolist() == list(range(len(faulty)))
    assert column(spans, text, "AN", vcf_numbers.numbers).array.to_pylist() == [7] * len(faulty)


def test_a_key_twice_and_a_key_without_value_are_told():
    spans, _ = located(["AC=1;AC=2", "AC", "AC;AC=3", "AC=5"])
    assert spans.twice.tolist() == [0, -1, 0, -1]
    assert spans.bare.tolist() == [-1, 0, 0, -1]
