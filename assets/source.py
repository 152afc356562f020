"""What lies at an address, over fsspec: list it, read it from any byte on, say in words what goes wrong.

A folder (a local directory, or an ``s3://`` or ``gs://`` prefix) stands for all files below it, by relative
name and sorted; a name of which any part begins with a dot is skipped. Bytes are given as they are sent:
nothing is decompressed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import unquote, urlsplit

import fsspec

from catalog.errors import ChecksumMismatchError, SourceError, WinnowError, how_to_install
from catalog.records import Origin

T = TypeVar("T")

TRIES = 3
PIECE = 8 * 2**20
SOURCE = "source.uri"

_INSTALL = {"s3": how_to_install("s3"), "gs": "pip install gcsfs"}
_PROTOCOLS = ("file", "http", "https", *_INSTALL)


@dataclass(frozen=True)
class Address:
    """Where a source lies. ``sha256`` pins its content; ``storage_options`` go to its fsspec file system.

    ``setting`` is the line of the contract that says so, which a remedy names.
    """

    uri: str
    origin: Origin
    sha256: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    setting: str = SOURCE

    @property
    def protocol(self) -> str:
        """``file`` for a plain path, else what stands before ``://``."""
        found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", self.uri)
        return found[1].lower() if found else "file"


class Remote(NamedTuple):
    """One file at the source. ``stamp`` is its ETag, or else its time of change, as the source writes it."""

    name: str
    path: str
    size: int | None
    stamp: str | None

    @property
    def validator(self) -> str | None:
        """What tells this file from its next state, or None if nothing does."""
        return self.stamp and f"{self.stamp} {self.size}"


class Listing(NamedTuple):
    """The files at an address, sorted by name; never none."""

    files: tuple[Remote, ...]
    is_folder: bool
    validator: str


class ShortReadError(OSError):
    """Fewer bytes came than were promised."""


