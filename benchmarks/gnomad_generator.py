"""Writes VCF like gnomAD's sites files, in BGZF: 12 INFO keys and a vep string, made-up values, on one chromosome.

It passes the science checks of genomics.variants. The values follow from the row number alone, so that the same count
always gives the same text. One record in a hundred has two alternate alleles; half of these have one that moves when
it is trimmed. DuckDB writes the text; Debian's bgzip compresses it where it is installed.

    python -m benchmarks.gnomad_generator OUT --records 1000000
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import click

CONTIG, LENGTH = "chr1", 248_956_422
"""GRCh38's first chromosome."""

INFO = {
    "AC": "A,Integer", "AN": "1,Integer", "AF": "A,Float", "nhomalt": "A,Integer", "AC_afr": "A,Integer",
    "AN_afr": "1,Integer", "AF_afr": "A,Float", "nhomalt_afr": "A,Integer", "AC_XX": "A,Integer",
    "AC_XY": "A,Integer", "faf95": "A,Float", "lcr": "0,Flag", "vep": ".,String",
}  # fmt: skip
"""The INFO keys in the order of a record, each with its number and type."""

VEP = (
    "Allele|Consequence|IMPACT|SYMBOL|Gene|Feature_type|Feature|BIOTYPE|EXON|INTRON|HGVSc|HGVSp|cDNA_position|"
    "CDS_position|Protein_position|Amino_acids|Codons|ALLELE_NUM|DISTANCE|STRAND|VARIANT_CLASS|CANONICAL|MANE_SELECT|"
    "ENSP"
)

_RUN_SQL = "import duckdb, sys; duckdb.execute('SET enable_progress_bar=false'); duckdb.execute(sys.argv[1])"
_BGZF_BLOCK = 65_280
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

_GROUPS = ("afr", "ami", "amr", "asj", "eas", "fin", "mid", "nfe", "remaining", "sas", "XX", "XY")
_DECLARED_ONLY = {
    **{f"AC_{group}": "A,Integer" for group in _GROUPS},
    **{f"AN_{group}": "1,Integer" for group in _GROUPS},
    **{f"AF_{group}": "A,Float" for group in _GROUPS},
    **{f"nhomalt_{group}": "A,Integer" for group in _GROUPS},
}
"""What gnomAD's header declares and a dataset of it may want, though no record here has it."""

# Two thirds of the substitutions are transitions; in a thousand records 40 deletions, 28 insertions, 10 of two alleles.
_DRAWN = """
SELECT i, 10001 + i * {step} + (hash(i, 1) % {spread})::BIGINT AS pos, hash(i, 2) AS d2, hash(i, 3) AS d3,
    hash(i, 4) AS d4, hash(i, 5) AS d5, (hash(i, 6) % 4)::BIGINT AS base,
    CASE WHEN hash(i, 7) % 3 < 2 THEN 2 ELSE 1 + 2 * (hash(i, 8) % 2)::BIGINT END AS turn,
    'ACGTTGCATGACCTGA'[1 + (hash(i, 9) % 8)::BIGINT : 2 + (hash(i, 9) % 8)::BIGINT + (hash(i, 10) % 6)::BIGINT] AS many,
    CASE WHEN i * 617 % 1000 < 40 THEN 'deletion' WHEN i * 617 % 1000 < 68 THEN 'insertion'
        WHEN i * 617 % 1000 < 73 THEN 'two' WHEN i * 617 % 1000 < 78 THEN 'moved' ELSE 'SNV' END AS kind
FROM range({records}) AS numbers(i)
"""
_COUNTED = """
SELECT *, 'ACGT'[1 + base] AS here, 'ACGT'[1 + (base + turn) % 4] AS there,
    'ACGT'[1 + (base + 1 + turn % 3) % 4] AS other,
    1000000 + 2 * (d2 % 230000)::BIGINT AS an, 30000 + 2 * (d3 % 18000)::BIGINT AS an_afr,
    CASE WHEN d4 % 2 = 0 THEN 1 WHEN d4 % 16 < 15 THEN 2 + (d5 % 200)::BIGINT ELSE 200 + (d5 % 700000)::BIGINT END AS ac
FROM ({drawn})
"""
_SPLIT = """
SELECT *, least(ac // 4, an_afr) AS ac_afr, ac // 8 AS hom, ac // 5 * 2 + ac % 2 AS ac_xx,
    kind IN ('two', 'moved') AS paired,
    CASE kind WHEN 'deletion' THEN here || many WHEN 'moved' THEN here || there ELSE here END AS ref,
    CASE kind WHEN 'deletion' THEN here WHEN 'insertion' THEN here || many WHEN 'moved' THEN here || other
        ELSE there END AS alt1,
    CASE kind WHEN 'two' THEN other WHEN 'moved' THEN here END AS alt2
FROM ({counted})
"""
_LINES = """
SELECT concat_ws('\t', 'chr1', pos, CASE WHEN d5 % 3 > 0 THEN 'rs' || (1000000 + i * 7 + d2 % 7) ELSE '.' END,
    ref, concat_ws(',', alt1, alt2), 50 + (d3 % 1000000) / 100,
    CASE WHEN d2 % 10 < 8 THEN 'PASS' WHEN d2 % 10 = 8 THEN 'AC0' ELSE 'AS_VQSR;InbreedingCoeff' END,
    concat('AC=', ac, CASE WHEN paired THEN ',1' ELSE '' END, ';AN=', an, ';AF=', format('{{:.5e}}', ac / an),
    CASE WHEN paired THEN format(',{{:.5e}}', 1 / an) ELSE '' END, ';nhomalt=', hom,
    CASE WHEN paired THEN ',0' ELSE '' END,
    ';AC_afr=', ac_afr, CASE WHEN paired THEN ',0' ELSE '' END, ';AN_afr=', an_afr,
    ';AF_afr=', format('{{:.5e}}', ac_afr / an_afr), CASE WHEN paired THEN ',0.00000e+00' ELSE '' END,
    ';nhomalt_afr=', least(hom, ac_afr // 2), CASE WHEN paired THEN ',0' ELSE '' END,
    ';AC_XX=', ac_xx, CASE WHEN paired THEN ',1' ELSE '' END, ';AC_XY=', ac - ac_xx,
    CASE WHEN paired THEN ',0' ELSE '' END,
    ';faf95=', format('{{:.5e}}', ac / an * 0.9), CASE WHEN paired THEN ',0.00000e+00' ELSE '' END,
    CASE WHEN d4 % 12 = 0 THEN ';lcr' ELSE '' END, ';vep=',
    concat_ws(',', {entry0}, CASE WHEN d5 % 4 > 0 THEN {entry1} END, CASE WHEN d5 % 4 > 2 THEN {entry2} END))) AS line
FROM ({split})
"""
_GENE = "(pos // 40000)"
_ENTRY = """concat(alt1, {told}, 'GENE', {gene}, '|ENSG', lpad(({gene} * 131)::VARCHAR, 11, '0'), '|Transcript|ENST',
    lpad(({gene} * 977 + {entry})::VARCHAR, 11, '0'), '|protein_coding|', 1 + pos // 900 % 12, '/12||ENST',
    lpad(({gene} * 977 + {entry})::VARCHAR, 11, '0'), '.4:c.', 1 + pos % 3000, here, '>', alt1, '|ENSP',
    lpad(({gene} * 811 + {entry})::VARCHAR, 11, '0'), '.2:p.Ala', 1 + pos % 1000, 'Thr|', 120 + pos % 3000, '|',
    1 + pos % 3000, '|', 1 + pos % 1000, '|A/T|Gcc/Acc|1||1|', kind, '|{canonical}|ENSP',
    lpad(({gene} * 811 + {entry})::VARCHAR, 11, '0'))"""
