"""Delimited text as a stream of scanned blocks: decoding, header lines, line ends, and records too long to be true.

``assets.delimited_scan`` says where the fields of a block lie. Here whole records are cut from the stream, with the
exact line each begins in, in memory that does not grow with the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from assets import delimited_scan
from assets.ahead import ahead
from assets.delimited_scan import Array, Scan
from assets.dwc_meta import Dialect
from catalog.errors import SourceError

BLOCK = 16 << 20
"""Bytes: some ten thousand records, since each batch of them costs as much again as many rows do."""
MAX_RECORD = 16 << 20

_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ENDED = re.compile(rb"\n|\r.", re.DOTALL)
_MARK = "winnow.mark"
# A lone surrogate, written in UTF-8 as no valid text is: so the records that could not be decoded are found again.
codecs.register_error(_MARK, lambda error: ("\udcff", getattr(error, "end", 0)))


class Stream(Protocol):
    """The bytes of one file, unpacked."""

    name: str

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none only at the end."""
        ...


class Block(NamedTuple):
    """Whole records of a file.

    ``line`` is the number of the block's first line, and ``fault`` says what is wrong with all of its records.
    """

    data: bytes
    text: Array
    scan: Scan
    line: int
    fault: str | None


class Lines:
    """The text of one file as UTF-8, from its first line on, ``block`` bytes at a time (BLOCK at most).

    Raises:
        SourceError: the encoding is unknown.
    """

    def __init__(self, stream: Stream, dialect: Dialect, block: int | None = None) -> None:
        self.name = stream.name
        self.dialect = dialect
        self.line = 1
        self._stream = stream
        self._size = min(block or BLOCK, BLOCK)
        first = stream.read(self._size)
        bom = next((mark for mark in _BOMS if first.startswith(mark)), b"")
        self.encoding = _encoding(self.name, _BOMS.get(bom, dialect.encoding))
        self._decoder = None
        if self.encoding != "utf-8":
            self._decoder = codecs.getincrementaldecoder(self.encoding)(_MARK)
        elif bom:
            first = first[len(bom) :]
        self._rest = self._utf8(first)
        while not _ENDED.search(self._rest) and len(self._rest) <= MAX_RECORD and (more := self._read()):
            self._rest += more
        self.is_empty = not self._rest.strip()
        self.newline = self._line_end()

    def skip(self, lines: int) -> str:
        """Pass over that many lines from here, and give the last of them."""
        last = b""
        for _ in range(lines):
            while self.newline not in self._rest and (more := self._read()):
                self._rest += more
                if len(self._rest) > MAX_RECORD:
                    raise self._too_long(self.line)
            last, found, self._rest = self._rest.partition(self.newline)
            self.line += bool(found)
        return last.decode("utf-8", "replace").rstrip("\r")

    def leading(self, *prefixes: str) -> list[str]:
        """Pass over the lines from here that begin with one of the prefixes, and give them."""
        found = []
        marks = tuple(prefix.encode() for prefix in prefixes)
        while self._holds(max(map(len, marks))) and self._rest.startswith(marks):
            found.append(self.skip(1))
        return found

    def _holds(self, size: int) -> bool:
        while len(self._rest) < size and (more := self._read()):
            self._rest += more
        return bool(self._rest)

    def blocks(self, slots: Array, wanted: int) -> Iterator[Block]:
        """All records that are left; see ``delimited_scan.scan`` for ``slots``.

        A quote that is not closed within ``MAX_RECORD`` bytes spoils the lines from there on, each a record with a
        fault, since nothing tells any more what is inside quotes.

        Raises:
            SourceError: a line is longer than ``MAX_RECORD``, or the file is damaged.
        """
        quote = ord(self.dialect.quote) if self.dialect.quote else -1
        rest, line, fault = b"", self.line, None
        for more, is_last in ahead(self._chunks()):
            data = rest + more if rest else more
            while True:
                block = self._scanned(data, quote, slots, wanted, line, fault)
                if len(block.scan.counts):
                    yield block
                rest = data[block.scan.consumed :]
                line += block.scan.lines
                if rest and len(block.scan.counts) == delimited_scan.MOST:
                    data = rest
                    continue
                if not rest or (len(rest) <= MAX_RECORD and not is_last):
                    break
                if quote < 0:
                    raise self._too_long(line)
                fault = f"a quote opened in the record of line {line} is not closed, so no line from there on is sure"
                quote, data = -1, rest

    def _scanned(self, data: bytes, quote: int, slots: Array, wanted: int, line: int, fault: str | None) -> Block:
        text = np.frombuffer(data, dtype=np.uint8)
        found = delimited_scan.scan(text, ord(self.dialect.delimiter), quote, self.newline[0], slots, wanted)
        return Block(data, text, found, line, fault)

    def _chunks(self) -> Iterator[tuple[bytes, bool]]:
        """The text from here on, and whether that is the last; the last is a line end that the file may lack."""
        if self._rest:
            yield self._rest, False
        while more := self._read():
            yield more, False
        yield self.newline, True

    def _read(self) -> bytes:
        """More text; none only at the end."""
        while more := self._stream.read(self._size):
            if text := self._utf8(more):
                return text
        return self._utf8(b"", final=True)

    def _utf8(self, data: bytes, *, final: bool = False) -> bytes:
        if self._decoder is None:
            return data
        try:
            return self._decoder.decode(data, final).encode("utf-8", "surrogatepass")
        except UnicodeError as error:
            raise SourceError(
                f"{self.name} is not {self.encoding} text: {error}", "correct source.options.encoding"
            ) from None

    def _line_end(self) -> bytes:
        """CR where nothing else ends a line; elsewhere LF, with which CR LF is found too."""
        feed, carriage = self._rest.find(b"\n"), self._rest.find(b"\r")
        if carriage >= 0 and (feed < 0 or (self.dialect.newline == "\r" and carriage < feed - 1)):
            return b"\r"
        return b"\n"

    def _too_long(self, line: int) -> SourceError:
        return SourceError(
            f"{self.name} line {line} is longer than {MAX_RECORD >> 20} MB",
            "check that it is delimited text, and how meta.xml says that lines end",
        )


def _encoding(name: str, said: str) -> str:
    """Python's name of an encoding; ASCII is read as the UTF-8 that it is."""
    try:
        found = codecs.lookup(said.strip()).name
        # Some codecs of Python make no text; the empty text would not tell.
        b"x".decode(found, "replace")
    except (LookupError, ValueError, UnicodeError):
        raise SourceError(
            f"{name} is said to be in the encoding {said!r}, which is unknown",
            "set source.options.encoding, for example to UTF-8 or windows-1252",
        ) from None
    return "utf-8" if found in ("ascii", "utf-8-sig") else found
