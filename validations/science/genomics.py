"""Checks on variants and their clinical significance: do place, alleles, names and review status agree?"""

from __future__ import annotations

import polars as pl

from validations.science import science_check

CHROMOSOMES = (*(str(number) for number in range(1, 23)), "X", "Y", "MT")

# Lengths in base pairs of the primary chromosomes, from the assembly reports GCF_000001405.25 (GRCh37.p13) and
# GCF_000001405.26 (GRCh38) of NCBI; MT is NC_012920.1, the revised Cambridge sequence, in both.
LENGTHS = {
    "GRCh37": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431,
        135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248,
        59128983, 63025520, 48129895, 51304566, 155270560, 59373566, 16569,
    ),
    "GRCh38": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717,
        133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285,
        58617616, 64444167, 46709983, 50818468, 156040895, 57227415, 16569,
    ),
}  # fmt: skip

# Versions of the RefSeq accessions NC_000001 to NC_000024 in GRCh37; GRCh38 has the next version of each.
_GRCH37_VERSIONS = (10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10, 10, 9)


def accessions(assembly: str) -> dict[str, str]:
    """RefSeq accession of each primary chromosome of GRCh37 or GRCh38: ``{"1": "NC_000001.11", ...}``."""
    later = assembly == "GRCh38"
    numbered = {
        name: f"NC_{number:06}.{version + later}"
        for number, (name, version) in enumerate(zip(CHROMOSOMES, _GRCH37_VERSIONS, strict=False), start=1)
    }
    return numbered | {"MT": "NC_012920.1"}


STARS = {
    "practice guideline": 4,
    "reviewed by expert panel": 3,
    "criteria provided, multiple submitters, no conflicts": 2,
    "criteria provided, multiple submitters": 2,
    "criteria provided, conflicting classifications": 1,
    "criteria provided, conflicting interpretations": 1,
    "criteria provided, single submitter": 1,
    "no assertion criteria provided": 0,
    "no assertion provided": 0,
    "no assertion for the individual variant": 0,
    "no interpretation for the single variant": 0,
    "no classification provided": 0,
    "no classification for the single variant": 0,
    "no classification for the individual variant": 0,
    "no classifications from unflagged records": 0,
    "flagged submission": 0,
}
"""ClinVar's review statuses, of this year and of former ones, and the gold stars that ClinVar gives each."""

SIGNIFICANCES = (
    "Benign",
    "Likely benign",
    "Uncertain significance",
    "Likely pathogenic",
    "Pathogenic",
    "Pathogenic, low penetrance",
    "Likely pathogenic, low penetrance",
    "Established risk allele",
    "Likely risk allele",
    "Uncertain risk allele",
    "affects",
    "association",
    "association not found",
    "confers sensitivity",
    "drug response",
    "protective",
    "risk factor",
    "other",
    "not provided",
    "Conflicting classifications of pathogenicity",
    "Conflicting interpretations of pathogenicity",
    "conflicting data from submitters",
    "no classification for the single variant",
    "no classifications from unflagged records",
    "no interpretation for the single variant",
)
"""The terms of germline classification that ClinVar's documentation lists, and those of former years."""

_LENGTH = {
    (assembly, name): length
    for assembly, lengths in LENGTHS.items()
    for name, length in zip(CHROMOSOMES, lengths, strict=True)
}
_ACCESSION = {(assembly, name): accession for assembly in LENGTHS for name, accession in accessions(assembly).items()}
_PLACE = pl.concat_str("assembly", "contig", separator=" ")
_BASES = "^[ACGTN]+$"


def _by_place(table: dict[tuple[str, str], str] | dict[tuple[str, str], int], kind: type[pl.DataType]) -> pl.Expr:
    flat = {f"{assembly} {contig}": value for (assembly, contig), value in table.items()}
    return _PLACE.replace_strict(flat, default=None, return_dtype=kind)


def _answer(frame: pl.DataFrame, holds: pl.Expr) -> pl.Series:
    return frame.select(holds.alias("holds")).to_series()


@science_check
def alleles_differ(frame: pl.DataFrame) -> pl.Series:
    """The alternate allele must differ from the reference allele."""
    return _answer(frame, pl.col("alt").ne(pl.col("ref")))


@science_check
def position_within_chromosome(frame: pl.DataFrame) -> pl.Series:
    """The reference allele must lie within its chromosome (GRCh37, GRCh38; other contigs are not checked)."""
    last = pl.col("position") + pl.col("ref").str.len_bytes().cast(pl.Int64) - 1
    return _answer(frame, last.le(_by_place(_LENGTH, pl.Int64)) & pl.col("position").ge(1))


@science_check
def hgvs_agrees_with_alleles(frame: pl.DataFrame) -> pl.Series:
    """A genomic HGVS substitution (NC_000001.10:g.69134A>G) must give the row's own position, ref and alt."""
    said = pl.col("hgvs").str.extract_groups(r"^[A-Z]{2}_\d+\.\d+:[gm]\.(\d+)([ACGTN])>([ACGTN])$").struct
    agrees = (
        said.field("1").cast(pl.Int64, strict=False).eq(pl.col("position"))
        & said.field("2").eq(pl.col("ref"))
        & said.field("3").eq(pl.col("alt"))
    )
    # A row without an alternate allele cannot be the substitution that its name says.
    return _answer(frame, pl.when(said.field("1").is_not_null()).then(agrees.fill_null(value=False)))


@science_check
def hgvs_agrees_with_assembly(frame: pl.DataFrame) -> pl.Series:
    """The RefSeq accession in a genomic HGVS name must be this chromosome's in this assembly."""
    said = pl.col("hgvs").str.extract(r"^(NC_\d+\.\d+):[gm]\.")
    return _answer(frame, said.eq(_by_place(_ACCESSION, pl.String)))


@science_check
def variant_type_agrees_with_alleles(frame: pl.DataFrame) -> pl.Series:
    """The Sequence Ontology type must fit the alleles: SNV 1 for 1, deletions shorten, insertions lengthen."""
    ref, alt = (pl.col(name).str.len_bytes() for name in ("ref", "alt"))
    kind = pl.col("variant_type_so")
    holds = (
        pl.when(kind.is_in(["SO:0001483"]))
        .then((ref == 1) & (alt == 1))
        .when(kind.is_in(["SO:0000159"]))
        .then(ref > alt)
        .when(kind.is_in(["SO:0000667", "SO:1000035"]))
        .then(ref < alt)
        .when(kind.is_in(["SO:1000036", "SO:0002007"]))
        .then((ref == alt) & (ref > 1))
        .when(kind.is_in(["SO:0000289"]))
        .then(ref != alt)
        .when(kind.is_in(["SO:1000032"]))
        .then((ref > 1) | (alt > 1))
    )
    bases = pl.col("ref").str.contains(_BASES) & pl.col("alt").str.contains(_BASES)
    return _answer(frame, pl.when(bases).then(holds))


@science_check
def stars_agree_with_review_status(frame: pl.DataFrame) -> pl.Series:
    """The gold stars must be those that ClinVar gives the review status."""
    stars = pl.col("review_status").replace_strict(STARS, default=None, return_dtype=pl.Int32)
    return _answer(frame, pl.col("review_stars").eq(stars))


@science_check
def clinical_significance_is_known(frame: pl.DataFrame) -> pl.Series:
    """Each clinical significance must be a term of ClinVar's vocabulary."""
    return _answer(frame, pl.col("clinical_significance").list.eval(pl.element().is_in(list(SIGNIFICANCES))).list.all())
