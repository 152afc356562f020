"""Left alignment, checks against a reference, and INFO that follows its allele: against bcftools and by laws."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets import per_allele
from assets.fasta import Fasta
from assets.readers import SOURCE_FIELDS
from assets.transforms.variants import Options, prepare, transform
from assets.variant_records import Records, normalise

ORACLE = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics" / "norm_oracle"
DERIVED_PLACE = ("contig", "position", "ref", "alt")


def indexed(path: Path, sequences: dict[str, str], width: int = 60) -> str:
    """Write a FASTA and its index."""
    text, index = "", ""
    for name, bases in sequences.items():
        text += f">{name}\n"
        index += f"{name}\t{len(bases)}\t{len(text)}\t{width}\t{width + 1}\n"
        text += "".join(bases[at : at + width] + "\n" for at in range(0, len(bases), width))
    path.write_text(text)
    Path(f"{path}.fai").write_text(index)
    return str(path)


def batch(records: list[tuple[str, int, str, str | None]], **info: tuple[pa.Array, str]) -> pa.RecordBatch:
    count = len(records)
    chrom, pos, ref, alt = (list(column) for column in zip(*records, strict=True))
    columns = {
        "_source": pa.array(range(count), pa.int64()),
        "_position": pa.array([f"line {row}" for row in range(count)]),
        **{name: pa.nulls(count, pa.string()) for name in ("_record", "_error", "_raw")},
        "CHROM": pa.array(chrom).dictionary_encode(),
        "POS": pa.array(pos, pa.int64()),
        "REF": pa.array(ref),
        "ALT": pa.array(alt, pa.string()),
        "assembly": pa.array(["GRCh38"] * count).dictionary_encode(),
    }
    fields = [*SOURCE_FIELDS, *(pa.field(name, column.type) for name, column in list(columns.items())[5:])]
    fields += [pa.field(name, column.type, metadata={"number": number}) for name, (column, number) in info.items()]
    return pa.record_batch([*columns.values(), *(column for column, _ in info.values())], schema=pa.schema(fields))


def places(out: pa.RecordBatch) -> list[tuple[str, int, str, str]]:
    return list(zip(*(out[name].to_pylist() for name in DERIVED_PLACE), strict=True))


def sites(path: Path) -> list[list[str]]:
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]


def oracle_fasta(source: Path, folder: Path) -> str:
    sequences: dict[str, str] = {}
    for piece in source.read_text().split(">")[1:]:
        head, _, rest = piece.partition("\n")
        sequences[head.split()[0]] = rest.replace("\n", "")
    return indexed(folder / source.name, sequences)


# --- against bcftools ------------------------------------------------------------


def test_every_denormalised_allele_is_as_bcftools_has_it(tmp_path):
    records = sites(ORACLE / "denormalised.sites.vcf")
    uri = oracle_fasta(ORACLE / "grch37.20_21.10000000-10199999.fa", tmp_path)
    out = prepare(Options(reference=uri))(batch([(f[0], int(f[1]), f[3], f[4]) for f in records]))
    answers: dict[str, set[tuple[str, int, str, str]]] = {}
    for f in sites(ORACLE / "denormalised.sites.bcftools_norm.vcf"):
        answers.setdefault(f[2], set()).add((f[0], int(f[1]), f[3], f[4]))
    assert len(records) == 1307
    assert out["_error"].null_count == 1307
    assert [place for f, place in zip(records, places(out), strict=True) if place not in answers[f[2]]] == []
    assert set(out["normalisation"].to_pylist()) == {"left_aligned"}


def test_split_and_aligned_cases_are_as_bcftools_has_them(tmp_path):
    records = sites(ORACLE / "bcftools" / "norm.split.vcf")
    uri = oracle_fasta(ORACLE / "bcftools" / "norm.fa", tmp_path)
    out = prepare(Options(reference=uri))(batch([(f[0], int(f[1]), f[3], f[4]) for f in records]))
    said = [(f[0], int(f[1]), f[3], f[4]) for f in sites(ORACLE / "bcftools" / "norm.split.and.norm.out")]
    # A record without an alternate has no allele to trim: REF stays whole.
    said = [("20", 59, "AG", None) if place[3] == "." else place for place in said]
    assert sorted(places(out), key=str) == sorted(said, key=str)


@pytest.mark.parametrize("name", ["norm.split", "norm.split.2"])
def test_records_are_split_as_bcftools_splits_them(name):
    records = sites(ORACLE / "bcftools" / f"{name}.vcf")
    out = transform(batch([(f[0], int(f[1]), f[3], f[4]) for f in records]))
    split = sites(ORACLE / "bcftools" / f"{name}.out")
    apart = transform(batch([(f[0], int(f[1]), f[3], f[4]) for f in split]))
    assert places(out) == places(apart)
    assert len(split) > len(records)


def test_info_follows_its_allele_as_in_bcftools():
    def columns(rows: list[list[str]]) -> list[dict[str, str]]:
        return [dict(pair.partition("=")[::2] for pair in f[7].split(";")) for f in rows]

    records = sites(ORACLE / "bcftools" / "norm.split.vcf")
    keys = {"AC": "A", "XAF": "A", "XAI": "A", "XAS": "A", "XRF": "R", "XRI": "R", "XRS": "R", "XGF": "G", "XGI": "G"}
    keys["XGS"] = "G"

    def typed(name: str, text: str | None) -> list[object] | None:
        kind = {"F": float, "I": int, "C": int, "S": str}[name[-1]]
        return text and [None if value == "." else kind(value) for value in text.split(",")]

    info = columns(records)
    lists = {name: (pa.array([typed(name, row.get(name)) for row in info]), number) for name, number in keys.items()}
    out = transform(batch([(f[0], int(f[1]), f[3], f[4]) for f in records], **lists))
    expected = columns(sites(ORACLE / "bcftools" / "norm.split.out"))
    for name, number in keys.items():
        said = [typed(name, row.get(name)) for row in expected]
        assert out[name].to_pylist() == ([value and value[0] for value in said] if number == "A" else said), name


# --- laws ------------------------------------------------------------


def edited(reference: str, position: int, ref: str, alt: str) -> str:
    assert reference[position - 1 : position - 1 + len(ref)] == ref
    return reference[: position - 1] + alt + reference[position - 1 + len(ref) :]


def leftmost(reference: str, position: int, ref: str, alt: str) -> tuple[int, str, str]:
    """Tan, Abecasis and Kang's algorithm, to the letter."""
    while True:
        if ref[-1] == alt[-1] and (min(len(ref), len(alt)) > 1 or position > 1):
            ref, alt = ref[:-1], alt[:-1]
            if not (ref and alt):
                position -= 1
                ref, alt = reference[position - 1] + ref, reference[position - 1] + alt
        else:
            break
    while min(len(ref), len(alt)) > 1 and ref[0] == alt[0]:
        position, ref, alt = position + 1, ref[1:], alt[1:]
    return position, ref, alt