_TOLD = (
    "['|missense_variant|MODERATE|', '|synonymous_variant|LOW|', '|intron_variant|MODIFIER|', "
    "'|missense_variant&splice_region_variant|MODERATE|', '|stop_gained|HIGH|']"
    "[1 + (hash(i, {entry} + 11) % 5)::BIGINT]"
)


def write(path: Path, records: int) -> Path:
    """Write so many records, sorted by position; a file that is already there is taken as it is."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.part")
        with unfinished.open("wb") as file, compressed(file) as text:
            text.write(header().encode())
            text.flush()
            copy = f"COPY ({_sql(records)}) TO '/dev/stdout' (FORMAT csv, HEADER false, DELIMITER '\x01', QUOTE '')"
            subprocess.run([sys.executable, "-c", _RUN_SQL, copy], stdout=text, check=True)
        unfinished.rename(path)
    return path


def header() -> str:
    """The meta-information and the line of column names."""
    declared = {**INFO, **{name: kind for name, kind in _DECLARED_ONLY.items() if name not in INFO}}
    lines = ["##fileformat=VCFv4.2", "##source=synthetic, gnomAD dialect"]
    lines += [f'##FILTER=<ID={name},Description="synthetic">' for name in ("AC0", "AS_VQSR", "InbreedingCoeff")]
    for name, kind in declared.items():
        number, _, type_ = kind.partition(",")
        said = f"Consequence annotations from Ensembl VEP. Format: {VEP}" if name == "vep" else f"synthetic {name}"
        lines.append(f'##INFO=<ID={name},Number={number},Type={type_},Description="{said}">')
    lines.append(f"##contig=<ID={CONTIG},length={LENGTH},assembly=GRCh38>")
    return "\n".join([*lines, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]) + "\n"


def _sql(records: int) -> str:
    step = (LENGTH - 20_000) // max(records, 1)
    drawn = _DRAWN.format(step=step, spread=max(step - 2, 1), records=records)
    split = _SPLIT.format(counted=_COUNTED.format(drawn=drawn))
    entries = {
        f"entry{entry}": _ENTRY.format(
            told=_TOLD.format(entry=entry), gene=_GENE, entry=entry, canonical="|" if entry else "YES|NM_00123.4"
        )
        for entry in range(3)
    }
    return _LINES.format(split=split, **entries)


@contextmanager
def compressed(file: BinaryIO) -> Iterator[IO[bytes]]:
    """Where to write text for it to arrive in a file as BGZF."""
    command = ["bgzip", "-c", "-@2"] if shutil.which("bgzip") else [sys.executable, "-m", __name__, "--compress"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
    assert process.stdin is not None
    try:
        yield process.stdin
    finally:
        process.stdin.close()
        code = process.wait()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")


def _write_blocks(text: BinaryIO, file: BinaryIO) -> None:
    """The blocks of BGZF, where bgzip is not installed (SAM specification, section 4.1)."""
    while part := text.read(_BGZF_BLOCK):
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        data = deflate.compress(part) + deflate.flush()
        file.write(struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(data) + 25))
        file.write(data + struct.pack("<II", zlib.crc32(part), len(part)))
    file.write(_BGZF_END)


@click.command()
@click.argument("out", type=click.Path(path_type=Path), required=False)
@click.option("--records", default=1_000_000, show_default=True)
@click.option("--compress", is_flag=True, help="Compress standard input to standard output.")
def main(out: Path | None, records: int, compress: bool) -> None:
    """Write synthetic VCF to OUT."""
    if compress:
        _write_blocks(sys.stdin.buffer, sys.stdout.buffer)
    elif out is None:
        raise click.UsageError("say where to")
    else:
        write(out, records)
        click.echo(f"{out}: {records:,} records, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
