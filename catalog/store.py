"""Where the warehouse's files lie, over fsspec: a folder or an object store; and in words, what goes wrong there."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from catalog.errors import StorageError, how_to_install

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORDS = {
    "FileNotFoundError": (
        "the bucket, folder or file is not there",
        "create the bucket, or correct WINNOW_WAREHOUSE; then run again",
    ),
    "PermissionError": (
        "access is denied",
        "let this user or these keys (AWS_PROFILE, AWS_ACCESS_KEY_ID) read, write, list and delete there; run again",
    ),
    "NoCredentialsError": (
        "there are no keys for it",
        "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; then run again",
    ),
    "ProfileNotFound": ("the profile has no keys", "correct AWS_PROFILE, or add it to ~/.aws/config; then run again"),
    "HTTPClientError": ("it cannot be reached", "check the network and AWS_ENDPOINT_URL; then run again"),
    "ConnectionError": ("it cannot be reached", "check the network and AWS_ENDPOINT_URL; then run again"),
}


def open_store(root: str) -> Any:
    """The fsspec file system of a root; one that asks anew each time, as other processes write there too.

    Keys, endpoint and region of ``s3://`` come from the environment and the profile, as with AWS's own tools.

    Raises:
        StorageError: there is no such kind of store here.
    """
    options = {"use_listings_cache": False} if "://" in root and not root.startswith("file:") else {}
    try:
        return fsspec.core.url_to_fs(root, **options)[0]
    except (ImportError, ValueError) as error:
        remedy = "set WINNOW_WAREHOUSE to a folder or an s3:// address; for the latter " + how_to_install("s3")
        raise StorageError(f"the warehouse {root} cannot be opened: {error}", remedy) from error


def is_local(filesystem: Any) -> bool:
    """Whether it is this machine's own disk."""
    return isinstance(filesystem, LocalFileSystem)


@contextlib.contextmanager
def storing(doing: str, scratch: Path) -> Iterator[None]:
    """Turn what a disk or an object store says into a StorageError with the remedy."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        told = _diagnosis(error, scratch)
        if told is None:
            raise
        what, remedy = told
        raise StorageError(f"{doing} failed: {what}", remedy) from error


def _diagnosis(error: Exception, scratch: Path) -> tuple[str, str] | None:
    """What is wrong and the remedy, or None if it is not the store's doing."""
    if getattr(error, "errno", None) in _FULL or "No space left" in str(error):
        remedy = f"free space there and below {scratch}, or move WINNOW_HOME or WINNOW_WAREHOUSE; then run again"
        return "the disk is full", remedy
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if not isinstance(error, OSError) and "BotoCoreError" not in kinds:
        return None
    for kind in kinds:
        if kind in _WORDS:
            what, remedy = _WORDS[kind]
            return f"{what} ({error})", remedy
    return str(error), "check WINNOW_WAREHOUSE and the store that it names, then run again"