@st.composite
def variants(draw):
    reference = draw(st.text("AC", min_size=4, max_size=40)) + draw(st.text("ACGT", min_size=1, max_size=40))
    start = draw(st.integers(0, len(reference) - 1))
    size = draw(st.integers(1, min(8, len(reference) - start)))
    ref = reference[start : start + size]
    alt = draw(st.text("AC", min_size=1, max_size=8).filter(lambda text: text != ref))
    return reference, start + 1, ref, alt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fasta")


@given(variants())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_normalising_keeps_the_haplotype_is_idempotent_and_leftmost(folder, variant):
    reference, position, ref, alt = variant
    normal = prepare(Options(reference=indexed(folder / "x.fa", {"1": reference})))
    ((_, *once),) = places(normal(batch([("1", position, ref, alt)])))
    assert edited(reference, *once) == edited(reference, position, ref, alt)
    assert tuple(once) == leftmost(reference, position, ref, alt)
    assert places(normal(batch([("1", *once)]))) == [("1", *once)]


values = st.one_of(st.none(), st.integers(0, 99))


@st.composite
def split_records(draw):
    alts = draw(st.lists(st.sampled_from(["C", "GT", "AC", "*", "<DEL>"]), min_size=1, max_size=4, unique=True))
    count = len(alts)
    lists = {
        "A": draw(st.one_of(st.none(), st.lists(values, min_size=count, max_size=count))),
        "R": draw(st.one_of(st.none(), st.lists(values, min_size=count + 1, max_size=count + 1))),
    }
    total = (count + 1) * (count + 2) // 2
    lists["G"] = draw(st.one_of(st.none(), st.lists(values, min_size=total, max_size=total)))
    return alts, lists


