"""How a user would turn gnomAD-like VCF into Parquet with the libraries there are, each in its fastest documented way.

Runs in an environment of its own (see benchmarks.peers) and thus knows nothing of Winnow:
``python conversions.py PEER SOURCE TARGET DECLARED``, where DECLARED is the INFO keys with number and type, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

ROW_GROUP_ROWS = 122_880
BATCH = 65_536


def cyvcf2(source: str, target: str, declared: dict[str, str]) -> None:
    """A loop over records, with decompression in a thread of htslib's."""
    pa, pq = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    types = {"Integer": pa.int32(), "Float": pa.float32(), "String": pa.string(), "Flag": pa.bool_()}
    schema = [("CHROM", pa.string()), ("POS", pa.int64()), ("ID", pa.string()), ("REF", pa.string())]
    schema += [("ALT", pa.string()), ("QUAL", pa.float32()), ("FILTER", pa.string())]
    numbers = {name: kind.partition(",")[0] for name, kind in declared.items()}
    for name, kind in declared.items():
        plain = types[kind.partition(",")[2]]
        schema.append((name, pa.list_(plain) if numbers[name] == "A" else plain))
    whole = pa.schema(schema)
    with pq.ParquetWriter(target, whole, compression="zstd") as writer:
        rows: list[tuple[Any, ...]] = []

        def flush() -> None:
            columns = [
                pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), whole, strict=True)
            ]
            writer.write_table(pa.table(columns, schema=whole))
            rows.clear()

        for record in importlib.import_module("cyvcf2").VCF(source, threads=os.cpu_count()):
            info = record.INFO
            values = []
            for name, number in numbers.items():
                value = info.get(name)
                if number == "A":
                    value = list(value) if isinstance(value, tuple) else None if value is None else [value]
                elif number == "0":
                    value = bool(value)
                values.append(value)
            fixed = (record.CHROM, record.POS, record.ID, record.REF, ",".join(record.ALT), record.QUAL, record.FILTER)
            rows.append((*fixed, *values))
            if len(rows) == ROW_GROUP_ROWS:
                flush()
        if rows:
            flush()


def oxbow(source: str, target: str, declared: dict[str, str]) -> None:
    """Arrow batches of the wanted fields, to Arrow's writer."""
    pa, pq = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    found = importlib.import_module("oxbow").from_vcf(source, "bgzf", info_fields=list(declared), batch_size=BATCH)
    writer = None
    for given in found.batches():
        batch = pa.record_batch(given)
        info = batch["info"]
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        del columns["info"]
        columns |= dict(zip([field.name for field in info.type], info.flatten(), strict=True))
        rows = pa.table(columns)
        writer = writer or pq.ParquetWriter(target, rows.schema, compression="zstd")
        writer.write_table(rows)
    if writer is not None:
        writer.close()


def polars_bio(source: str, target: str, declared: dict[str, str]) -> None:
    """A lazy scan of the wanted fields, streamed to Polars' writer; in parallel where the file has an index."""
    pb = importlib.import_module("polars_bio")
    pb.set_option(pb.POLARS_BIO_MAX_THREADS, str(os.cpu_count()))
    frame = pb.scan_vcf(source, info_fields=list(declared))
    frame.sink_parquet(target, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def duckdb(source: str, target: str, declared: dict[str, str]) -> None:
    """``read_csv`` of the eight columns, and an expression for each INFO key."""
    types = {"Integer": "INTEGER", "Float": "DOUBLE", "String": "VARCHAR"}
    wanted = []
    for name, kind in declared.items():
        number, _, type_ = kind.partition(",")
        value = f"nullif(regexp_extract(INFO, '(?:^|;){name}=([^;]*)', 1), '')"
        if number == "0":
            value = f"contains(';' || INFO || ';', ';{name};')"
        elif number == "A":
            value = f"string_split({value}, ',')::{types[type_]}[]"
        elif type_ != "String":
            value = f"{value}::{types[type_]}"
        wanted.append(f'{value} AS "{name}"')
    names = "{'CHROM': 'VARCHAR', 'POS': 'BIGINT', 'ID': 'VARCHAR', 'REF': 'VARCHAR', 'ALT': 'VARCHAR', "
    names += "'QUAL': 'DOUBLE', 'FILTER': 'VARCHAR', 'INFO': 'VARCHAR'}"
    read = f"read_csv('{source}', delim='\t', quote='', escape='', comment='#', header=false, nullstr='.', "
    read += f"auto_detect=false, compression='gzip', columns={names})"
    engine = importlib.import_module("duckdb")
    engine.execute("SET enable_progress_bar=false")
    engine.execute(
        f"COPY (SELECT CHROM, POS, ID, REF, ALT, QUAL, FILTER, {', '.join(wanted)} FROM {read}) "
        f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
    )


if __name__ == "__main__":
    peer = {"cyvcf2": cyvcf2, "oxbow": oxbow, "polars-bio": polars_bio, "duckdb": duckdb}[sys.argv[1]]
    peer(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
