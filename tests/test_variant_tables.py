"""Whole files of variants through a contract into their table, each compared with a plain reading of its lines."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
COUNTED = {"allele_count": "AC", "allele_number": "AN", "allele_frequency": "AF", "homozygote_count": "nhomalt"}
ORIGIN = {"_dataset", "_record", "_part"}
STARS = {
    "practice_guideline": 4, "reviewed_by_expert_panel": 3, "criteria_provided,_multiple_submitters,_no_conflicts": 2,
    "criteria_provided,_conflicting_interpretations": 1, "criteria_provided,_single_submitter": 1,
    "no_assertion_criteria_provided": 0, "no_assertion_provided": 0, "no_interpretation_for_the_single_variant": 0,
}  # fmt: skip
GENOTYPES = (
    "chrM\t60\t.\tG\tT\t.\t.\t.\tGT\t.\t.\t.",
    "chr1\t10\t.\tA\tC\t.\t.\t.\tGT:DP\t0/1:9\t1|1:8\t0/0:7",
    "chr1\t20\t.\tA\tC,G\t.\t.\t.\tGT\t1/2\t2/2\t./.",
    "chr1\t30\t.\tACC\tAC,TCC\t.\t.\t.\tGT\t0/2\t1\t.",
    "chr1\t40\t.\tG\tT\t.\t.\t.\tGT\t0/0\t0|0\t0/0",
    "chr1\t50\t.\tG\tT,*\t.\t.\t.\tGT\t./1\t2/2\t1/2/2",
)
SUMMARY = """\
#AlleleID\tType\tAssembly\tChromosome\tVariationID\tPositionVCF\tReferenceAlleleVCF\tAlternateAlleleVCF\tRS# (dbSNP)
15041\tIndel\tGRCh37\t7\t2\t4820844\tGGAT\tTGCTGTAAACTGTAACTGTAAA\t397704705
15041\tIndel\tGRCh38\t7\t2\t4781213\tGGAT\tTGCTGTAAACTGTAACTGTAAA\t397704705
15042\tDeletion\tGRCh38\t7\t3\t4787729\tGCTGCTGGACCTGCC\tG\t397704709
15043\tsingle nucleotide variant\tGRCh38\tMT\t9\t15043\tG\tA\t-1
594739\tcopy number gain\tGRCh37\t19\t603403\t-1\tna\tna\t-1
594740\tcopy number gain\tGRCh38\t19\t603404\t-1\tna\tna\t-1
594741\tsingle nucleotide variant\tna\tUn\t603405\t-1\tna\tna\t-1
594742\tsingle nucleotide variant\tGRCh38\t1\t603406\tnine\tA\tG\t-1
"""


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def parsimonious(place: int, ref: str, alt: str) -> tuple[int, str, str]:
    while len(ref) > 1 and len(alt) > 1 and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        place, ref, alt = place + 1, ref[1:], alt[1:]
    return place, ref, alt


def records(path: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The fields of each record, and its INFO, by plain string work."""
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        if not line.startswith("#"):
            fields = line.split("\t")
            yield fields, dict(item.partition("=")[::2] for item in fields[7].split(";"))


def of_variants(file_format: str, columns: dict[str, str], /, **options: object) -> dict[str, object]:
    """The attributes of a dataset that feeds the table of variants only."""
    source = {"unpublished": "a test's", "format": file_format, "options": options}
    return {"table": "genomics.variants", "source": source, "columns": columns}


