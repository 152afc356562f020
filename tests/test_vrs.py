"""GA4GH VRS 2: the specification's own test vectors, and the identifiers of columns held against single objects."""

import base64
import json
from hashlib import sha512
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import vrs
from catalog import assemblies

VECTORS = Path(__file__).parents[2] / "shared/data/genomics/vrs"
CHROMOSOME = assemblies.refget("GRCh38")["1"]


def vectors(file):
    """Every vector of a file as (type or function, case); a placeholder that skips where the file is absent."""
    path = VECTORS / file
    if not path.is_file():
        skipped = pytest.mark.skip(reason="the GA4GH test vectors (shared/data/genomics/vrs) are not here")
        return [pytest.param(None, None, marks=skipped)]
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        pytest.param(kind, case, id=f"{kind}-{case.get('name', number)}")
        for kind, found in cases.items()
        for number, case in enumerate(found)
    ]


@pytest.mark.parametrize(("function", "case"), vectors("functions.yaml"))
def test_ga4gh_functions(function, case):
    assert function == "sha512t24u"
    assert vrs.sha512t24u(case["in"]["blob"].encode()) == case["out"]


# Left out of the answers: those under ga4gh_1_3, which are of VRS 1.3, another standard than the one written here.
@pytest.mark.parametrize(("kind", "case"), vectors("models.yaml"))
def test_ga4gh_models(kind, case):
    thing, out = case["in"], case["out"]
    assert thing["type"] == kind
    assert vrs.digest(thing) == out["ga4gh_digest"]
    assert vrs.identifier(thing) == out["ga4gh_identify"]
    if "ga4gh_serialize" in out:
        assert vrs.serialised(thing).decode() == out["ga4gh_serialize"]


def test_an_unknown_type_is_said_to_be_one():
    with pytest.raises(ValueError, match="'Haplotype' is not a type"):
        vrs.serialised({"type": "Haplotype", "members": []})


def held(text):
    return lambda contig, start, end: text[max(start, 0) : max(end, 0)].encode()


def identified(rows, sequence=None):
    """Rows are (assembly, contig, position, ref, alt)."""
    kinds = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.string())
    columns = [pa.array([row[index] for row in rows], kind) for index, kind in enumerate(kinds)]
    found = vrs.allele_ids(*columns, sequence)
    found.validate(full=True)
    return found.to_pylist()


def test_a_column_gives_the_identifiers_that_ga4gh_gives():
    """rs7412, and the expansion of CTC at 40,819,438, with the reference moved to that place."""
    snv = ("GRCh38", "19", 44908822, "C", "T")
    assert identified([snv]) == ["ga4gh:VA.0AePZIWZUNsUlQTamyLrjm2HWUw2opLt"]
    known = dict(enumerate("GGA" + "CTCCTCCT" + "GAA", start=40_819_435))
    expansion = ("GRCh38", "1", 40_819_438, "A", "ACTC")
    found = identified(
        [expansion], lambda _, start, end: "".join(known.get(at, "N") for at in range(start, end)).encode()
    )
    assert found == ["ga4gh:VA.Oop4kjdTtKcg1kiZjIJAAR3bp7qi4aNT"]


REFERENCE = "TTGACACACAGAAAATCTCCTCCTGGCAGCAT"


def whole(start, end, state):
    reference = {"type": "SequenceReference", "refgetAccession": CHROMOSOME}
    location = {"type": "SequenceLocation", "sequenceReference": reference, "start": start, "end": end}
    return vrs.identifier({"type": "Allele", "location": location, "state": state})


def literal(sequence):
    return {"type": "LiteralSequenceExpression", "sequence": sequence}


def length(number, unit):
    return {"type": "ReferenceLengthExpression", "length": number, "repeatSubunitLength": unit}


