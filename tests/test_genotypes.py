"""Allele counts from genotypes: against a plain reading of each sample, and real records."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import genotypes

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"

ALLELE = st.sampled_from(["0", "1", "2", "3", ".", "0", "1"])
CALL = st.builds(
    lambda first, alleles, marks: first + "".join(a + m for a, m in zip(alleles, [*marks, ""], strict=False)),
    st.sampled_from(["", "", "", "|", "/"]),
    st.lists(ALLELE, min_size=1, max_size=4),
    st.lists(st.sampled_from(["/", "|"]), min_size=3, max_size=3),
).map(lambda call: call.rstrip("/|"))


def counted(lines: list[str], alleles: list[int]) -> genotypes.Counts:
    """The lines begin with FORMAT; other text stands around them."""
    text = "1\t2\t" + "\n3\t4\t".join(lines) + "\n"
    sizes = np.array([len(line.encode()) for line in lines])
    begin = 4 + np.concatenate(([0], np.cumsum(sizes + 5)[:-1]))
    return genotypes.count(np.frombuffer(text.encode(), dtype=np.uint8), begin, begin + sizes, np.array(alleles))


def plainly(line: str, alleles: int) -> tuple[list[int], int, list[int]]:
    """AC, AN and nhomalt, by splitting."""
    keys, *samples = line.split("\t")
    place = keys.split(":").index("GT")
    calls = [re.split(r"[/|]", sample.split(":")[place].lstrip("/|")) for sample in samples]
    every = [allele for call in calls for allele in call if allele != "."]
    numbers = [str(number) for number in range(1, alleles + 1)]
    return (
        [every.count(number) for number in numbers],
        len(every),
        [sum(len(call) > 1 and set(call) == {number} for call in calls) for number in numbers],
    )


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(st.sampled_from(["GT", "GT:DP", "DP:GT:AD"]), st.lists(CALL, min_size=1)), min_size=1))
def test_counts_are_those_of_a_plain_reading(records):
    around = {"GT": "{}", "GT:DP": "{}:17", "DP:GT:AD": "3:{}:1,2"}
    lines = ["\t".join([keys, *(around[keys].format(call) for call in calls)]) for keys, calls in records]
    found = counted(lines, [3] * len(lines))
    assert found.faults == {}
    for row, line in enumerate(lines):
        carried, called, homozygous = plainly(line, 3)
        assert found.ac[row].as_py() == carried
        assert found.an[row].as_py() == called
        assert found.nhomalt[row].as_py() == homozygous
        assert found.af[row].as_py() == [count / called if called else None for count in carried]


def test_partial_haploid_and_polyploid_calls_count_what_is_called():
    found = counted(["GT\t0/1\t1|1\t./1\t.\t./.\t1\t1/1/1/1\t0/0/1\t2/2"], [2])
    assert found.ac.to_pylist() == [[1 + 2 + 1 + 1 + 4 + 1, 2]]
    assert found.an.to_pylist() == [2 + 2 + 1 + 1 + 4 + 3 + 2]
    assert found.nhomalt.to_pylist() == [[2, 1]]


def test_a_record_without_genotypes_counts_nothing():
    found = counted(["DP\t3\t4", "GT", "GT:DP\t./.:3\t.:2", "GT\t0/0", "", "XGT\t0/0"], [1, 1, 2, 0, 1, 1])
    assert found.ac.to_pylist() == [None, None, [0, 0], [], None, None]
    assert found.an.to_pylist() == [None, None, 0, 2, None, None]
    assert found.af.to_pylist() == [None, None, [None, None], [], None, None]
    assert found.faults == {}


def test_a_sample_may_leave_its_last_fields_out():
    found = counted(["DP:GT\t3\t4:1/1\t5:0/1"], [1])
    assert (found.ac.to_pylist(), found.an.to_pylist(), found.faults) == ([[3]], [4], {})


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ("0/1\t0/2", "GT of sample 2 is '0/2', but the record has 1 alternate"),
        ("0|0\t99999999999999999999|0", "but the record has 1 alternate"),
        ("x/1", "GT of sample 1 is 'x/1', expected numbers"),
        ("0/1\t\t0/0", "GT of sample 2 is '', expected"),
        ("0/", "GT of sample 1 is '0/', expected"),
        ("0//1", "expected numbers"),
        ("-1/0", "expected numbers"),
        ("0/1x:3", "'0/1x', expected"),
        ("0/1 ", "expected numbers"),
    ],
)
def test_a_genotype_that_cannot_be_spoils_its_own_record_only(samples, words):
    found = counted(["GT:DP\t0/1", f"GT:DP\t{samples}", "GT:DP\t1/1"], [1, 1, 1])
    assert list(found.faults) == [1]
    assert words in found.faults[1]
    assert found.ac.to_pylist() == [[1], None, [2]]
    assert found.an.to_pylist() == [2, None, 2]


def test_alleles_beyond_nine_are_read_whole():
    found = counted(["GT\t10/33\t33|33\t1/0"], [33])
    assert {place: count for place, count in enumerate(found.ac[0].as_py(), 1) if count} == {1: 1, 10: 1, 33: 3}
    assert found.nhomalt[0].as_py()[32] == 1


def test_real_records_count_as_their_own_info_says():
    path = DATA / "1kg_2020_chrM.vcf.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    text = gzip.decompress(path.read_bytes()).decode()
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    info = [dict(item.partition("=")[::2] for item in line[7].split(";")) for line in lines]
    found = counted(["\t".join(line[8:]) for line in lines], [line[4].count(",") + 1 for line in lines])
    assert found.faults == {}
    assert [[str(n) for n in record] for record in found.ac.to_pylist()] == [i["AC"].split(",") for i in info]
    assert [str(n) for n in found.an.to_pylist()] == [i["AN"] for i in info]


def test_thousands_of_samples_are_counted_alike():
    random = np.random.default_rng(4)
    calls = np.array(["0|0", "0|1", "1|0", "1|1", ".|.", "0/2"])
    lines = ["GT:GQ\t" + "\t".join(f"{call}:9" for call in random.choice(calls, 2504)) for _ in range(40)]
    found = counted(lines, [2] * 40)
    for row, line in enumerate(lines):
        assert (found.ac[row].as_py(), found.an[row].as_py(), found.nhomalt[row].as_py()) == plainly(line, 2)
