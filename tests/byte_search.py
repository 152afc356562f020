"""Search through every byte: of a folder's files as they are, and decoded in every way that their kind allows."""

import contextlib
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

Bytes = Iterator[tuple[str, bytes]]
_ZSTD = b"\x28\xb5\x2f\xfd"


def hits(found: Iterable[tuple[str, bytes]], secrets: dict[str, bytes]) -> list[str]:
    """Which secrets stand where. Letters count alike in both cases, for text that was folded on its way."""
    told = []
    for where, content in found:
        folded = content.lower()
        for name, secret in secrets.items():
            if (secret in content) if "double" in name else (secret.lower() in folded):
                told.append(f"{name} in {where}")
    return told


def every_byte(folder: Path) -> Bytes:
    """All files below a folder with their names: as they are, and decoded in every way that their kind allows."""
    for path in sorted(folder.rglob("*")):
        where = str(path.relative_to(folder))
        yield f"the name {where}", where.encode()
        if path.is_file():
            content = path.read_bytes()
            yield where, content
            yield from _decoded(where, path, content)


def _decoded(where: str, path: Path, content: bytes) -> Bytes:
    if content[:4] == b"PAR1":
        yield from ((f"{where}, {part}", told) for part, told in parquet_bytes(path, content))
    elif content[8:12] == b"DUCK":
        yield f"{where}, asked", duckdb_bytes(path)
    elif content.startswith(b"SQLite format 3"):
        yield from ((f"{where}, {part}", told) for part, told in sqlite_bytes(path))
    elif content.startswith(b"\x1f\x8b"):
        yield f"{where}, unpacked", zlib.decompress(content, 31)


def parquet_bytes(path: Path, content: bytes) -> Bytes:
    """Values, dictionaries with entries that no row uses, footer, statistics, every page unpacked."""
    with pq.ParquetFile(path) as file:
        told = [file.metadata.to_dict(), file.metadata.metadata, file.schema_arrow.metadata, file.schema_arrow]
        texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        yield "footer", "\n".join(map(str, told)).encode()
        yield "values", values_bytes(file.read())
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for group in range(file.num_row_groups):
            for name, column in zip(texts, file.read_row_group(group, columns=texts).columns, strict=True):
                for chunk in column.chunks:
                    yield f"dictionary of {name}", str(chunk.dictionary.to_pylist()).encode()
    with duckdb.connect() as connection:
        for what in ("parquet_metadata", "parquet_kv_metadata", "parquet_schema", "parquet_file_metadata"):
            yield what, str(connection.execute(f"FROM {what}(?)", [str(path)]).fetchall()).encode()
    yield "pages", b"\n".join(unpacked_pages(content))


def unpacked_pages(content: bytes) -> Iterator[bytes]:
    """Every zstd frame, as long as its header (RFC 8878, 3.1.1) says."""
    start = content.find(_ZSTD)
    while start >= 0:
        described = content[start + 4]
        single = described >> 5 & 1
        at = start + 5 + (1 - single) + (0, 1, 2, 4)[described & 3]
        width = (single, 2, 4, 8)[described >> 6]
        size = int.from_bytes(content[at : at + width], "little") + (256 if width == 2 else 0)
        with contextlib.suppress(OSError, pa.ArrowException):
            yield pa.input_stream(pa.BufferReader(content[start:]), compression="zstd").read(min(size, 1 << 26))
        start = content.find(_ZSTD, start + 4)


def values_bytes(table: pa.Table) -> bytes:
    """All values as text, and numbers as their eight bytes."""
    parts = [str(table.schema)]
    doubles = bytearray()
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_pylist()
        parts.append(f"{name}: {' '.join(str(value) for value in values if value is not None)}")
        doubles += b"".join(struct.pack("<d", value) for value in values if isinstance(value, float))
    return "\n".join(parts).encode() + bytes(doubles)


def duckdb_bytes(path: Path) -> bytes:
    told = []
    with duckdb.connect(str(path), read_only=True) as connection, tempfile.TemporaryDirectory() as folder:
        for what in ("views", "tables", "columns", "schemas", "types"):
            told += connection.execute(f"FROM duckdb_{what}() WHERE NOT internal").fetchall()
        names = connection.execute("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        for schema, name in names:
            with contextlib.suppress(duckdb.Error):
                told.append(connection.execute(f'FROM "{schema}"."{name}"').fetchall())
        connection.execute(f"EXPORT DATABASE '{folder}'")
        told += [each.read_text() for each in Path(folder).iterdir()]
    return "\n".join(map(str, told)).encode()


def sqlite_bytes(path: Path) -> Bytes:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{name}"'):
                for value in row:
                    if isinstance(value, bytes):
                        with contextlib.suppress(zlib.error):
                            yield name, zlib.decompress(value)
                yield name, "\x1f".join(map(str, row)).encode()
