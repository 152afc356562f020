"""The human assemblies GRCh37 and GRCh38: names, lengths and accessions of their chromosomes.

The figures and where each comes from are in assemblies.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

CHROMOSOMES: tuple[str, ...] = (*(str(number) for number in range(1, 23)), "X", "Y", "MT")
"""The one spelling of each primary chromosome, in the order of the assemblies."""

ASSEMBLIES: tuple[str, ...] = ("GRCh37", "GRCh38")

_ALIASES = {"23": "X", "24": "Y", "M": "MT"}
_PATCH = re.compile(r"(?i:[._-]?p\d+)$")
# UCSC's hg19 has an older mitochondrial sequence under the name chrM, two bases longer than NC_012920.1.
_HG19_CHRM = 16571


@cache
def _assemblies() -> dict[str, Any]:
    text = Path(__file__).with_name("assemblies.yaml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(text)["assemblies"]
    return read


def _column(assembly: str, key: str) -> dict[str, Any]:
    chromosomes = _assemblies().get(assembly, {}).get("chromosomes", {})
    return {name: known[key] for name, known in chromosomes.items() if known.get(key) is not None}


def lengths(assembly: str) -> dict[str, int]:
    """Length of each primary chromosome in base pairs; empty for an assembly other than GRCh37 and GRCh38."""
    return _column(assembly, "length")


def accessions(assembly: str) -> dict[str, str]:
    """RefSeq accession of each primary chromosome: ``{"1": "NC_000001.11", ...}``; empty for another assembly."""
    return _column(assembly, "refseq")


def refget(assembly: str) -> dict[str, str]:
    """GA4GH refget accession (``SQ.`` and the sha512t24u digest) of each primary chromosome; empty for another."""
    return _column(assembly, "refget")


@cache
def _by_accession() -> dict[str, tuple[str, str | None]]:
    """RefSeq and refget accession -> chromosome, and the assembly where only one has it (NC_012920.1 is in both)."""
    found: dict[str, tuple[str, str | None]] = {}
    for assembly in ASSEMBLIES:
        for name, accession in (*accessions(assembly).items(), *refget(assembly).items()):
            found[accession] = (name, None if accession in found else assembly)
    return found


@lru_cache(maxsize=4096)  # a file may name any number of contigs
def contig_of(name: str) -> tuple[str, str | None]:
    """The one spelling of a contig, and its assembly where the name itself tells it.

    ``chr1``, ``1`` and ``NC_000001.11`` are ``1``; ``23``, ``chrX`` are ``X``; ``chrM``, ``MT`` are ``MT``. Only
    an accession tells the assembly. A contig that is no primary chromosome keeps its name.
    """
    if name in _by_accession():
        return _by_accession()[name]
    bare = re.sub(r"^chr", "", name, flags=re.IGNORECASE).upper()
    bare = _ALIASES.get(bare, bare)
    return (bare if bare in CHROMOSOMES else name), None


@lru_cache(maxsize=256)
def assembly_of(name: str) -> str | None:
    """``GRCh37`` or ``GRCh38`` for a name that tools give it, with or without a patch; None for any other.

    A path or address tells it by its file's name: ``##reference=file:///ref/human_g1k_v37.fasta``.
    """
    known = {alias.lower(): assembly for assembly, about in _assemblies().items() for alias in about["names"]}
    last = re.split(r"[/\\=]", name.strip().rstrip("/"))[-1].lower()
    stem = re.sub(r"\.(?:fa|fasta|fna|2bit)(?:\.(?:gz|bgz))?$", "", last)
    for spelling in (stem, _PATCH.sub("", stem)):
        if spelling in known:
            return known[spelling]
    told = {known[word] for word in re.split(r"[^a-z0-9]+", stem) if word in known}
    return told.pop() if len(told) == 1 else None


def assembly_by_lengths(contigs: Mapping[str, int]) -> str | None:
    """The assembly whose primary chromosomes have these lengths (bp); None if none has all of them, or both have.

    Contigs under any spelling; those that are no primary chromosome tell nothing, nor does MT, which both share
    (and for which hg19 files may hold an older sequence of 16,571 bp).
    """
    known = {contig: length for name, length in contigs.items() if (contig := contig_of(name)[0]) in CHROMOSOMES}
    if known.get("MT") in (None, _HG19_CHRM, lengths("GRCh38")["MT"]):
        known.pop("MT", None)
    fitting = [
        assembly for assembly in ASSEMBLIES if known and all(lengths(assembly)[c] == n for c, n in known.items())
    ]
    return fitting[0] if len(fitting) == 1 else None
