"""Lift-over along a small chain file whose answers are known: a gap on each side, an inversion, a repeat, a swap."""

import gzip
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.fasta import Fasta
from assets.lift_over import LiftOver
from catalog import assemblies
from catalog.errors import ContractError, SourceError

_COMPLEMENT = str.maketrans("ACGT", "TGCA")


def turned(bases):
    return bases.translate(_COMPLEMENT)[::-1]


def bases(count, seed):
    draw = random.Random(seed)
    return "".join(draw.choices("ACGT", k=count))


# GRCh37's chromosome 1 in this small world is six pieces; GRCh38's has them with ten new bases after A, without C,
# and with E on the other strand. F lies in two places.
SOURCE = {name: bases(40, seed) for seed, name in enumerate("ABCDEF")}
NEW = bases(10, 77)


def source_text(pieces):
    return "".join(pieces[name] for name in "ABCDEF")


def target_text(pieces):
    return pieces["A"] + NEW + pieces["B"] + pieces["D"] + turned(pieces["E"]) + pieces["F"] + pieces["F"]


PLACES = {"A": 0, "B": 50, "D": 90, "E": 130, "F": 170}
BEFORE, AFTER = source_text(SOURCE), target_text(SOURCE)
FORWARD = """chain 900 chr1 240 + 0 160 chr1 250 + 0 130 1
40 0 10
40 40 0
40

chain 800 chr1 240 + 160 200 chr1 250 - 80 120 2
40

chain 700 chr1 240 + 200 240 chr1 250 + 170 210 3
40

chain 600 chr1 240 + 200 240 chr1 250 + 210 250 4
40
"""
BACKWARD = """chain 900 chr1 250 + 0 130 chr1 240 + 0 160 1
40 10 0
40 0 40
40

chain 800 chr1 250 + 130 170 chr1 240 - 40 80 2
40

chain 700 chr1 250 + 170 210 chr1 240 + 200 240 3
40
"""


def reference(folder, name, text):
    path = folder / f"{name}.fa"
    path.write_text(f">chr1\n{text}\n")
    path.with_name(path.name + ".fai").write_text(f"chr1\t{len(text)}\t6\t{len(text)}\t{len(text) + 1}\n")
    return Fasta(str(path))


def written(folder, text=FORWARD, name="small.over.chain"):
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lift_over")


@pytest.fixture(scope="module")
def lifting(folder):
    return LiftOver(written(folder), "GRCh38", reference(folder, "after", AFTER))


@pytest.fixture(scope="module")
def returning(folder):
    return LiftOver(written(folder, BACKWARD, "back.chain"), "GRCh37", reference(folder, "before", BEFORE))


def lifted(lift, *rows):
    """Rows are (contig, position, ref, alt); the answers (contig, position, ref, alt, reason)."""
    kinds = (pa.string(), pa.int64(), pa.string(), pa.string())
    columns = [pa.array([row[index] for row in rows], kind) for index, kind in enumerate(kinds)]
    found = lift.apply(*columns)
    names = ("contig", "position", "ref", "alt", "reason")
    return list(zip(*(getattr(found, name).to_pylist() for name in names), strict=True))


def other(base):
    return "ACGT"[("ACGT".index(base) + 1) % 4]


def snv(piece, offset):
    position = 40 * "ABCDEF".index(piece) + offset + 1
    return ("1", position, BEFORE[position - 1], other(BEFORE[position - 1]))


@pytest.mark.parametrize(("piece", "offset"), [("A", 0), ("A", 39), ("B", 0), ("B", 39), ("D", 0), ("D", 39)])
def test_a_substitution_moves_with_its_piece(lifting, piece, offset):
    contig, position, ref, alt = snv(piece, offset)
    expected = PLACES[piece] + offset + 1
    assert lifted(lifting, (contig, position, ref, alt)) == [("1", expected, ref, alt, None)]
    assert AFTER[expected - 1] == ref


@pytest.mark.parametrize("offset", [0, 13, 39])
def test_on_the_other_strand_alleles_are_complemented(lifting, offset):
    contig, position, ref, alt = snv("E", offset)
    expected = PLACES["E"] + 40 - offset
    assert lifted(lifting, (contig, position, ref, alt)) == [("1", expected, turned(ref), turned(alt), None)]
    longer = BEFORE[170:173]
    assert lifted(lifting, ("1", 171, longer, "TTTT")) == [("1", 130 + 28, turned(longer), "AAAA", None)]