# Worked by hand after the specification's rules; REFERENCE from 0:
# T0 T1 G2 A3 C4 A5 C6 A7 C8 A9 G10 A11 A12 A13 A14 T15 C16 T17 C18 C19 T20 C21 C22 T23 G24 G25 C26 A27 G28 C29 A30 T31
@pytest.mark.parametrize(
    ("position", "ref", "alt", "start", "end", "state"),
    [
        (3, "G", "T", 2, 3, literal("T")),
        (3, "GA", "CT", 2, 4, literal("CT")),
        (3, "GAC", "GTT", 3, 5, literal("TT")),
        (3, "GACA", "GT", 3, 6, literal("T")),
        (3, "G", "G", 2, 3, length(1, 1)),
        (3, "GAC", "GAC", 2, 5, length(3, 3)),
        (3, "GAC", "G", 3, 10, length(5, 2)),  # one AC of ACACACA deleted
        (11, "GA", "G", 11, 15, length(3, 1)),  # one of AAAA
        (2, "TG", "T", 2, 3, length(0, 1)),  # unambiguous deletion
        (2, "T", "TC", 2, 2, literal("C")),  # unambiguous insertion
        (11, "G", "GA", 11, 15, length(5, 1)),
        (11, "G", "GAA", 11, 15, length(6, 2)),  # the greatest unit that fits: AA
        (11, "G", "GAAAAAA", 11, 15, length(10, 3)),  # six A: 6 is longer than what is there, 3 is not
        (3, "G", "GAC", 3, 10, length(9, 2)),
        (26, "G", "GCA", 26, 28, length(4, 2)),
        (2, "T", "TGC", 2, 3, literal("GCG")),  # ambiguous, but not to be told from the reference alone
    ],
)
def test_a_normal_form_is_the_specification_s(position, ref, alt, start, end, state):
    assert REFERENCE[position - 1 : position - 1 + len(ref)] == ref
    assert identified([("GRCh38", "1", position, ref, alt)], held(REFERENCE)) == [whole(start, end, state)]


def test_without_a_reference_only_what_needs_none_is_identified():
    rows = [("GRCh38", "1", 3, *pair) for pair in (("G", "T"), ("GA", "CT"), ("G", "GA"), ("GA", "G"), ("GAC", "GT"))]
    with_reference, without = identified(rows, held(REFERENCE)), identified(rows)
    assert None not in with_reference
    assert without == [*with_reference[:2], None, None, with_reference[4]]


@pytest.mark.parametrize(
    "row",
    [
        ("GRCh38", "1", 3, "G", "*"),
        ("GRCh38", "1", 3, "G", "<DEL>"),
        ("GRCh38", "1", 3, "G", None),
        ("GRCh38", "1", 0, "G", "T"),
        ("GRCh38", "1", None, "G", "T"),
        ("GRCh38", "KI270706.1", 3, "G", "T"),
        ("CHM13", "1", 3, "G", "T"),
        (None, None, 3, "G", "T"),
        ("GRCh38", "1", 3, "GTT", "G"),  # not what the reference holds
        ("GRCh38", "1", 99, "A", "AT"),  # beyond it
    ],
)
def test_what_cannot_be_identified_is_null_beside_what_can(row):
    sound = ("GRCh38", "1", 4, "A", "T")
    expected = whole(3, 4, literal("T"))
    assert identified([sound, row, sound], held(REFERENCE)) == [expected, None, expected]


def test_dictionaries_and_slices_are_read_alike():
    rows = [("GRCh38", contig, position, "A", "T") for contig in ("1", "X", "MT") for position in (5, 9)]
    plain = [pa.array(column) for column in zip(*rows, strict=True)]
    coded = [plain[0].dictionary_encode(), plain[1].dictionary_encode(), *plain[2:]]
    expected = vrs.allele_ids(*plain, None).to_pylist()
    assert len(set(expected)) == 6
    assert vrs.allele_ids(*coded, None).to_pylist() == expected
    assert vrs.allele_ids(*(column.slice(2) for column in coded), None).to_pylist() == expected[2:]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 2**28), st.text("ACGT", min_size=1, max_size=3), st.text("ACGT", min_size=1))))
def test_a_column_of_substitutions_is_digested_as_its_objects_are(drawn):
    """The texts here are made by the json library and hashed one by one, apart from the module."""

    def digest(text):
        return base64.urlsafe_b64encode(sha512(text.encode()).digest()[:24]).decode()

    rows = [(at, "A" + ref + "A", "C" + alt + "G") for at, ref, alt in drawn]
    expected = []
    for at, ref, alt in rows:
        location = {
            "end": at - 1 + len(ref),
            "sequenceReference": {"refgetAccession": assemblies.refget("GRCh37")["X"], "type": "SequenceReference"},
            "start": at - 1,
            "type": "SequenceLocation",
        }
        state = {"sequence": alt, "type": "LiteralSequenceExpression"}
        allele = {"location": digest(json.dumps(location, separators=(",", ":"))), "state": state, "type": "Allele"}
        expected.append("ga4gh:VA." + digest(json.dumps(allele, separators=(",", ":"))))
    assert identified([("GRCh37", "X", *row) for row in rows]) == expected
