"""Writes AlphaMissense's table of missense variants on GRCh38: same layout and order, made-up values.

Each position has three alternates, each protein 450 residues on one transcript. The values follow from the row number
alone, so that the same count always gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

HEADER = (
    *("CHROM", "POS", "REF", "ALT", "genome", "uniprot_id", "transcript_id", "protein_variant"),
    *("am_pathogenicity", "am_class"),
)
_COMMENTS = "# Copyright 2023 DeepMind Technologies Limited\n#\n# Licensed under CC BY-NC-SA 4.0 license\n"
_CODING = 3 * 450
_ROWS = """
SELECT
    'chr' || CASE chromosome WHEN 23 THEN 'X' WHEN 24 THEN 'Y' ELSE chromosome::VARCHAR END AS "{comments}#CHROM",
    -- Exons of 150 bases, introns of 1350.
    69091 + place + place // 150 * 1350 AS POS,
    'ACGT'[1 + base] AS REF,
    'ACGT'[1 + (base + 1 + i % 3) % 4] AS ALT,
    'hg38' AS genome,
    format('{}{:d}{}{}{}{:d}', 'OPQ'[1 + protein % 3], protein % 10, 'ABCDEFGHIJ'[1 + (protein // 10 % 10)::INTEGER],
        'KLMNPQRSTV'[1 + (protein // 100 % 10)::INTEGER], 'ACDEFGHIKLMNPQRSTVWY'[1 + (protein // 1000 % 20)::INTEGER],
        protein // 20000 % 10) AS uniprot_id,
    format('ENST{:011d}.{:d}', 335137 + protein * 37, 1 + protein % 9) AS transcript_id,
    format('{}{:d}{}', 'ACDEFGHIKLMNPQRSTVWY'[1 + (hash(place // 3, protein) % 20)::INTEGER], 1 + place % {coding} // 3,
        -- Another amino acid than the one before.
        'ACDEFGHIKLMNPQRSTVWY'[1 + ((hash(place // 3, protein) % 20 + 1 + hash(i) % 19) % 20)::INTEGER])
        AS protein_variant,
    score AS am_pathogenicity,
    CASE WHEN score < 0.34 THEN 'likely_benign' WHEN score > 0.564 THEN 'likely_pathogenic' ELSE 'ambiguous' END
        AS am_class
FROM (
    SELECT i, 1 + i // 3 // {each} AS chromosome, i // 3 % {each} AS place, i // 3 // {coding} AS protein,
        (hash(i // 3) % 4)::INTEGER AS base, round((hash(i, 1) % 10000) / 10000.0, 4) AS score
    FROM range({rows}) AS numbers(i)
)
"""


def write_alphamissense(path: Path, rows: int) -> Path:
    """Write so many rows over 24 chromosomes; a file that is already there is taken as it is."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # As many positions on each chromosome, in whole proteins.
        each = -(-rows // 3 // 24 // _CODING) * _CODING or _CODING
        sql = _ROWS.replace("{rows}", str(rows)).replace("{each}", str(each)).replace("{coding}", str(_CODING))
        sql = sql.replace("{comments}", _COMMENTS)
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT csv, DELIMITER '\t', HEADER, QUOTE '', ESCAPE '')")
    return path