def test_a_deletion_on_the_other_strand_gets_another_anchor(lifting):
    """E's bases 10 to 12 (from 0) go; on the other strand the base before them is the complement of E's base 13."""
    piece = SOURCE["E"]
    ((contig, position, ref, alt, reason),) = lifted(lifting, ("1", 170, piece[9:13], piece[9]))
    assert (contig, position, alt, reason) == ("1", 130 + 27, turned(piece[13]), None)
    assert ref == turned(piece[10:14])


def test_an_insertion_on_the_other_strand_gets_another_anchor(lifting):
    piece = SOURCE["E"]
    ((_, position, ref, alt, reason),) = lifted(lifting, ("1", 170, piece[9], piece[9] + "GGA"))
    assert (position, ref, alt, reason) == (130 + 30, turned(piece[10]), turned(piece[10]) + "TCC", None)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("1", 100, BEFORE[99], "N"), "1:100 has no place in GRCh38"),
        (("1", 210, BEFORE[209], "N"), "1:210 has several places in GRCh38"),
        (("1", 39, BEFORE[38:42], BEFORE[38]), "1:39-42 are not side by side"),
        (("1", 79, BEFORE[78:81], BEFORE[78]), "are not side by side"),
        (("1", 40, BEFORE[39], BEFORE[39] + "T"), "1:40-41 are not side by side"),
        (("1", 160, BEFORE[159], BEFORE[159] + "T"), "are not side by side"),
        (("1", 500, "A", "T"), "no place"),
        (("1", 0, "A", "T"), "nowhere"),
        (("2", 5, "A", "T"), "leads from GRCh37 2:5 to nowhere"),
        (("1", 5, BEFORE[4], "<DEL>"), "ALT is '<DEL>'"),
        (("1", 5, BEFORE[4], "*"), "ALT is '*'"),
        (("1", 5, BEFORE[4], "N[1:9["), "only alleles of plain bases"),
        (("1", 5, other(BEFORE[4]), other(other(BEFORE[4]))), f"is {BEFORE[4]}, not {other(BEFORE[4])}"),
    ],
)
def test_what_does_not_map_is_refused_with_its_reason(lifting, row, words):
    ((*place, reason),) = lifted(lifting, row)
    assert place == [None] * 4
    assert words in reason


def test_refused_rows_leave_the_others_where_they_are(lifting):
    good = snv("B", 7)
    found = lifted(lifting, good, ("1", 100, "A", "C"), (None, None, None, None), good)
    assert found[0] == found[3]
    assert found[0][4] is None
    assert [row[4] is None for row in found] == [True, False, True, True]
    assert found[2] == (None,) * 5


def test_a_place_without_an_alternate_moves_as_a_place(lifting):
    assert lifted(lifting, ("1", 41, BEFORE[40], None)) == [("1", 51, BEFORE[40], None, None)]


def test_a_swapped_reference_is_refused_unless_nothing_hangs_on_it(folder):
    """GRCh38 has another base at B's base 5: the alternate that GRCh37 knew."""
    contig, position, ref, alt = snv("B", 5)
    changed = AFTER[:55] + alt + AFTER[56:]
    fasta = reference(folder, "swapped", changed)
    ((*_, reason),) = lifted(LiftOver(written(folder), "GRCh38", fasta), (contig, position, ref, alt))
    assert reason.startswith("not lifted over: the alternate allele is the reference of GRCh38 at 1:56")
    permitted = LiftOver(written(folder), "GRCh38", fasta, swap=True)
    assert lifted(permitted, (contig, position, ref, alt)) == [("1", 56, alt, ref, None)]
    found = permitted.apply(*(pa.array([value] * 2) for value in snv("B", 6)))
    assert found.swapped.to_pylist() == [False, False]
    third = other(alt)
    ((*_, reason),) = lifted(permitted, (contig, position, ref, third))
    assert f"is {alt}, not {ref}" in reason


def test_an_indel_s_anchor_is_the_target_s(folder):
    """Where only the anchor differs between the assemblies, the new reference's base takes its place."""
    anchor, gone = AFTER[54], AFTER[55:57]
    changed = AFTER[:54] + other(anchor) + AFTER[55:]
    lift = LiftOver(written(folder), "GRCh38", reference(folder, "anchored", changed))
    assert lifted(lift, ("1", 45, anchor + gone, anchor)) == [("1", 55, other(anchor) + gone, other(anchor), None)]
    assert lifted(lift, ("1", 45, anchor, anchor + "TT")) == [("1", 55, other(anchor), other(anchor) + "TT", None)]