@given(st.lists(split_records(), min_size=1, max_size=6))
@settings(deadline=None)
def test_each_allele_keeps_its_info(records):
    info = {name: (pa.array([r[name] for _, r in records], pa.list_(pa.int64())), name) for name in "ARG"}
    source = batch([("1", 5, "A", ",".join(alts)) for alts, _ in records], **info)
    expected = []
    for row, (alts, lists) in enumerate(records):
        # The order of genotypes, counted out: 0/0, 0/1, 1/1, 0/2, ...
        genotypes = [(j, k) for k in range(len(alts) + 1) for j in range(k + 1)]
        for i in range(1, len(alts) + 1):
            a, r, g = lists["A"], lists["R"], lists["G"]
            pairs = [(0, 0), (0, i), (i, i)]
            own = g and [g[genotypes.index(pair)] for pair in pairs]
            expected.append((row, a and a[i - 1], r and [r[0], r[i]], own))
    # A slice of a larger batch has its lists elsewhere in their buffers.
    for given_batch in (source, pa.concat_batches([source, source]).slice(len(records))):
        out = transform(given_batch)
        found = zip(*(out[name].to_pylist() for name in ("_source", "A", "R", "G")), strict=True)
        assert list(found) == expected


# --- lifted over ------------------------------------------------------------


def test_lifted_alleles_are_aligned_anew_and_remember_where_they_were(tmp_path):
    pytest.importorskip("liftover", reason="liftover is not installed")
    target = "T" * 5 + "GATTACAACAACAGGGGCCTA"
    uri = indexed(tmp_path / "to.fa", {"1": target})
    # 21 bases, moved by 5.
    (tmp_path / "x.chain").write_text("chain 1 chr1 21 + 0 21 chr1 26 + 5 26 1\n21\n\n")
    lift = {"chain": str(tmp_path / "x.chain"), "to": "GRCh38", "reference": uri}
    source = batch([("1", 8, "ACAA", "A"), ("1", 2, "G", "C"), ("1", 1, "G", "C,<DEL>"), ("1", 2, "T", "C")])
    source = source.set_column(9, "assembly", pa.array(["GRCh37", "GRCh37", "GRCh37", "GRCh38"]))
    out = prepare(Options(lift_over=lift, vrs=True))(source)
    said = [out[name].to_pylist() for name in ("_source", "assembly", "position", "lifted_from", "_error")]
    rows = list(zip(*said, strict=True))
    assert rows[0] == (0, "GRCh38", 9, "GRCh37-1-8-ACAA-A", None)
    assert (out["ref"][0].as_py(), out["alt"][0].as_py()) == ("TACA", "T")
    assert rows[1][:4] == (1, None, None, None)
    assert "not lifted over" in rows[1][4]
    assert rows[2] == (2, "GRCh38", 6, "GRCh37-1-1-G-C", None)
    assert rows[3][:4] == (2, None, None, None)
    assert "only alleles of plain bases" in rows[3][4]
    assert rows[4] == (3, "GRCh38", 2, None, None)
    assert out["spdi"][2].as_py() == "NC_000001.11:5:G:C"
    assert out["vrs_id"][2].as_py().startswith("ga4gh:VA.")


# --- what cannot be ------------------------------------------------------------


def test_ref_is_checked_and_the_message_says_both(tmp_path):
    uri = indexed(tmp_path / "r.fa", {"chr1": "ACGTacgtNRACGT"})
    out = prepare(Options(reference=uri))(
        batch([
            ("1", 2, "CG", "C"), ("1", 2, "CC", "C,CCC,*"), ("1", 13, "GTA", "G"), ("2", 1, "A", "C"),
            ("1", 5, "a", "g"), ("1", 9, "N", "A"), ("1", 9, "A", "C"), ("1", 10, "N", "A"),
            ("1", 3, "G", None), ("1", 3, "A", "<DEL>"),
        ])
    )  # fmt: skip
    errors = out["_error"].to_pylist()
    assert errors[0] is None
    assert errors[1] == "1:2: REF says 'CC', but the reference has 'CG'"
    assert errors[2] == "1:13: REF reaches beyond the end of contig 1, which has 14 bases"
    assert errors[3] == f"2:1: the reference {uri} has no contig 2; REF cannot be checked"
    assert [bool(error) for error in errors[4:]] == [False, False, True, False, False, True]
    # One record, one row: the fault is told once, with the alleles as they are written.
    assert out["_source"].to_pylist() == list(range(10))
    assert out["alt"][1].as_py() == "C,CCC,*"
    assert out["variant_id"][1].as_py() is None
    assert out["normalisation"].to_pylist()[8] == "none"


