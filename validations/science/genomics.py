"""Checks on variants and what is said of them: do place, alleles, names, counts, classes and review status agree?"""

from __future__ import annotations

import polars as pl

from catalog.assemblies import ASSEMBLIES, accessions, lengths
from validations.science import science_check

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

_LENGTH = {(assembly, name): length for assembly in ASSEMBLIES for name, length in lengths(assembly).items()}
_ACCESSION = {(assembly, name): code for assembly in ASSEMBLIES for name, code in accessions(assembly).items()}
CLASSES = {"AlphaMissense": (0.34, 0.564)}
"""The scores that part likely_benign, ambiguous and likely_pathogenic (Cheng et al., Science 381 (2023), eadg7492)."""

GROUPS = ("afr", "ami", "amr", "asj", "eas", "eur", "fin", "mid", "nfe", "remaining", "sas", "xx", "xy")
"""The suffixes of the columns of genomics.variants by ancestry group and by sex."""

IMPACTS = {
    "HIGH": (
        "transcript_ablation", "splice_acceptor_variant", "splice_donor_variant", "stop_gained", "frameshift_variant",
        "stop_lost", "start_lost", "transcript_amplification", "feature_elongation", "feature_truncation",
    ),
    "MODERATE": (
        "inframe_insertion", "inframe_deletion", "missense_variant", "protein_altering_variant",
    ),
    "LOW": (
        "splice_donor_5th_base_variant", "splice_region_variant", "splice_donor_region_variant",
        "splice_polypyrimidine_tract_variant", "incomplete_terminal_codon_variant", "start_retained_variant",
        "stop_retained_variant", "synonymous_variant",
    ),
    "MODIFIER": (
        "coding_sequence_variant", "mature_miRNA_variant", "5_prime_UTR_variant", "3_prime_UTR_variant",
        "non_coding_transcript_exon_variant", "intron_variant", "NMD_transcript_variant",
        "non_coding_transcript_variant", "coding_transcript_variant", "upstream_gene_variant",
        "downstream_gene_variant", "TFBS_ablation", "TFBS_amplification", "TF_binding_site_variant",
        "regulatory_region_ablation", "regulatory_region_amplification", "regulatory_region_variant",
        "intergenic_variant", "sequence_variant",
    ),
}  # fmt: skip
"""The consequences of Ensembl VEP, Sequence Ontology terms by name, most severe first, and the impact of each."""

SNPEFF_CONSEQUENCES = (
    "chromosome_number_variation", "exon_loss_variant", "rare_amino_acid_variant", "disruptive_inframe_insertion",
    "conservative_inframe_insertion", "disruptive_inframe_deletion", "conservative_inframe_deletion",
    "initiator_codon_variant", "5_prime_UTR_premature_start_codon_gain_variant", "5_prime_UTR_truncation",
    "3_prime_UTR_truncation", "exon_region", "exon_variant", "gene_variant", "intragenic_variant", "intergenic_region",
    "conserved_intergenic_variant", "conserved_intron_variant", "miRNA", "transcript_variant", "regulatory_region",
    "structural_interaction_variant", "protein_protein_contact", "sequence_feature", "bidirectional_gene_fusion",
    "gene_fusion", "duplication", "inversion", "feature_ablation", "start_retained", "chromosome", "custom", "exon",
    "transcript", "gene", "non_canonical_start_codon",
)  # fmt: skip
"""What snpEff's ANN has beside VEP's consequences."""

_CONSEQUENCES = tuple(term for terms in IMPACTS.values() for term in terms)
# The impact of these differs between versions of VEP, or between VEP and snpEff.
_DISPUTED = frozenset(
    [
        "TFBS_ablation",
        "regulatory_region_ablation",
        "feature_elongation",
        "feature_truncation",
        "coding_sequence_variant",
    ]
)
_RANK = {term: rank for rank, terms in enumerate(IMPACTS.values()) for term in terms if term not in _DISPUTED}

# gnomAD writes frequencies with six digits, from single precision; others round to six decimals.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-6

_PLACE = pl.concat_str("assembly", "contig", separator=" ")
_BASES = "^[ACGTN]+$"


def _by_place(
    frame: pl.DataFrame, table: dict[tuple[str, str], str] | dict[tuple[str, str], int], kind: type[pl.DataType]
) -> pl.Expr:
    place = _one_place(frame)
    if place is not None:
        return pl.lit(table.get(place), dtype=kind)
    flat = {f"{assembly} {contig}": value for (assembly, contig), value in table.items()}
    return _PLACE.replace_strict(flat, default=None, return_dtype=kind)


def _one_place(frame: pl.DataFrame) -> tuple[str, str] | None:
    """Assembly and contig, where all rows have the same, as in most batches: comparing is cheaper than looking up."""
    firsts = []
    for name in ("assembly", "contig"):
        first = frame[name][0] if frame.height else None
        if first is None or not frame[name].eq(first).all(ignore_nulls=False):
            return None
        firsts.append(str(first))
    return firsts[0], firsts[1]


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
    return _answer(frame, last.le(_by_place(frame, _LENGTH, pl.Int64)) & pl.col("position").ge(1))


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
    return _answer(frame, said.eq(_by_place(frame, _ACCESSION, pl.String)))


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


