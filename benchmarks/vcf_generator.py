"""Writes synthetic VCF of any size, in BGZF, deterministically: for measurements, not for science.

``clinvar`` has the INFO keys of ClinVar's VCF and passes the science checks of genomics.clinical_significance;
``gnomad`` has twelve INFO keys, among them a long ``vep`` string.

    python -m benchmarks.vcf_generator OUT --records 1000000 --dialect clinvar
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import click
import numpy as np

from catalog.assemblies import CHROMOSOMES, accessions, lengths

Dialect: TypeAlias = Literal["gnomad", "clinvar"]

CHUNK = 50_000
_BGZF_BLOCK = 65_280
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_CONTIGS = CHROMOSOMES[:23]
_BASES = np.array(list("ACGT"))
_SIGNIFICANCES = (
    "Uncertain_significance",
    "Likely_benign",
    "Benign",
    "Pathogenic",
    "Pathogenic/Likely_pathogenic",
)
_STATUSES = (
    "criteria_provided,_single_submitter",
    "criteria_provided,_multiple_submitters,_no_conflicts",
    "no_assertion_criteria_provided",
    "reviewed_by_expert_panel",
)
_CONDITIONS = (
    ("not_provided", "MedGen:C3661900"),
    ("Inborn_genetic_diseases", "MeSH:D030342,MedGen:C0950123"),
    ("not_specified|not_provided", "MedGen:CN169374|MedGen:C3661900"),
)
_CONSEQUENCES = ("SO:0001583|missense_variant", "SO:0001819|synonymous_variant", "SO:0001627|intron_variant")
_TYPES = {
    "snv": ("single_nucleotide_variant", "SO:0001483"),
    "del": ("Deletion", "SO:0000159"),
    "ins": ("Insertion", "SO:0000667"),
}
_CLINVAR_INFO = {
    "ALLELEID": "1,Integer", "CLNDISDB": ".,String", "CLNDN": ".,String", "CLNHGVS": ".,String",
    "CLNREVSTAT": ".,String", "CLNSIG": ".,String", "CLNVC": "1,String", "CLNVCSO": "1,String",
    "GENEINFO": "1,String", "MC": ".,String", "ORIGIN": ".,String", "RS": ".,String",
}  # fmt: skip
_GNOMAD_INFO = {
    "AC": "A,Integer", "AN": "1,Integer", "AF": "A,Float", "nhomalt": "A,Integer", "AC_afr": "A,Integer",
    "AC_nfe": "A,Integer", "FS": "1,Float", "MQ": "1,Float", "QD": "1,Float", "DP": "1,Integer", "lcr": "0,Flag",
    "vep": ".,String",
}  # fmt: skip


def write(path: Path | str, records: int, seed: int = 0, dialect: Dialect = "gnomad") -> None:
    """Write ``records`` records sorted by contig and position; the same arguments give the same bytes."""
    with Path(path).open("wb") as file:
        for text in _texts(records, np.random.default_rng(seed), dialect):
            _write_blocks(file, text.encode())
        file.write(_BGZF_END)


def _write_blocks(file: BinaryIO, text: bytes) -> None:
    for start in range(0, len(text), _BGZF_BLOCK):
        part = text[start : start + _BGZF_BLOCK]
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        data = deflate.compress(part) + deflate.flush()
        file.write(struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(data) + 25))
        file.write(data + struct.pack("<II", zlib.crc32(part), len(part)))


def _texts(records: int, random: np.random.Generator, dialect: Dialect) -> Iterator[str]:
    yield _header(dialect)
    done = 0
    sizes = np.array([lengths("GRCh38")[contig] for contig in _CONTIGS], dtype=np.float64)
    ends = np.rint(np.cumsum(sizes) / sizes.sum() * records).astype(int)
    for contig, length, end in zip(_CONTIGS, sizes.astype(int).tolist(), ends, strict=True):
        count, place = int(end) - done, 10_000
        step = (length - 20_000) // max(count, 1)
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            positions = place + np.arange(size) * step + random.integers(0, max(step, 1), size)
            yield "".join(_lines(contig, np.maximum(positions, 1), done + start, random, dialect))
            place += size * step
        done = int(end)


def _header(dialect: Dialect) -> str:
    declared = _CLINVAR_INFO if dialect == "clinvar" else _GNOMAD_INFO
    lines = ["##fileformat=VCFv4.2", f"##source=synthetic, {dialect} dialect", "##reference=GRCh38"]
    for name, kind in declared.items():
        number, _, type_ = kind.partition(",")
        lines.append(f'##INFO=<ID={name},Number={number},Type={type_},Description="synthetic {name}">')
    return "\n".join([*lines, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]) + "\n"


def _lines(
    contig: str, positions: np.ndarray[Any, Any], first: int, random: np.random.Generator, dialect: Dialect
) -> Iterator[str]:
    size = len(positions)
    ref = random.integers(0, 4, size)
    other = (ref + random.integers(1, 4, size)) % 4
    kinds = np.array(["snv", "del", "ins"])[np.searchsorted([0.92, 0.97], random.random(size))]
    numbers = random.integers(0, 1 << 16, (size, 4)).tolist()
    info = _clinvar if dialect == "clinvar" else _gnomad
    accession = accessions("GRCh38")[contig]
    rows = zip(positions.tolist(), _BASES[ref].tolist(), _BASES[other].tolist(), kinds.tolist(), numbers, strict=True)
    for index, (position, base, more, kind, drawn) in enumerate(rows, start=first + 1):
        before, after, change = {
            "snv": (base, more, f"{position}{base}>{more}"),
            "del": (base + more, base, f"{position + 1}del"),
            "ins": (base, base + more, f"{position}_{position + 1}ins{more}"),
        }[kind]
        value = info(15_000 + index, f"{accession}:g.{change}", kind, drawn)
        yield f"{contig}\t{position}\t{index}\t{before}\t{after}\t.\t.\t{value}\n"


def _clinvar(allele: int, hgvs: str, kind: str, drawn: list[int]) -> str:
    name, identifiers = _CONDITIONS[drawn[0] % len(_CONDITIONS)]
    word, so = _TYPES[kind]
    rs = f";RS={allele}" if drawn[3] % 2 else ""
    return (
        f"ALLELEID={allele};CLNDISDB={identifiers};CLNDN={name};CLNHGVS={hgvs};"
        f"CLNREVSTAT={_STATUSES[drawn[1] % len(_STATUSES)]};CLNSIG={_SIGNIFICANCES[drawn[2] % len(_SIGNIFICANCES)]};"
        f"CLNVC={word};CLNVCSO={so};GENEINFO=GENE{drawn[3] % 19_000}:{drawn[3]};"
        f"MC={_CONSEQUENCES[drawn[1] % len(_CONSEQUENCES)]};ORIGIN={1 << drawn[0] % 6}{rs}"
    )


def _gnomad(allele: int, hgvs: str, kind: str, drawn: list[int]) -> str:
    count, total = drawn[0] % 150_000, 152_312
    vep = ",".join(
        f"A|missense_variant|MODERATE|GENE{drawn[1]}|ENSG{drawn[1]:011}|Transcript|ENST{drawn[2] + part:011}"
        f"|protein_coding|{part}/12||{hgvs}|||{drawn[3]}|||tolerated(0.{part})|benign(0.0{part})|{allele}"
        for part in range(1, 5)
    )
    return (
        f"AC={count};AN={total};AF={count / total:.6e};nhomalt={drawn[1] % 100};AC_afr={count // 3};"
        f"AC_nfe={count // 2};FS={drawn[2] / 1000:.3f};MQ=60.0;QD={drawn[3] / 4000:.2f};DP={drawn[2] * 7};"
        f"{'lcr;' if kind != 'snv' else ''}vep={vep}"
    )


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--records", default=100_000, show_default=True)
@click.option("--dialect", type=click.Choice(["gnomad", "clinvar"]), default="gnomad", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(out: Path, records: int, dialect: Dialect, seed: int) -> None:
    """Write synthetic VCF to OUT."""
    write(out, records, seed, dialect)
    click.echo(f"{out}: {records:,} records, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