def test_alleles_at_the_start_of_a_contig_stay_there(tmp_path):
    normal = prepare(Options(reference=indexed(tmp_path / "r.fa", {"1": "GGGGA"})))
    assert places(normal(batch([("1", 3, "GG", "G"), ("1", 1, "G", "TG"), ("1", 2, "G", "GGG")]))) == [
        ("1", 1, "GG", "G"), ("1", 1, "G", "TG"), ("1", 1, "G", "GGG"),
    ]  # fmt: skip


def test_a_long_repeat_is_crossed_whatever_the_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("assets.fasta.NEAR_BLOCK", 100)
    bases = "C" + "AG" * 5000 + "T"
    normal = prepare(Options(reference=indexed(tmp_path / "r.fa", {"1": bases})))
    assert places(normal(batch([("1", 9999, "GAG", "G"), ("1", 5001, "G", "GAG")]))) == [
        ("1", 1, "CAG", "C"), ("1", 1, "C", "CAG"),
    ]  # fmt: skip


def test_unsorted_records_keep_their_order(tmp_path):
    generator = random.Random(1)
    bases = {name: "".join(generator.choices("ACGT", k=3000)) for name in ("1", "2")}
    records = [
        (name, at + 1, bases[name][at : at + 2], bases[name][at])
        for name, at in ((generator.choice("12"), generator.randrange(2990)) for _ in range(300))
    ]
    normal = prepare(Options(reference=indexed(tmp_path / "r.fa", bases)))
    assert places(normal(batch(records))) == [(name, *leftmost(bases[name], *rest)) for name, *rest in records]


@pytest.mark.parametrize(
    ("alt", "so"),
    [
        ("G", "SO:0001483"), ("ACT", "SO:0000667"), ("*", None), ("<DEL>", "SO:0000159"), ("<DUP>", "SO:1000035"),
        ("<INS>", "SO:0000667"), ("<INV>", "SO:1000036"), ("<CNV>", "SO:0001019"), ("<INS:ME:ALU>", "SO:0000667"),
        ("<NON_REF>", None), ("A[2:7[", "SO:0001021"), ("A.", "SO:0001021"), (".", None), ("CT", "SO:1000032"),
    ],
)  # fmt: skip
def test_alleles_have_sequence_ontology_types(alt, so):
    out = transform(batch([("1", 5, "A", alt)]))
    assert out["variant_type_so"].to_pylist() == [so]
    plain = alt.isalpha()
    assert out["normalisation"].to_pylist() == ["trimmed" if plain else "none"]


def test_longer_references_have_sequence_ontology_types():
    out = transform(batch([("1", 5, "AC", "A"), ("1", 5, "AC", "GT"), ("1", 5, "ACT", "GT"), ("1", 5, "AC", "AC")]))
    assert out["variant_type_so"].to_pylist() == ["SO:0000159", "SO:0002007", "SO:1000032", None]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (("1", 5, "R", "A"), "REF is 'R', expected bases: A, C, G, T or N"),
        (("1", 5, "A", "C,dup"), "ALT has 'dup', expected bases A, C, G, T, N, '*', <ID> or a breakend"),
        (("1", 5, "A", "C,"), "ALT has '', expected bases A, C, G, T, N, '*', <ID> or a breakend"),
        (("1", 0, "A", "C"), "POS is 0, expected a position from 1"),
        (("1", None, "A", "C"), "POS is missing, expected a position from 1"),
        ((None, 5, "A", "C"), "CHROM is missing, expected the name of a contig"),
    ],
)
def test_what_is_no_allele_is_refused_in_words(record, reason):
    out = transform(batch([record, ("1", 7, "A", "C")]))
    assert out["_error"].to_pylist() == [reason, None]
    assert out["variant_id"].to_pylist() == [None, "GRCh38-1-7-A-C"]