def _stated(frame: pl.DataFrame, *names: str) -> bool:
    """Whether the columns are there and say anything in this batch, so that it pays to look."""
    return all(name in frame.columns and frame[name].null_count() < frame.height for name in names)


def _nothing(frame: pl.DataFrame) -> pl.Series:
    return pl.repeat(None, frame.height, dtype=pl.Boolean, eager=True).alias("holds")


@science_check
def allele_count_within_number(frame: pl.DataFrame) -> pl.Series:
    """An allele cannot have been called more often than alleles were called at its place."""
    return _answer(frame, pl.col("allele_count").le(pl.col("allele_number")))


def _is_ratio(group: str) -> pl.Expr:
    """Whether a frequency is its count by its number, as nearly as sources write it; of no alleles at all it is 0."""
    count, number, said = (pl.col(f"allele_{name}{group}") for name in ("count", "number", "frequency"))
    true = count.cast(pl.Float64) / number
    near = (said - true).abs().le(true * _RELATIVE + _ABSOLUTE)
    return pl.when(number.gt(0)).then(near).otherwise(said.eq(0))


@science_check
def allele_frequency_is_count_by_number(frame: pl.DataFrame) -> pl.Series:
    """The allele frequency must be allele count by allele number (to 1 in 10,000, or 0.000001 for rounded ones)."""
    return _answer(frame, _is_ratio("") if _stated(frame, "allele_frequency") else pl.lit(None, pl.Boolean))


@science_check
def homozygotes_within_allele_count(frame: pl.DataFrame) -> pl.Series:
    """Each homozygous individual has the allele twice, so twice their number is at most the allele count."""
    tests = [
        (pl.col(f"homozygote_count{group}") * 2).le(pl.col(f"allele_count{group}")).alias(f"holds{group}")
        for group in ("", *(f"_{name}" for name in GROUPS))
        if _stated(frame, f"homozygote_count{group}", f"allele_count{group}")
    ]
    return _answer(frame, pl.all_horizontal(tests)) if tests else _nothing(frame)


@science_check
def groups_within_overall(frame: pl.DataFrame) -> pl.Series:
    """The counts of an ancestry group or sex are not negative, and not more than those of all people together."""
    tests = [
        pl.col(f"{name}_{group}").is_between(0, pl.col(name)).alias(f"{name}_{group}")
        for group in GROUPS
        for name in ("allele_count", "allele_number", "homozygote_count")
        if _stated(frame, f"{name}_{group}", name)
    ]
    return _answer(frame, pl.all_horizontal(tests)) if tests else _nothing(frame)


@science_check
def group_frequencies_are_counts_by_numbers(frame: pl.DataFrame) -> pl.Series:
    """A group's allele frequency must be its allele count by its allele number, and the count within the number."""
    tests = []
    for group in (f"_{name}" for name in GROUPS):
        if _stated(frame, f"allele_count{group}", f"allele_number{group}"):
            tests.append(pl.col(f"allele_count{group}").le(pl.col(f"allele_number{group}")).alias(f"count{group}"))
            if _stated(frame, f"allele_frequency{group}"):
                tests.append(_is_ratio(group).alias(f"frequency{group}"))
    return _answer(frame, pl.all_horizontal(tests)) if tests else _nothing(frame)


@science_check
def consequences_are_known(frame: pl.DataFrame) -> pl.Series:
    """Each consequence must be a term of Ensembl VEP's or snpEff's vocabulary, which are Sequence Ontology's."""
    known = [*_CONSEQUENCES, *SNPEFF_CONSEQUENCES]
    return _answer(frame, pl.col("consequences").list.eval(pl.element().is_in(known)).list.all())


@science_check
def impact_agrees_with_consequences(frame: pl.DataFrame) -> pl.Series:
    """The impact must be that of the most severe consequence (where all of them are terms of Ensembl VEP)."""
    ranks = pl.col("consequences").list.eval(pl.element().replace_strict(_RANK, default=None, return_dtype=pl.Int32))
    worst = pl.when(ranks.list.eval(pl.element().is_not_null()).list.all()).then(ranks.list.min())
    said = pl.col("impact").replace_strict({name: rank for rank, name in enumerate(IMPACTS)}, default=None)
    return _answer(frame, said.cast(pl.Int32).eq(worst))


@science_check
def protein_variant_is_a_substitution(frame: pl.DataFrame) -> pl.Series:
    """The amino acid after the substitution must differ from the one before."""
    variant = pl.col("protein_variant")
    return _answer(frame, variant.str.slice(0, 1).ne(variant.str.slice(-1, 1)))


@science_check
def class_agrees_with_score(frame: pl.DataFrame) -> pl.Series:
    """AlphaMissense's class must be that of its score: benign below 0.34, pathogenic above 0.564, else ambiguous."""
    low, high = CLASSES["AlphaMissense"]
    score = pl.col("score")
    # Scores are published rounded, the classes were made before: a score on a threshold may belong to either side.
    holds = (
        pl.when(pl.col("class").eq("likely_benign"))
        .then(score.le(low))
        .when(pl.col("class").eq("likely_pathogenic"))
        .then(score.ge(high))
        .when(pl.col("class").eq("ambiguous"))
        .then(score.is_between(low, high))
    )
    return _answer(frame, pl.when(pl.col("model").eq("AlphaMissense")).then(holds))
