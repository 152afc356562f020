"""The fetch stage: a source's bytes, unedited, into a content-addressed store.

::

    raw/ab/abcd...          stored bytes, named by their sha256
    raw/partial/<digest>    an unfinished download, which the next fetch of the same thing resumes
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import TextIO

from assets.source import Address, Listing, Remote, ShortReadError, Source, digest_of
from catalog.errors import ChecksumMismatchError, SourceError, StorageError
from catalog.records import Snapshot, SourceFile

__all__ = ["Address", "fetch", "probe", "prune", "prune_files"]

Progress = Callable[[int, int | None], None]

DAY = 24 * 3600.0


def probe(address: Address) -> str:
    """The validator of what lies at the address now, without a download.

    It is a digest of every file's name with its ETag, or with its size and time of change. Where a server
    tells neither an ETag nor a time, no two probes agree, so such a source is always downloaded.

    Raises:
        SourceError: it cannot be reached, is not there, or may not be read.
    """
    return Source("", address).listing().validator


def fetch(
    dataset: str,
    address: Address,
    raw: Path,
    previous: Snapshot | None,
    now: datetime,
    progress: Progress = lambda _done, _total: None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot:
    """Bring the source's bytes into the store under ``raw``, and say what they are.

    ``previous`` itself is returned, without a download, if the address still has its validator and the store
    its files. ``progress`` is called with the bytes so far and the total, or None where that is not known. A
    dropped connection or a failing server is tried three times; an interrupted download resumes in the next
    fetch. A local source is copied, so that a later edit does not reach the snapshot.

    Raises:
        SourceError: gone, empty, forbidden, out of reach, cut short, or changed meanwhile.
        ChecksumMismatchError: the content is not what ``address.sha256`` pins.
        StorageError: the disk did not take the bytes.
    """
    raw = raw.absolute()
    source = Source(dataset, address, sleep)
    listing = source.listing()
    if previous is not None and _still_holds(previous, source, listing, raw):
        source.check_pin(previous.sha256)
        return previous
    with _partial_folder(raw, address.uri) as folder:
        partials = {file: folder / digest_of(address.uri, str(file.validator), file.name) for file in listing.files}
        try:
            files = _download_all(source, partials, raw, progress)
            found = _content(files) if listing.is_folder else files[0].sha256
            source.check_pin(found)
        except (StorageError, ChecksumMismatchError):
            _discard(partials.values())
            raise
        with _storing(raw):
            for partial, file in zip(partials.values(), files, strict=True):
                file.path.parent.mkdir(exist_ok=True)
                partial.replace(file.path)
    return Snapshot(
        dataset=dataset,
        uri=address.uri,
        origin=address.origin,
        sha256=found,
        validator=listing.validator,
        size=sum(file.size for file in files),
        fetched_at=now,
        files=tuple(files),
    )


def prune(raw: Path, keep: Collection[str]) -> list[Path]:
    """Remove stored files whose sha256 is not in ``keep``, and partials untouched for a day.

    ``keep`` holds the sha256 of files, not of snapshots. Not to be called between a fetch and the moment that
    its files are in the caller's ``keep``. Returns the paths removed, sorted.

    Raises:
        StorageError: a file cannot be removed.
    """
    with _storing(raw):
        stored = (path for path in raw.glob("[0-9a-f][0-9a-f]/*") if re.fullmatch("[0-9a-f]{64}", path.name))
        yesterday = time.time() - DAY
        stale = (path for path in raw.glob("partial/*") if _touched(path) < yesterday)
        removed = sorted([*(path for path in stored if path.name not in keep), *stale])
        for path in removed:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return removed


def prune_files(raw: Path, gone: Collection[str]) -> list[Path]:
    """Remove the stored files that have one of these sha256. Returns the paths removed, sorted.

    Raises:
        StorageError: a file cannot be removed.
    """
    with _storing(raw):
        removed = sorted(path for path in (_stored(raw, sha256) for sha256 in gone) if path.exists())
        for path in removed:
            path.unlink(missing_ok=True)
    return removed


def _download_all(source: Source, partials: Mapping[Remote, Path], raw: Path, progress: Progress) -> list[SourceFile]:
    """Complete every partial, from a source that is the same before and after and is not empty."""
    sizes = [file.size for file in partials]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    needed = max(0, (total or 0) - sum(map(_size, partials.values())))
    with _storing(raw, needed):
        if shutil.disk_usage(raw).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    files: list[SourceFile] = []
    done = 0
    for file, partial in partials.items():
        files.append(_download(source, file, partial, raw, _shifted(progress, done, total)))
        done += files[-1].size
    _refuse_changed(source, partials)
    if not any(file.size for file in files):
        _discard(partials.values())
        raise SourceError(source.problem("is empty"), "correct source.uri, or ask the source's owner")
    return files


def _shifted(progress: Progress, done: int, total: int | None) -> Callable[[int], None]:
    return lambda size: progress(done + size, total)


def _refuse_changed(source: Source, partials: Mapping[Remote, Path]) -> None:
    now = {(file.name, file.validator) for file in source.listing().files}
    before = {(file.name, file.validator): partial for file, partial in partials.items()}
    if now == before.keys():
        return
    # What was read across the change may be half the one and half the other.
    _discard(before[key] for key in before.keys() - now)
    raise SourceError(source.problem("changed while it was fetched"), "run again")


def _download(source: Source, file: Remote, partial: Path, raw: Path, report: Callable[[int], None]) -> SourceFile:
    size, sha256 = source.persist(lambda: _attempt(source, file, partial, raw, report), lambda: _size(partial))
    return SourceFile(name=file.name, path=_stored(raw, sha256), size=size, sha256=sha256)


def _attempt(source: Source, file: Remote, partial: Path, raw: Path, report: Callable[[int], None]) -> tuple[int, str]:
    """Bring the partial to its full size; give that and its sha256."""
    with _storing(raw, file.size):
        # Unbuffered, so that an interrupt loses nothing that has arrived.
        out = partial.open("a+b", buffering=0)
    with out:
        if file.validator is None or _size(partial) > (file.size or sys.maxsize):
            out.truncate(0)
        out.seek(0)
        digest = hashlib.file_digest(out, "sha256")
        size = out.tell()
        if size and size == file.size:
            return size, digest.hexdigest()
        start, total, pieces = source.read(file, size)
        if start < size:
            out.truncate(0)
            size, digest = 0, hashlib.sha256()
        with ThreadPoolExecutor(1) as beside:
            for piece in pieces:
                hashed = beside.submit(digest.update, piece)
                with _storing(raw, (total or file.size or size) - size):
                    _write(out, piece)
                size += len(piece)
                report(size)
                hashed.result()
        with _storing(raw):
            os.fsync(out.fileno())
    promised = total if total is not None else file.size
    if promised and size != promised:
        raise ShortReadError(f"{size} of {promised} bytes")
    return size, digest.hexdigest()


def _write(out: FileIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[out.write(rest) :]


@contextmanager
def _storing(raw: Path, needed: int | None = None) -> Iterator[None]:
    """Say in the store's words what goes wrong while writing there; ``needed`` is in bytes."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"{raw} cannot be written: {error}", "check its path and permissions") from error
        much = f"{needed} more bytes are needed" if needed else "more room is needed"
        raise StorageError(
            f"the disk of {raw} is full: {much}, {shutil.disk_usage(raw).free} are free",
            "free some, run `winnow vacuum`, or move the warehouse to a larger disk",
        ) from error


