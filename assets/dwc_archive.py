"""The files of a snapshot, whether a zip, a folder or one file, each read as a stream; nothing is ever extracted.

What an archive could do to its reader is refused here: paths that lead out of it, links, encryption, members that
overlap or expand beyond all measure. What the files mean is ``assets.dwc_meta``'s concern.
"""

from __future__ import annotations

import gzip
import posixpath
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, cast

from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

MAX_RATIO = 500
FREE_SIZE = 64 << 20
"""Text up to this many bytes may be compressed to any ratio."""
MAX_SIZE = 4 << 40
MAX_DIRECTORY = 128 << 20
"""Bytes of a zip's central directory, which is read whole: about a million names."""

_GZIP = b"\x1f\x8b"
_TROUBLES = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError, struct.error)
_OUTSIDE = re.compile(r"^[/~]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*://|(^|/)\.\.(/|$)|\0")


class Stream:
    """The bytes of one file, unpacked; what goes wrong on the way is said as a SourceError."""

    def __init__(self, name: str, stored: int, open_raw: Callable[[], IO[bytes]]) -> None:
        self.name = name
        self._stored = stored
        self._taken = 0
        self._stack = ExitStack()
        try:
            self._raw = self._unpacked(self._stack.enter_context(open_raw()))
        except _TROUBLES as error:
            raise self._damaged(error) from error

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none only at the end.

        Raises:
            SourceError: it is cut short or damaged, or expands beyond ``MAX_RATIO`` or ``MAX_SIZE``.
        """
        try:
            data = self._raw.read(size)
        except _TROUBLES as error:
            raise self._damaged(error) from error
        self._taken += len(data)
        refuse_bomb(self.name, self._stored, self._taken)
        return data

    def _unpacked(self, raw: IO[bytes]) -> IO[bytes]:
        head = raw.read(2)
        raw.seek(0)
        if head != _GZIP:
            return raw
        return cast("IO[bytes]", self._stack.enter_context(gzip.open(raw)))

    def _damaged(self, error: Exception) -> SourceError:
        return SourceError(f"{self.name} cannot be read: it is cut short or damaged ({error})", "fetch it again")


def refuse_bomb(name: str, stored: int, size: int) -> None:
    """Raise SourceError where ``size`` bytes of text are more than ``stored`` bytes may honestly hold."""
    if size > MAX_SIZE or (size > FREE_SIZE and size > MAX_RATIO * max(stored, 1)):
        raise SourceError(
            f"{name} expands from {stored} to {size} bytes or more; at most {MAX_RATIO} times its size "
            f"and {MAX_SIZE >> 30} GB are read",
            "check that the archive is what its publisher made; if it is, unpack it and give the folder",
        )


class _Member(NamedTuple):
    stored: int
    open_raw: Callable[[], IO[bytes]]


class Archive:
    """Files by name. A name is a path from the top of the archive, with ``/`` between folders.

    Files of macOS (``__MACOSX``) and names that begin with a dot do not count.

    Raises:
        SourceError: it is no archive, has no files, or its names or members are not to be trusted.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        if not snapshot.files:
            raise SourceError(f"{snapshot.uri} has no files", "check source.uri")
        lone = snapshot.files[0] if len(snapshot.files) == 1 else None
        self.is_single = lone is not None and not _is_zip(lone)
        self._stack = ExitStack()
        if lone is not None and not self.is_single:
            self.name, members = lone.name, self._zip_members(lone)
        else:
            self.name = lone.name if lone else snapshot.uri
            members = [(file.name, _Member(file.size, _opener(file.path))) for file in snapshot.files]
        names = [(_safe(self.name, name), member) for name, member in members]
        shown = [(name, member) for name, member in names if _is_shown(name)]
        if not shown:
            raise SourceError(f"{self.name} is an archive without files", "check source.uri, or ask its publisher")
        self._times = Counter(name for name, _ in shown)
        self._members = dict(shown)
        tops = {name.partition("/")[0] if "/" in name else "" for name in self._times}
        self._wrapping = f"{tops.pop()}/" if len(tops) == 1 else ""

    @property
    def names(self) -> list[str]:
        """The names of its files, sorted; a name that it holds twice is there twice."""
        return sorted(self._times.elements())

    def shown(self, name: str) -> str:
        """The name without the one folder that wraps the whole archive, if one does."""
        return name.removeprefix(self._wrapping)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def close(self) -> None:
        """Close the zip, if it is one."""
        self._stack.close()

    def open(self, name: str) -> Stream:
        """One file as a stream of bytes; gzip is unpacked.

        Raises:
            SourceError: there are two of that name, it is encrypted or damaged, or in an unknown compression.
        """
        if self._times[name] > 1:
            raise SourceError(
                f"{self.name} holds {name} {self._times[name]} times, and nothing tells which is meant",
                "ask its publisher for an archive with one",
            )
        member = self._members[name]
        return Stream(name, member.stored, member.open_raw)

    def locate(self, base: str, location: str) -> str:
        """The name of what ``meta.xml`` in folder ``base`` calls ``location``; it need not be there.

        Raises:
            SourceError: it lies outside of the archive.
        """
        return posixpath.normpath(posixpath.join(base, _safe(self.name, location.strip())))

    def _zip_members(self, file: SourceFile) -> list[tuple[str, _Member]]:
        _refuse_huge_directory(file)
        try:
            archive = self._stack.enter_context(zipfile.ZipFile(file.path))
        except (*_TROUBLES, ValueError) as error:
            raise SourceError(
                f"{file.name} is not a whole zip: it is cut short or damaged ({error})", "fetch it again"
            ) from error
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if sum(info.compress_size for info in infos) > file.size:
            raise SourceError(
                f"{file.name} has members that overlap, as a zip bomb's do", "do not trust it; ask its publisher"
            )
        refuse_bomb(file.name, file.size, sum(info.file_size for info in infos))
        return [(info.orig_filename, self._member(archive, file.name, info)) for info in infos]

    def _member(self, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> _Member:
        if stat.S_ISLNK(info.external_attr >> 16):
            raise SourceError(
                f"{name} holds {info.filename!r}, a symbolic link; links are not followed",
                "ask its publisher for an archive of plain files",
            )

        def open_raw() -> IO[bytes]:
            if info.flag_bits & 1:
                raise SourceError(f"{name}: {info.filename} is encrypted", "give an archive without a password")
            refuse_bomb(f"{name}: {info.filename}", info.compress_size, info.file_size)
            return archive.open(info)

        return _Member(info.compress_size, open_raw)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _is_zip(file: SourceFile) -> bool:
    """Told by the first bytes; a file that is a zip by its name only is refused later, in zip's own words."""
    try:
        with file.path.open("rb") as raw:
            return raw.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or file.name.lower().endswith(".zip")
    except OSError as error:
        raise SourceError(f"{file.name} cannot be opened: {error}", "fetch it again") from error


def _refuse_huge_directory(file: SourceFile) -> None:
    """Raise SourceError where the list of names alone would fill the memory; ``zipfile`` reads it whole."""
    with file.path.open("rb") as raw:
        raw.seek(max(0, file.size - 65_557))
        tail = raw.read()
    at = tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    wide = tail.rfind(b"PK\x06\x06", 0, at) if at >= 0 else -1
    if size == 0xFFFFFFFF and wide >= 0:
        size = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    if size > MAX_DIRECTORY:
        raise SourceError(
            f"{file.name} has a list of names of {size} bytes, more than the {MAX_DIRECTORY} that are read",
            "unpack it and give the folder",
        )


def _safe(archive: str, name: str) -> str:
    """The name with ``/`` as its separator; raises SourceError for a path that leads out of the archive."""
    path = name.replace("\\", "/")
    if _OUTSIDE.search(path) or not path:
        raise SourceError(
            f"{archive} names the path {name!r}, which leads out of the archive",
            "do not trust it; ask its publisher for an archive with plain relative paths",
        )
    return posixpath.normpath(path)


def _is_shown(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
