"""The text of a file that may be plain, gzip or BGZF, in blocks of whole lines.

Who takes them through ``assets.ahead`` has the next decompressed in a thread. Whether a file is compressed is told by
its first bytes, not by its name. An index beside it is not looked at.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from isal import igzip, isal_zlib

from catalog.errors import SourceError
from catalog.records import SourceFile

Opener: TypeAlias = Callable[[SourceFile], BinaryIO]

MAX_LINE = 256 << 20
# An empty BGZF block: SAM specification, section 4.1.2.
END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_GZIP = b"\x1f\x8b"
_DAMAGE: Any = (OSError, EOFError, zlib.error, isal_zlib.IsalError)


def open_text(file: SourceFile) -> BinaryIO:
    """The file's decompressed bytes.

    Raises:
        SourceError: it cannot be opened, or is BGZF without the end marker, which a cut file lacks.
    """
    try:
        with Path(file.path).open("rb") as raw:
            head = raw.read(14)
            if head.startswith(_GZIP) and head[12:14] == b"BC":
                raw.seek(max(0, file.path.stat().st_size - len(END)))
                if raw.read() != END:
                    raise SourceError(f"{file.name} is cut short: it lacks the end marker of BGZF", "fetch it again")
        unpacked: Any = igzip.IGzipFile if head.startswith(_GZIP) else Path.open
        return cast("BinaryIO", unpacked(file.path, "rb"))
    except OSError as error:
        raise SourceError(f"{file.name} cannot be opened: {error}", "fetch it again") from error


def take(stream: BinaryIO, file: SourceFile, size: int) -> bytes:
    """Up to ``size`` bytes; with ``size`` 0, one line.

    Raises:
        SourceError: the file is cut short or damaged.
    """
    try:
        return stream.read(size) if size else stream.readline(MAX_LINE)
    except _DAMAGE as error:
        raise SourceError(f"{file.name} is cut short or damaged: {error}", "fetch it again") from error


def blocks(file: SourceFile, opener: Opener, skip: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines, about ``size`` bytes at a time, after the first ``skip``; empty lines at the end are left out.

    With each block comes how many of its bytes are whole lines; to cut off the others would copy it.

    Raises:
        SourceError: the file is cut short or damaged, or has a line of more than MAX_LINE bytes.
    """
    with opener(file) as stream:
        for _ in range(skip):
            take(stream, file, 0)
        rest = b""
        # What waits for its line end doubles, so that a long line is not copied once for every block.
        while more := take(stream, file, max(size, len(rest))):
            text = rest + more if rest else more
            cut = _last_record(text)
            if len(text) - cut > MAX_LINE:
                raise SourceError(f"{file.name} has a line longer than {MAX_LINE >> 20} MB", "check that it is VCF")
            rest = text[cut:]
            if cut:
                yield text, cut
        if rest.strip(b"\r\n"):
            yield rest + b"\n", len(rest) + 1


def _last_record(text: bytes) -> int:
    """Where the last whole line ends that is not empty; empty lines count only once a record follows them."""
    last = text.rfind(b"\n") + 1
    filled = last
    while filled and text[filled - 1] in b"\r\n":
        filled -= 1
    if filled == 0:
        return 0
    return text.find(b"\n", filled) + 1
