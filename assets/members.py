"""The files that a snapshot holds: itself, those of a folder, or the members of a zip or tar archive.

Archive members are streamed and never written to disk, so their names cannot reach outside of anything. What is
packed with gzip is unpacked on the way.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, RuntimeError)
"""What reading a damaged file or archive raises; a RuntimeError is that of an encrypted member."""


class Member(NamedTuple):
    """One file: where it stands, whether it is the whole source, its bytes as they lie there, and its name."""

    place: str
    is_source: bool
    stream: IO[bytes]
    name: str


def members(snapshot: Snapshot, is_wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The wanted files, one after the other; each stream ends with the next.

    A source of one file that is no archive is wanted whatever its name.

    Raises:
        SourceError: an archive is damaged (while iterating).
    """
    for file in snapshot.files:
        try:
            yield from _of_file(file, len(snapshot.files) == 1, is_wanted)
        except DAMAGED as error:
            raise damaged(file.name, error) from error


def damaged(place: str, error: Exception) -> SourceError:
    """The error for a file that cannot be read to its end."""
    return SourceError(f"{place} cannot be read: {error}", "it is cut short or damaged: fetch it again")


def unpacked(stream: IO[bytes]) -> IO[bytes]:
    """A stream without its gzip packing, if it has one."""
    buffered = io.BufferedReader(stream) if not hasattr(stream, "peek") else stream  # type: ignore[type-var]
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    return buffered


def _of_file(file: SourceFile, alone: bool, is_wanted: Callable[[str], bool]) -> Iterator[Member]:
    named = is_wanted(file.name)
    if not named and zipfile.is_zipfile(file.path):
        with zipfile.ZipFile(file.path) as archive:
            for member in archive.infolist():
                if not member.is_dir() and is_wanted(member.filename):
                    with archive.open(member) as stream:
                        yield Member(f"{file.name} {member.filename}", False, stream, member.filename)
    elif not named and _is_tar(file.path):
        with tarfile.open(file.path, "r|*") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() and is_wanted(entry.name) else None
                if content is not None:
                    yield Member(f"{file.name} {entry.name}", False, content, entry.name)
    elif named or alone:
        with file.path.open("rb") as stream:
            yield Member(file.name, alone, stream, file.name)


def _is_tar(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(512)
    packed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))
    return (packed or head[257:262] == b"ustar") and tarfile.is_tarfile(path)
