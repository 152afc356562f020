"""Where a release is put: a folder that appears whole or not at all, or a prefix in an object store, sums last."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import fsspec

from catalog.errors import ReleaseError, how_to_install
from catalog.manifest import CATALOG, LARGEST, MANIFEST, SUMS, parse_manifest, parse_sums, sums_text
from catalog.store import is_local, storing

_CHUNK = 4 << 20


def open_address(address: str) -> tuple[Any, str]:
    """The fsspec file system of a release's address, and the path in it; local paths come absolute.

    Raises:
        ReleaseError: there is no such kind of address here.
    """
    options = {"use_listings_cache": False} if "://" in address and not address.startswith("file:") else {}
    try:
        filesystem, path = fsspec.core.url_to_fs(address, **options)
    except (ImportError, ValueError, OSError) as error:  # some kinds connect at once
        remedy = "give a folder or an s3:// address; for the latter " + how_to_install("s3")
        raise ReleaseError(f"{address} cannot be opened: {error}", remedy) from None
    return filesystem, (os.path.realpath(path) if is_local(filesystem) else str(path).rstrip("/"))


def refuse_private(address: str, private: Sequence[str]) -> None:
    """Refuse an address among private bytes, or above them: a release lies where anyone may read.

    Raises:
        ReleaseError: it lies there.
    """
    filesystem, path = open_address(address)
    for root in private:
        other, held = open_address(root)
        if type(other) is not type(filesystem):
            continue
        if f"{path}/".startswith(f"{held}/") or f"{held}/".startswith(f"{path}/"):
            raise ReleaseError(
                f"a release cannot lie in {address}: {root} holds bytes that may be withheld",
                "give `--out` a folder of its own, apart from the warehouse and the raw files",
            )


class ReleaseFolder:
    """Takes a release's files, sums them, and shows them at the address when all are there.

    Used as a context: leaving it by an error, interrupts included, removes what was written. Where an object store
    holds a release already and ``force`` is not said, files are only summed, to tell whether they are the same.

    Raises:
        ReleaseError: the address holds something else already.
        StorageError: the disk or the object store did not take the bytes.
    """

    def __init__(self, address: str, name: str, scratch: Path, force: bool = False) -> None:
        self.address = address
        self.sums: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self._filesystem, self._root = open_address(address)
        self._local = is_local(self._filesystem)
        self._scratch, self._force, self._dry = scratch, force, False
        self._lock = threading.Lock()
        root = Path(self._root)
        self._partial = root.with_name(f".{root.name}.{name}.partial")
        self._uploaded: list[str] = []

    def __enter__(self) -> ReleaseFolder:
        with self._storing():
            self._held = self._sums_held()
            if self._local:
                shutil.rmtree(self._partial, ignore_errors=True)
                self._partial.mkdir(parents=True)
            elif self._held is not None and self._force:
                self._invalidate(self._held)
            else:
                self._dry = self._held is not None
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._workshop = Path(tempfile.mkdtemp(dir=self._scratch))
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        shutil.rmtree(self._workshop, ignore_errors=True)
        if self._local:
            shutil.rmtree(self._partial, ignore_errors=True)
        elif kind is not None:
            for path in self._uploaded:
                with contextlib.suppress(Exception):  # the error that brought us here is the one to tell
                    self._filesystem.rm_file(f"{self._root}/{path}")

    def _storing(self) -> contextlib.AbstractContextManager[None]:
        return storing(f"writing {self.address}", self._scratch)

    def _sums_held(self) -> dict[str, str] | None:
        """The sums of the release that lies at the address; None if nothing does."""
        filesystem, root = self._filesystem, self._root
        if not filesystem.exists(root) or (filesystem.isdir(root) and not filesystem.find(root, maxdepth=2)):
            return None
        if not (filesystem.exists(f"{root}/{MANIFEST}") and filesystem.exists(f"{root}/{SUMS}")):
            remedy = "give `--out` a folder that is not there yet"
            raise ReleaseError(f"{self.address} holds something that is no release, which stays as it is", remedy)
        parse_manifest(read_small(filesystem, f"{root}/{MANIFEST}", self.address), self.address)
        return parse_sums(read_small(filesystem, f"{root}/{SUMS}", self.address), self.address)

    # -- taking files -------------------------------------------------------------------------------

    def take(self, path: str, filesystem: Any, source: str) -> None:
        """Take a file as it is: linked on the same disk, else copied byte for byte."""
        with self._storing():
            if self._dry or (self._local and is_local(filesystem) and self._linked(path, source)):
                with filesystem.open(source, "rb") as file:
                    self._note(path, *_digest(file))
                return
            with filesystem.open(source, "rb") as file, self._sink(path) as sink:
                self._note(path, *_digest(file, sink))

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """A local path to write a new file to; taken when the block ends."""
        local = self._partial / path if self._local and not self._dry else self._workshop / path
        local.parent.mkdir(parents=True, exist_ok=True)
        with self._storing():
            yield local
            with local.open("rb") as file:
                self._note(path, *_digest(file))
            if not (self._local or self._dry):
                self._uploaded.append(path)
                self._filesystem.put_file(str(local), f"{self._root}/{path}")
            if not self._local or self._dry:
                local.unlink()

    def _linked(self, path: str, source: str) -> bool:
        target = self._partial / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            return False  # another disk, or one without links
        return True

    @contextlib.contextmanager
    def _sink(self, path: str) -> Iterator[BinaryIO]:
        if self._local:
            target = self._partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                yield file
        else:
            self._uploaded.append(path)
            with self._filesystem.open(f"{self._root}/{path}", "wb") as file:
                yield file

    def _note(self, path: str, digest: str, size: int) -> None:
        with self._lock:
            self.sums[path], self.sizes[path] = digest, size

    # -- showing them -------------------------------------------------------------------------------

    def finish(self) -> bool:
        """Write the sums and show the release; False if the same lies at the address already, byte for byte.

        Raises:
            ReleaseError: another release lies there, and ``force`` was not said.
        """
        if self._held == self.sums:
            return False
        if self._held is not None and not self._force:
            differ = {path for path in {*self._held, *self.sums} if self._held.get(path) != self.sums.get(path)}
            if differ == {CATALOG}:
                remedy = f"only its views' address differs: `winnow release --rebase {self.address}`, with `--base-url`"
            else:
                remedy = "give another `--out`, or `--force` to put this one in its place"
            raise ReleaseError(f"another release lies in {self.address}", remedy)
        text = sums_text(self.sums).encode()
        with self._storing():
            if self._local:
                (self._partial / SUMS).write_bytes(text)
                self._show()
            else:
                self._uploaded.append(SUMS)
                self._filesystem.pipe_file(f"{self._root}/{SUMS}", text)
        return True

    def remove(self) -> None:
        """Take away what ``finish`` has shown."""
        with self._storing():
            if self._local:
                Path(self._root).rename(self._partial)
                shutil.rmtree(self._partial)
            else:
                self._invalidate(self.sums)

    def _show(self) -> None:
        root = Path(self._root)
        replaced = root.with_name(f".{root.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        if self._held is not None:
            root.rename(replaced)
        try:
            self._partial.rename(root)
        except OSError:
            if self._held is not None:
                replaced.rename(root)
            raise
        shutil.rmtree(replaced, ignore_errors=True)

    def _invalidate(self, held: dict[str, str]) -> None:
        """Remove the release that an object store holds, sums first, so that no mixture of two ever looks whole."""
        for path in (SUMS, MANIFEST, *sorted(set(held) - {MANIFEST})):
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm_file(f"{self._root}/{path}")


def read_small(filesystem: Any, path: str, where: str) -> bytes:
    """The bytes of a manifest or a list of sums. Raises ReleaseError if it is larger than any can be."""
    with filesystem.open(path, "rb") as file:
        text: bytes = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ReleaseError(f"{where}: {path.rpartition('/')[2]} is larger than {LARGEST} bytes", "fetch it again")
    return text


def _digest(file: BinaryIO, sink: BinaryIO | None = None) -> tuple[str, int]:
    """sha256 and size of a file, which is copied on the way if there is a sink."""
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
        size += count
        if sink is not None:
            sink.write(buffer[:count])
    return digest.hexdigest(), size