@contextmanager
def _partial_folder(raw: Path, uri: str) -> Iterator[Path]:
    """Where this fetch may write: the first fetch of a uri in the shared folder, others in their own."""
    shared = raw / "partial"
    lock = shared / f"{digest_of(uri)}.lock"
    with _storing(raw):
        shared.mkdir(parents=True, exist_ok=True)
        held = lock.open("w")
    with held:
        if _is_first(held, lock):
            try:
                yield shared
            finally:
                lock.unlink(missing_ok=True)
            return
    with tempfile.TemporaryDirectory(dir=shared) as own:
        yield Path(own)


def _is_first(held: TextIO, lock: Path) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before may have removed the name between our open and our lock.
        return os.fstat(held.fileno()).st_ino == lock.stat().st_ino
    except OSError:
        return False


def _still_holds(previous: Snapshot, source: Source, listing: Listing, raw: Path) -> bool:
    then = (previous.dataset, previous.uri, previous.origin, previous.validator)
    now = (source.dataset, source.address.uri, source.address.origin, listing.validator)
    return then == now and all(
        file.path == _stored(raw, file.sha256) and file.path.is_file() and _size(file.path) == file.size
        for file in previous.files
    )


def _stored(raw: Path, sha256: str) -> Path:
    return raw / sha256[:2] / sha256


def _content(files: Iterable[SourceFile]) -> str:
    """The sha256 of a folder: of its manifest as sha256sum would print it."""
    lines = "".join(f"{file.sha256}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _touched(path: Path) -> float:
    """When it was last written to; the far future for what its owner has just removed."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _discard(partials: Iterable[Path]) -> None:
    for partial in partials:
        with suppress(OSError):
            partial.unlink()