class Source:
    """One address, opened for one dataset: it lists, reads, and puts what goes wrong into words."""

    def __init__(self, dataset: str, address: Address, sleep: Callable[[float], None] = time.sleep) -> None:
        self.dataset, self.address, self.sleep = dataset, address, sleep

    @property
    def _is_http(self) -> bool:
        return self.address.protocol in ("http", "https")

    def problem(self, what: str) -> str:
        """A sentence that begins with the dataset and the uri."""
        subject = f"{self.dataset}: {self.address.uri}" if self.dataset else self.address.uri
        # A uri may hold a user's password.
        return re.sub(r"(?<=://)[^/@ ]*@", "", f"{subject} {what}")

    def check_pin(self, found: str) -> None:
        """Raise ChecksumMismatchError unless the content is what the address pins, if it pins any."""
        expected = (self.address.sha256 or found).lower()
        if found != expected:
            raise ChecksumMismatchError(
                self.problem(f"has sha256 {found}, but source.sha256 pins {expected}"),
                "find out what changed at the source; if it is right, update source.sha256",
            )

    @cached_property
    def _fs(self) -> Any:
        protocol = self.address.protocol
        if protocol not in _PROTOCOLS:
            works = ", ".join(f"{name}://" for name in _PROTOCOLS)
            raise SourceError(
                self.problem(f"cannot be fetched: there is no {protocol}:// here"),
                f"use a local path, {works}",
            )
        try:
            options = _options(protocol, dict(self.address.storage_options))
            # Cached listings and sessions would answer with what was there before.
            return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False, **options)
        except ImportError as error:
            remedy = _INSTALL.get(protocol, "install it")
            raise SourceError(self.problem(f"needs a package that is not installed: {error}"), remedy) from error

    def listing(self) -> Listing:
        """What is there now."""
        is_folder, files = self.persist(self._list, lambda: 0)
        if not files:
            other = ", or use --source" if self.address.setting == SOURCE else ""
            raise SourceError(self.problem("is a folder without files"), f"correct {self.address.setting}{other}")
        # A file that nothing tells apart from its next state gets a validator that never comes again.
        parts = [part for file in sorted(files) for part in (file.name, file.validator or uuid.uuid4().hex)]
        return Listing(tuple(sorted(files)), is_folder, digest_of(*parts))

    def _list(self) -> tuple[bool, list[Remote]]:
        path = self._fs._strip_protocol(self.address.uri)
        if self.address.protocol == "file":
            return _local(Path(path))
        if self._is_http:
            url = urlsplit(path)
            name = unquote(url.path).rstrip("/").rpartition("/")[2] or url.netloc
            return False, [_remote(name, self._fs.info(path))]
        info = {"type": "directory"} if self.address.uri.endswith("/") else self._fs.info(path)
        if info["type"] != "directory":
            return False, [_remote(path.rpartition("/")[2], info)]
        found = self._fs.find(path, detail=True)
        if not found:
            raise FileNotFoundError(path)
        below = {key.removeprefix(f"{path}/"): info for key, info in found.items() if key.startswith(f"{path}/")}
        return True, [_remote(name, info) for name, info in below.items() if _is_shown(name)]

    def read(self, file: Remote, start: int) -> tuple[int, int | None, Iterator[bytes]]:
        """From which byte the source really goes on, how many there are in all (if known), and the pieces."""
        if self._is_http:
            return self._read_http(file, start)
        return start, file.size, self._read_ranges(file, start)

    def between(self, file: Remote, start: int, end: int) -> bytes:
        """The bytes ``start`` to before ``end`` of a file, in one request.

        Raises:
            SourceError: they cannot be had, or another number of bytes came.
        """
        piece: bytes = self.persist(lambda: self._fs.cat_file(file.path, start=start, end=end), lambda: 0)
        if len(piece) != end - start:
            raise SourceError(
                self.problem(f"gave {len(piece)} bytes where {end - start} were asked for"),
                "check that it is complete, and that its server answers requests for a range",
            )
        return piece

    def _read_ranges(self, file: Remote, start: int) -> Iterator[bytes]:
        size = file.size or 0
        while start < size:
            piece = self._fs.cat_file(file.path, start=start, end=min(start + PIECE, size))
            if not piece:
                return
            yield piece
            start += len(piece)

    def _read_http(self, file: Remote, start: int) -> tuple[int, int | None, Iterator[bytes]]:
        headers = dict(self._fs.kwargs["headers"])
        if start:
            headers["Range"] = f"bytes={start}-"
            if file.stamp and not file.stamp.startswith("W/"):
                headers["If-Range"] = file.stamp
        try:
            # Block size 0 makes it a stream; the size spares a request and is not used.
            stream = self._fs.open(file.path, block_size=0, size=1, headers=headers)
        except Exception as error:
            if start and _status(error) == 416:
                return self._read_http(file, 0)
            raise
        if stream.r.status != 206:
            length = stream.r.headers.get("Content-Length")
            return 0, int(length) if length else None, _pieces(stream)
        ranged = re.match(r"bytes (\d+)-\d+/(\d+|\*)", stream.r.headers.get("Content-Range", ""))
        if not ranged or int(ranged[1]) != start:
            stream.close()
            return self._read_http(file, 0)
        return start, None if ranged[2] == "*" else int(ranged[2]), _pieces(stream)

    def persist(self, action: Callable[[], T], arrived: Callable[[], int]) -> T:
        """Do it, again after a passing trouble. A try that brought a whole piece more is not counted."""
        tries = 0
        while True:
            before = arrived()
            try:
                return action()
            except WinnowError:
                raise
            except Exception as error:
                tries = 1 if arrived() - before >= PIECE else tries + 1
                what, remedy, passing = _diagnosis(error, self.address.setting)
                if not passing or tries >= TRIES:
                    raise SourceError(self.problem(what), remedy) from error
            self.sleep(2.0**tries)


def _options(protocol: str, options: dict[str, Any]) -> dict[str, Any]:
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        # By itself aiohttp stops after 5 minutes in all, unpacks gzip, and passes proxies by.
        client = {
            "timeout": ClientTimeout(total=None, sock_connect=30, sock_read=60),
            "auto_decompress": False,
        }
        options["client_kwargs"] = client | {"trust_env": True} | options.get("client_kwargs", {})
        options["headers"] = options.get("headers", {}) | {"Accept-Encoding": "identity"}
    if protocol == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint and "endpoint_url" not in options.get("client_kwargs", {}):
            options.setdefault("endpoint_url", endpoint)
        if "anon" not in options:
            options["anon"] = not options.keys() & {"key", "username", "profile", "session"} and _keyless()
        options.setdefault("config_kwargs", {"retries": {"max_attempts": 1}})
    return options