def test_rows_without_any_place_are_no_fault():
    out = transform(batch([(None, None, None, None), ("1", 7, "A", "C")]))
    assert out["_error"].to_pylist() == [None, None]
    assert out["variant_id"].to_pylist() == [None, "GRCh38-1-7-A-C"]
    without = pa.record_batch({"_source": pa.array([0]), "S": pa.array(["x"])})
    assert transform(without)["variant_id"].to_pylist() == [None]


def test_lists_that_do_not_fit_their_alleles_refuse_the_record():
    lists = pa.array([[1], [1, 2, 3], [None], [1]], pa.list_(pa.int64()))
    out = transform(batch([("1", n, "A", alt) for n, alt in enumerate(["C", "C,G", "C,G", None], 1)], AC=(lists, "A")))
    assert out["_error"].to_pylist() == [
        None, "INFO key AC has 3 values, expected 2 for 2 alternates (Number=A)", None, None, None,
    ]  # fmt: skip
    assert out["AC"].to_pylist() == [1, None, None, None, None]


def test_a_record_too_large_to_repeat_is_refused_and_its_neighbours_are_not(monkeypatch):
    monkeypatch.setattr(per_allele, "COPIED", 100_000)
    alts = ",".join("C" * size for size in range(1, 1001))
    source = batch([("1", 5, "A", alts), ("1", 6, "A", "C,G")])
    out = transform(source.append_column("S", pa.array(["x" * 100_000, "y"])))
    assert out["_source"].to_pylist() == [0, 1, 1]
    assert out["_error"][0].as_py().startswith("the record has 1000 alternates, each of which would repeat its 100")
    assert out["_error"].null_count == 2


def test_thirty_three_alleles_are_as_many_rows():
    alts = ["C" + "T" * size for size in range(1, 34)]
    out = transform(batch([("1", 1, "C", ",".join(alts))]))
    assert out["alt"].to_pylist() == alts


def test_hg19s_own_mitochondrion_is_not_the_other(tmp_path):
    uri = indexed(tmp_path / "hg19.fa", {"chrM": "A" * 16571})
    assert places(prepare(Options(reference=uri))(batch([("chrM", 5, "A", "C")])))[0] == ("chrM", 5, "A", "C")
    assert places(transform(batch([("chrM", 5, "A", "C")])))[0] == ("MT", 5, "A", "C")


def test_a_reference_of_another_assembly_is_told(tmp_path):
    uri = indexed(tmp_path / "x.fa", {"1": "ACGT"})
    fasta = Fasta(uri)
    fasta.contigs["1"] = fasta.contigs["1"]._replace(length=249250621)  # chromosome 1 of GRCh37
    columns = [pa.array([value]) for value in ("1", "GRCh38", 2, "C", "G")]
    errors: dict[int, str] = {}
    normalise(Records.of(*columns), pa.array([True]).to_numpy(zero_copy_only=False), fasta, errors)
    assert errors == {0: f"1:2: the reference {uri} is of another assembly than the record"}


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_random_variants_are_as_the_installed_bcftools_has_them(tmp_path):
    generator = random.Random(7)
    bases = "".join(generator.choice(["A", "C", "AC", "G" * 5, "T", "CAG"]) for _ in range(3000))
    uri = indexed(tmp_path / "r.fa", {"1": bases})
    records = []
    for _ in range(1500):
        at, size = generator.randrange(len(bases) - 10), generator.randint(1, 6)
        alt = "".join(generator.choices("ACG", k=generator.randint(1, 6)))
        if alt != bases[at : at + size]:
            records.append(("1", at + 1, bases[at : at + size], alt))
    head = f"##fileformat=VCFv4.2\n##contig=<ID=1,length={len(bases)}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    body = "".join(f"1\t{pos}\t{row}\t{ref}\t{alt}\t.\t.\t.\n" for row, (_, pos, ref, alt) in enumerate(records))
    (tmp_path / "x.vcf").write_text(head + body)
    said = subprocess.run(
        ["bcftools", "norm", "-f", uri, str(tmp_path / "x.vcf")], capture_output=True, text=True, check=True
    ).stdout
    answers = {int(f[2]): (f[0], int(f[1]), f[3], f[4]) for f in map(str.split, said.splitlines()) if f[0][0] != "#"}
    found = places(prepare(Options(reference=uri))(batch(records)))
    assert found == [answers[row] for row in range(len(records))]