def test_mt_is_the_same_sequence_in_both(folder):
    """UCSC's chain of chrM leads from another sequence than MT of GRCh37, and is not followed."""
    chain = "chain 1 chrM 16571 + 0 100 chrM 16569 + 5 105 1\n100\n"
    path = folder / "mt.fa"
    path.write_text(f">MT\n{BEFORE}\n")
    path.with_name("mt.fa.fai").write_text(f"MT\t{len(BEFORE)}\t4\t{len(BEFORE)}\t{len(BEFORE) + 1}\n")
    lift = LiftOver(written(folder, chain, "mt.chain"), "GRCh38", Fasta(str(path)))
    ref, alt = BEFORE[8], other(BEFORE[8])
    assert lifted(lift, ("MT", 9, ref, alt)) == [("MT", 9, ref, alt, None)]
    assert "no GRCh37 MT:20000" in lifted(lift, ("MT", 20000, "A", "C"))[0][4]


def test_a_reference_without_the_contig_refuses_the_row(folder):
    path = folder / "lacking.fa"
    path.write_text(">2\nACGT\n")
    path.with_name("lacking.fa.fai").write_text("2\t4\t3\t4\t5\n")
    ((*_, reason),) = lifted(LiftOver(written(folder), "GRCh38", Fasta(str(path))), snv("A", 3))
    assert "the reference has no bases for GRCh38 at 1:4" in reason


def applied(text, position, ref, alt):
    assert text[position - 1 : position - 1 + len(ref)] == ref
    return text[: position - 1] + alt + text[position - 1 + len(ref) :]


@st.composite
def indels(draw):
    """A change in the inside of one piece: piece, offset of its anchor, how much is deleted, what is inserted."""
    piece, offset = draw(st.sampled_from("ABDE")), draw(st.integers(1, 30))
    return piece, offset, draw(st.integers(0, 5)), draw(st.text("ACGT", max_size=5))


@settings(max_examples=200, deadline=None)
@given(indels())
def test_a_moved_allele_makes_the_same_haplotype_and_returns(lifting, returning, change):
    piece, offset, deleted, inserted = change
    whole = SOURCE[piece]
    altered = SOURCE | {piece: whole[: offset + 1] + inserted + whole[offset + 1 + deleted :]}
    position = 40 * "ABCDEF".index(piece) + offset + 1
    ref, alt = whole[offset : offset + 1 + deleted], whole[offset] + inserted
    ((contig, *allele, reason),) = lifted(lifting, ("1", position, ref, alt))
    assert reason is None
    assert applied(AFTER, *allele) == target_text(altered)
    ((_, *back, reason),) = lifted(returning, (contig, *allele))
    assert reason is None
    assert applied(BEFORE, *back) == source_text(altered)


def test_a_compressed_chain_file_is_read_alike(folder):
    path = folder / "packed.over.chain.gz"
    path.write_bytes(gzip.compress(FORWARD.encode()))
    lift = LiftOver(str(path), "GRCh38", reference(folder, "after", AFTER))
    assert lifted(lift, snv("B", 0))[0][1] == 51


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no chain file"),
        (b"##fileformat=VCFv4.2\n", "is no chain file"),
        (FORWARD.encode().replace(b"40 0 10", b"40 x 10"), "invalid alignment line"),
        (FORWARD.encode().replace(b"40 0 10", b"40 0 11"), "does not match"),
        (gzip.compress(FORWARD.encode(), mtime=0)[:-20], "is damaged"),
    ],
)
def test_a_broken_chain_file_is_refused(folder, content, words):
    path = folder / "broken.chain"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        LiftOver(str(path), "GRCh38", reference(folder, "after", AFTER))


def test_a_chain_file_of_the_other_direction_is_refused(folder):
    sizes = [assemblies.lengths(name)["7"] for name in assemblies.ASSEMBLIES]
    chain = f"chain 1 chr7 {sizes[1]} + 0 9 chr7 {sizes[0]} + 0 9 1\n9\n"
    fasta = reference(folder, "after", AFTER)
    with pytest.raises(SourceError, match="leads from GRCh38 to GRCh37, not from GRCh37 to GRCh38"):
        LiftOver(written(folder, chain, "turned.chain"), "GRCh38", fasta)
    assert LiftOver(written(folder, chain, "turned.chain"), "GRCh37", fasta).source == "GRCh38"


def test_what_is_missing_is_said(folder):
    fasta = reference(folder, "after", AFTER)
    with pytest.raises(SourceError, match=r"nowhere\.chain"):
        LiftOver(str(folder / "nowhere.chain"), "GRCh38", fasta)
    with pytest.raises(ContractError, match="'hg18'"):
        LiftOver(written(folder), "hg18", fasta)