def _keyless() -> bool:
    """Whether neither the environment nor the AWS files hold credentials."""
    from botocore.session import Session  # type: ignore[import-untyped]

    resolver = Session().get_component("credential_provider")
    # Outside of EC2 its metadata server is an address that keeps silent until a timeout.
    resolver.remove("iam-role")
    return resolver.load_credentials() is None


def _remote(name: str, info: Mapping[str, Any]) -> Remote:
    stamps = ("ETag", "etag", "Content-MD5", "md5Hash", "Digest", "Last-Modified", "LastModified", "updated")
    stamp = next((str(info[key]) for key in stamps if info.get(key)), None)
    return Remote(name, info["name"], info.get("size"), stamp)


def _local(root: Path) -> tuple[bool, list[Remote]]:
    if not root.is_dir():
        return False, [_local_file(root.name, root)]
    files = []
    for folder, folders, names in os.walk(root, onerror=_raise, followlinks=True):
        here = Path(folder)
        # A link to a folder above would be walked for ever.
        folders[:] = [name for name in folders if not here.resolve().is_relative_to((here / name).resolve())]
        paths = {(here / name).relative_to(root).as_posix(): here / name for name in names}
        files += [_local_file(name, path) for name, path in paths.items() if _is_shown(name)]
    return True, files


def _local_file(name: str, path: Path) -> Remote:
    status = path.stat()
    if not path.is_file():
        raise OSError(errno.EINVAL, f"{path} is neither a file nor a folder")
    if not is_text(name):
        raise OSError(errno.EINVAL, f"the file name {name!r} has characters that are not text; rename it")
    return Remote(name, str(path), status.st_size, str(status.st_mtime_ns))


def is_text(name: str) -> bool:
    """Whether a name can be written down: no control characters, and no bytes that are not UTF-8."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def _raise(error: OSError) -> None:
    raise error


def _is_shown(name: str) -> bool:
    return not name.endswith("/") and not any(part.startswith(".") for part in name.split("/"))


def _pieces(stream: Any) -> Iterator[bytes]:
    with closing(stream):
        while piece := stream.read(2**20):
            yield piece


def _diagnosis(error: BaseException, setting: str) -> tuple[str, str, bool]:
    """What is wrong in words, the remedy, and whether another try may help."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    root = causes[-1]
    status = _status(root) or 0
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    words = str(root) or type(root).__name__
    if status in (401, 403, 407) or kinds & {"PermissionError", "NoCredentialsError"}:
        options = "source.storage_options, or " if setting == SOURCE else ""
        remedy = f"ask its owner for access, or give credentials: {options}AWS_* for s3"
        return f"may not be read ({words})", remedy, False
    if status in (404, 410) or isinstance(root, FileNotFoundError):
        other = ", or give the file with --source" if setting == SOURCE else ""
        return "is not there", f"correct {setting}{other}", False
    if status in (408, 429) or status >= 500:
        return f"cannot be had now: its server answers {status}", "wait, then run again", True
    if kinds & {"ShortReadError", "ClientPayloadError", "IncompleteRead"}:
        return (
            f"was cut short each time ({words})",
            "run again; a server that can resumes where it stopped",
            True,
        )
    if kinds & {"ClientConnectionError", "HTTPClientError", "gaierror", "ConnectionError", "TimeoutError"}:
        return (
            f"cannot be reached ({words})",
            "check the network, the proxy and the host's name, then run again",
            True,
        )
    other = " and source.storage_options" if setting == SOURCE else ""
    return f"cannot be fetched ({words})", f"check {setting}{other}", False


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of aiohttp, gcsfs or botocore carries."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return cast("int | None", response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    status = getattr(error, "status", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


def digest_of(*parts: str) -> str:
    """One sha256 for several texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
