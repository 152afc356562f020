"""The records of a block of delimited text, each sound or with the first fault found in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from assets.delimited import Block
from assets.dwc_meta import Dialect

MAX_RAW = 64_000


class Records:
    """What is wrong with which records of a block: too many or too few fields, text after a quote, no text at all.

    ``names`` are what the fields are called, as far as that is known, and ``width`` is how many there should be. What
    is no text is blanked out in the block's scan, so that its bytes reach no column.
    """

    def __init__(self, block: Block, dialect: Dialect, encoding: str, width: int, names: tuple[str, ...]) -> None:
        self.block, self.dialect, self.scan, self.names = block, dialect, block.scan, names
        self.rows = len(block.scan.counts)
        self.faults: dict[int, str] = dict.fromkeys(range(self.rows), block.fault) if block.fault else {}
        for row in np.flatnonzero(self.scan.stray):
            self.refuse(row, f"{self._called(int(self.scan.stray[row]))} has text after its closing quote")
        for row in np.flatnonzero(self.scan.counts != width):
            self.refuse(row, f"the record has {self.scan.counts[row]} fields, expected {width}")
        self._refuse_undecodable(encoding)
        self._refuse_zeros()

    def refuse(self, row: int | np.integer[Any], reason: str) -> None:
        """Note a fault, unless the record has one already."""
        self.faults.setdefault(int(row), reason)

    def lines(self) -> np.ndarray:
        """The number of the line that each record begins in."""
        return self.scan.line + np.int64(self.block.line)

    def errors(self) -> pa.StringArray:
        """The faults as a column."""
        if not self.faults:
            return pa.nulls(self.rows, pa.string())
        return pa.array([self.faults.get(row) for row in range(self.rows)], pa.string())

    def raws(self, *, of_all: bool = False) -> pa.StringArray:
        """The text of the records at fault, or of all, as a column."""
        if not (self.faults or of_all):
            return pa.nulls(self.rows, pa.string())
        shown = [self._raw(row) if of_all or row in self.faults else None for row in range(self.rows)]
        return pa.array(shown, pa.string())

    def _bytes(self, row: int) -> bytes:
        return self.block.data[self.scan.start[row] : self.scan.end[row]]

    def _raw(self, row: int) -> str:
        return self._bytes(row)[:MAX_RAW].decode("utf-8", "replace")

    def _called(self, number: int) -> str:
        """What a person calls the field of that number, from 1."""
        names = self.names
        return f"field {number}" + (f" ({names[number - 1]})" if number <= len(names) and names[number - 1] else "")

    def _refuse_undecodable(self, encoding: str) -> None:
        if self.block.data.isascii():
            return
        try:
            self.block.data.decode("utf-8")
        except UnicodeDecodeError:
            bad = []
            for row in range(self.rows):
                try:
                    self._bytes(row).decode("utf-8")
                except UnicodeDecodeError as error:
                    bad.append(row)
                    where = f"at its byte {error.start + 1}"
                    if not self.dialect.quote:
                        before = self._bytes(row)[: error.start].count(self.dialect.delimiter.encode())
                        where += f", in {self._called(before + 1)}"
                    self.refuse(row, f"the record is not {encoding.upper()} text {where}")
            self.scan.size[:, bad] = 0

    def _refuse_zeros(self) -> None:
        if b"\0" in self.block.data:
            for row in range(self.rows):
                if b"\0" in self._bytes(row):
                    self.refuse(row, "the record has a NUL byte, as no text has")