def by_allele(rows: list[dict[str, object]]) -> dict[object, dict[str, object]]:
    found = {row["variant_id"]: {name: row[name] for name in row.keys() - ORIGIN} for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_same_records_as_vcf_and_as_bcf_give_identical_rows(curated):
    pysam = pytest.importorskip("pysam", reason="pysam is not installed")
    # The file has three people of 3,202: its AC and AN are theirs, but its AF is still that of all.
    columns = {"quality": "QUAL", "filters": "FILTER", **COUNTED, "allele_frequency": "AC / AN"}
    text, binary = (
        curated("genomics/thousand_genomes", real(f"1kg_2020_chrM.{end}"), kind, **of_variants(kind, columns))
        for kind, end in {"vcf": "vcf.gz", "bcf": "bcf"}.items()
    )
    assert by_allele(text.rows) == by_allele(binary.rows)
    assert text.refused == binary.refused == []
    with pysam.VariantFile(str(DATA / "1kg_2020_chrM.bcf")) as file:
        expected = {
            parsimonious(record.pos, record.ref, alt): (
                record.qual, list(record.filter), record.info["AC"][index], record.info["AN"],
                sum(call.allele_indices == (index + 1, index + 1) for call in record.samples.values()),
            )
            for record in file
            for index, alt in enumerate(record.alts)
        }  # fmt: skip
    named = ("quality", "filters", "allele_count", "allele_number", "homozygote_count")
    found = {(row["position"], row["ref"], row["alt"]): tuple(row[name] for name in named) for row in text.rows}
    assert found.keys() == expected.keys()
    assert len(found) > 40
    for allele, (quality, *said) in expected.items():
        assert found[allele] == (pytest.approx(quality, rel=1e-5), *said)


def counted(line: str) -> Iterator[tuple[tuple[object, ...], tuple[object, ...]]]:
    """Each allele of a line, and its count, number, frequency and homozygous people by its genotypes."""
    contig, place, _, ref, alts, *_ = line.split("\t")
    calls = [cell.split(":")[0].replace("|", "/").split("/") for cell in line.split("\t")[9:]]
    number = sum(allele != "." for call in calls for allele in call)
    for index, alt in enumerate(alts.split(","), start=1):
        count = sum(call.count(str(index)) for call in calls)
        pure = sum(len(call) > 1 and set(call) == {str(index)} for call in calls)
        allele = ("MT" if contig == "chrM" else "1", *parsimonious(int(place), ref, alt))
        yield allele, (count, number, count / number if number else None, pure)


@pytest.mark.parametrize("kind", ["vcf", "bcf"])
def test_counts_that_info_lacks_are_those_of_the_genotypes(curated, tmp_path, kind):
    head = (
        "##fileformat=VCFv4.2\n##reference=GRCh38\n##contig=<ID=chrM,length=16569>\n"
        '##contig=<ID=chr1,length=248956422>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="d">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc\n"
    )
    path = tmp_path / "calls.vcf"
    path.write_text(head + "\n".join(GENOTYPES) + "\n", encoding="utf-8")
    if kind == "bcf":
        bcftools = pytest.importorskip("pysam.bcftools", reason="pysam is not installed")
        bcftools.view("-Ob", "--no-version", "-o", str(path.with_suffix(".bcf")), str(path), catch_stdout=False)
        path = path.with_suffix(".bcf")
    found = curated("genomics/thousand_genomes", path, **of_variants(kind, COUNTED))
    rows = {
        tuple(row[name] for name in ("contig", "position", "ref", "alt")): tuple(row[name] for name in COUNTED)
        for row in found.rows
    }
    assert rows == dict(pair for line in GENOTYPES for pair in counted(line))


def test_clinvars_2000_records_come_out_as_their_lines_say(curated):
    path = real("clinvar_20230710_grch37_2000.vcf.gz")
    found = curated("genomics/clinvar_grch37", path)
    assert (found.report.read, found.report.kept, found.refused) == (2000, 2000, [])
    rows = {row["_record"]: row for row in found.rows}
    expected = {fields[2]: (fields, info) for fields, info in records(path)}
    assert len(found.rows) == len(rows) == 2000
    assert rows.keys() == expected.keys()
    for record, (fields, info) in expected.items():
        row = rows[record]
        place, ref, alt = parsimonious(int(fields[1]), fields[3], fields[4])
        stated = {name: text.replace("_", " ") for name, text in info.items()}
        genes = [gene.split(":")[0] for gene in info["GENEINFO"].split("|")] if "GENEINFO" in info else None
        effects = [effect.partition("|")[0] for effect in info["MC"].split(",")] if "MC" in info else None
        wanted = {
            "assembly": "GRCh37", "contig": fields[0], "position": place, "ref": ref,
            "alt": None if alt == "." else alt,
            "variant_id": f"GRCh37-{fields[0]}-{place}-{ref}-{alt}", "allele_id": int(info["ALLELEID"]),
            "clinical_significance": stated["CLNSIG"].replace("/", "|").split("|") if "CLNSIG" in info else None,
            "review_status": stated["CLNREVSTAT"], "review_stars": STARS[info["CLNREVSTAT"]],
            "condition_names": stated["CLNDN"].split("|") if "CLNDN" in info else None,
            "gene_symbols": genes, "molecular_consequences": effects, "variant_type": stated["CLNVC"],
            "variant_type_so": info["CLNVCSO"], "hgvs": unquote(info["CLNHGVS"]),
            "rs_id": f"rs{info['RS']}" if "RS" in info else None,
        }  # fmt: skip
        assert {name: row[name] for name in wanted} == wanted


def test_clinvars_summary_gives_one_assembly_and_counts_what_it_leaves_out(curated, tmp_path):
    path = tmp_path / "variant_summary.txt"
    path.write_text(SUMMARY, encoding="utf-8")
    columns = {
        "CHROM": "Chromosome", "POS": "PositionVCF", "REF": "ReferenceAlleleVCF", "ALT": "AlternateAlleleVCF",
        "assembly": "Assembly",
    }  # fmt: skip
    reading = of_variants(
        "tsv", {"rs_id": "'rs' || \"RS# (dbSNP)\""}, columns=columns, nulls=["-", "na", "-1"], id="VariationID"
    )
    drop = {"no allele": "ReferenceAlleleVCF IS NULL", "other assembly": "Assembly <> 'GRCh38'"}
    found = curated(
        "genomics/thousand_genomes", path, **reading, drop=drop, gates={"min_rows": 1, "max_quarantined": 0.2}
    )
    assert {row["variant_id"]: (row["_record"], row["rs_id"]) for row in found.rows} == {
        "GRCh38-7-4781213-GGAT-TGCTGTAAACTGTAACTGTAAA": ("2", "rs397704705"),
        "GRCh38-7-4787729-GCTGCTGGACCTGCC-G": ("3", "rs397704709"),
        "GRCh38-MT-15043-G-A": ("9", None),
    }
    assert found.report.dropped == {"other assembly": 1, "no allele": 3}
    assert (found.report.read, found.report.kept, found.report.quarantined) == (8, 3, 1)
    assert "nine" in str(found.refused)


def test_records_without_an_allele_are_refused_where_no_rule_leaves_them_out(curated, tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("CHROM\tPOS\tREF\tALT\tID\n1\t9\tA\tG\trs7\n19\tna\tna\tna\trs8\n", encoding="utf-8")
    reading = of_variants("tsv", {"rs_id": "ID"}, assembly="GRCh38", nulls=["na"])
    found = curated("genomics/thousand_genomes", path, **reading, gates={"min_rows": 1, "max_quarantined": 0.5})
    assert [row["variant_id"] for row in found.rows] == ["GRCh38-1-9-A-G"]
    assert found.report.quarantined == 1
    assert {row[3] for row in found.refused} == {"x.tsv line 3"}


def test_a_tsv_with_gnomads_columns_gives_what_its_lines_say(curated, tmp_path):
    lines = [
        ("chr1", "55516888", "G", "GA", "PASS", "2", "1000", "2e-3", "0"),
        ("chrX", "2781514", "CAA", "CA", "AC0;AS_VQSR", "0", "900", "0", "0"),
        ("chrM", "15043", "G", "A", "NA", "NA", "NA", "NA", "NA"),
    ]
    names = ("chrom", "pos", "ref", "alt", "filters", "AC", "AN", "AF", "nhomalt")
    path = tmp_path / "gnomad.tsv.gz"
    path.write_bytes(gzip.compress("\n".join("\t".join(line) for line in (names, *lines)).encode() + b"\n"))
    reading = of_variants(
        "tsv", {"filters": "CASE WHEN filters = 'PASS' THEN [] ELSE string_split(filters, ';') END", **COUNTED},
        columns={"CHROM": "chrom", "POS": "pos", "REF": "ref", "ALT": "alt"}, assembly="hg38", nulls=["NA"],
        types={"AC": "int64", "AN": "int64", "AF": "double", "nhomalt": "int64"},
    )  # fmt: skip
    found = curated("genomics/thousand_genomes", path, **reading)
    assert {row["variant_id"]: (row["filters"], *(row[name] for name in COUNTED)) for row in found.rows} == {
        "GRCh38-1-55516888-G-GA": ([], 2, 1000, 0.002, 0),
        "GRCh38-X-2781514-CA-C": (["AC0", "AS_VQSR"], 0, 900, 0.0, 0),
        "GRCh38-MT-15043-G-A": (None, None, None, None, None),
    }
    assert found.refused == []
