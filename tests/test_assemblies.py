"""The assemblies' constants, held against what is known of them from elsewhere."""

import re

import pytest

from catalog import assemblies

# Sums of the lengths of chromosomes 1 to 22, X and Y, as NCBI's statistics of the two assemblies give them.
TOTALS = {"GRCh37": 3_095_677_412, "GRCh38": 3_088_269_832}


@pytest.mark.parametrize("assembly", assemblies.ASSEMBLIES)
def test_every_chromosome_has_a_length_an_accession_and_a_digest(assembly):
    for table in (assemblies.lengths(assembly), assemblies.accessions(assembly), assemblies.refget(assembly)):
        assert tuple(table) == assemblies.CHROMOSOMES
    nuclear = [length for name, length in assemblies.lengths(assembly).items() if name != "MT"]
    assert sum(nuclear) == TOTALS[assembly]


def test_a_digest_or_accession_belongs_to_one_chromosome_of_one_assembly():
    for table in (assemblies.refget, assemblies.accessions):
        earlier, later = table("GRCh37"), table("GRCh38")
        assert set(earlier.values()) & set(later.values()) == {earlier["MT"]} == {later["MT"]}
        assert len(set(earlier.values()) | set(later.values())) == 49
    assert all(re.fullmatch(r"SQ\.[\w-]{32}", told) for told in assemblies.refget("GRCh38").values())


def test_the_digests_are_those_that_ga4gh_quotes():
    """The chromosomes that GA4GH's specification and its test vectors name."""
    told = assemblies.refget("GRCh38")
    assert told["1"] == "SQ.Ya6Rs7DHhDeg7YaOSg1EoNi3U_nQ9SvO"
    assert told["7"] == "SQ.F-LrLMe1SRpfUZHkQmvkVKFEGaoDeHul"
    assert told["13"] == "SQ._0wi-qoDrvram155UmcSC-zA5ZK4fpLT"
    assert told["19"] == "SQ.IIB53T8CNeJJdUqzn9V_JnRtQadwWCbl"
    assert assemblies.refget("GRCh37")["1"] == "SQ.S_KjnFVz-FE7M0W6yoaUDgYxLPc1jyWU"
    assert assemblies.refget("GRCh37")["2"] == "SQ.9KdcA9ZpY1Cpvxvg8bMSLYDUpsX6GDLO"


def test_another_assembly_has_nothing():
    assert assemblies.lengths("T2T-CHM13v2.0") == assemblies.refget("") == assemblies.accessions("grch38") == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1", ("1", None)),
        ("chr1", ("1", None)),
        ("CHR22", ("22", None)),
        ("chrx", ("X", None)),
        ("23", ("X", None)),
        ("24", ("Y", None)),
        ("M", ("MT", None)),
        ("chrM", ("MT", None)),
        ("chrMT", ("MT", None)),
        ("NC_000001.10", ("1", "GRCh37")),
        ("NC_000001.11", ("1", "GRCh38")),
        ("NC_000024.10", ("Y", "GRCh38")),
        ("NC_012920.1", ("MT", None)),
        ("SQ.F-LrLMe1SRpfUZHkQmvkVKFEGaoDeHul", ("7", "GRCh38")),
        ("NC_000001.9", ("NC_000001.9", None)),
        ("chr1_KI270706v1_random", ("chr1_KI270706v1_random", None)),
        ("25", ("25", None)),
        ("chr", ("chr", None)),
        ("", ("", None)),
    ],
)
def test_a_contig_has_one_spelling(name, expected):
    assert assemblies.contig_of(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GRCh37", "GRCh37"),
        ("grch37.p13", "GRCh37"),
        ("hg19", "GRCh37"),
        ("b37", "GRCh37"),
        ("hs37d5", "GRCh37"),
        ("file:///data/human_g1k_v37.fasta", "GRCh37"),
        ("hg38", "GRCh38"),
        ("GRCh38.p14", "GRCh38"),
        ("/ref/Homo_sapiens_assembly38.fasta.gz", "GRCh38"),
        ("GCA_000001405.15_GRCh38_no_alt_analysis_set.fna", "GRCh38"),
        ("hg18", None),
        ("GRCm38", None),
        ("hg19ToHg38", None),
        ("GRCh37_lifted_from_GRCh38", None),
        ("", None),
    ],
)
def test_an_assembly_is_known_by_its_names(name, expected):
    assert assemblies.assembly_of(name) == expected


@pytest.mark.parametrize("assembly", assemblies.ASSEMBLIES)
def test_lengths_tell_the_assembly(assembly):
    known = {f"chr{name}": length for name, length in assemblies.lengths(assembly).items()}
    assert assemblies.assembly_by_lengths(known) == assembly
    assert assemblies.assembly_by_lengths({"chr7": known["chr7"], "chrUn_1": 5}) == assembly
    assert assemblies.assembly_by_lengths(known | {"chrM": 16571}) == assembly
    assert assemblies.assembly_by_lengths(known | {"chr7": 1}) is None


def test_lengths_of_no_chromosome_or_of_mt_alone_tell_nothing():
    assert assemblies.assembly_by_lengths({}) is None
    assert assemblies.assembly_by_lengths({"MT": 16569, "decoy": 7}) is None
