"""BCF 2.x, the binary form of VCF: read as the VCF that htslib makes of it, by the reader of VCF.

htslib runs in a process of its own, whose text comes through a pipe: a file that breaks it off breaks no run. Its
floats are those of ``bcftools view``: BCF holds 32-bit ones, written with six digits.
"""

from __future__ import annotations

import gzip
import io
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Collection
from importlib.util import find_spec
from typing import IO, BinaryIO, cast

import pyarrow as pa

from assets.bgzf import END
from assets.readers import missing_library, vcf
from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

Options = vcf.Options

_MAGIC = b"BCF\x02"


def read(snapshot: Snapshot, options: vcf.Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream the records of all files of a snapshot (BCF 2.x); the columns are those of the VCF reader.

    Line numbers are those of the text that ``bcftools view`` writes.

    Raises:
        SourceError: a file is not BCF, is cut short, does not say its assembly, or pysam is not installed.
    """
    if find_spec("pysam") is None:
        raise missing_library("format 'bcf'", ModuleNotFoundError("No module named 'pysam'", name="pysam"))
    return vcf.read(snapshot, options, columns, opener=opened)


def opened(file: SourceFile) -> BinaryIO:
    """The file as VCF text; what breaks the conversion off is raised where the text ends.

    Raises:
        SourceError: the file is not BCF, or is cut short.
    """
    _check(file)
    return cast("BinaryIO", io.BufferedReader(_Text(file), 1 << 20))


def _check(file: SourceFile) -> None:
    """Whether it is BCF is told by its first bytes; htslib would take other formats too."""
    try:
        with file.path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(max(0, file.path.stat().st_size - len(END)))
            whole = raw.read() == END
        with gzip.open(file.path) if packed else file.path.open("rb") as stream:
            first = stream.read(len(_MAGIC) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{file.name} is cut short or damaged: {error}", "fetch it again") from error
    if not first.startswith(_MAGIC):
        raise SourceError(
            f"{file.name} is not BCF 2: it begins with {first!r}, not {_MAGIC!r}", "check source.uri and source.format"
        )
    if packed and not whole:
        raise SourceError(f"{file.name} is cut short: it lacks the end marker of BGZF", "fetch it again")


class _Text(io.RawIOBase):
    """The text that the converting process writes. Closing it early ends the process."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the text)
        # -P: a folder that happens to be the working directory has no say in what is imported.
        command = [sys.executable, "-P", "-m", "assets.bcf_text", str(file.path.absolute())]
        self._process = subprocess.Popen(  # noqa: S603  (our own program; the path is one argument)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said
        )

    def readable(self) -> bool:
        """True: it is read, and nothing else."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read some bytes; 0 where the text ends, if it ends well."""
        assert self._process.stdout is not None
        count = cast("io.BufferedReader", self._process.stdout).readinto1(buffer)
        if count == 0 and (code := self._process.wait()) != 0:
            raise SourceError(f"{self._file.name} is cut short or damaged: {self._reason(code)}", "fetch it again")
        return count

    def _reason(self, code: int) -> str:
        if code < 0:
            return f"htslib broke off with {signal.Signals(-code).name}"
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].replace(str(self._file.path), self._file.name)[:300] if lines else "htslib says no more"

    def close(self) -> None:
        """End the process if it still runs, and wait for it."""
        if not self.closed:
            self._process.kill()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process.wait()
            self._said.close()
        super().close()
