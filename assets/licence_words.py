"""Licence words in a source's own bytes: comments before the data, fields that state rights, an archive's metadata.

Only the head of each file is read. Data is not searched: what a row says of its licence is a column's business.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import NamedTuple

from catalog.records import Found, SourceFile
from catalog.rights.mentions import is_unstated, located, mentions

HEAD = 64 * 1024
MOST = 100

_MOST_MEMBERS = 1000
_BROKEN = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_GZIP = b"\x1f\x8b"
_CIF_FIELD = re.compile(r"^_(?:[\w.-]*licen[sc]e[\w.-]*|pdbx_data_usage\.[\w.-]+)(?!\S)", re.ASCII | re.IGNORECASE)
_CIF_BREAK = re.compile(r"^(?:#|loop_|data_|save_|_)", re.IGNORECASE)
_JSON_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|[{}\[\]]', re.DOTALL)
_RIGHTS_KEYS = frozenset({"licence", "license", "licences", "licenses", "rights"})
_RIGHTS_ELEMENTS = frozenset({"intellectualrights", "licensed"})


class _Said(NamedTuple):
    place: str
    words: str
    means: tuple[str, ...]


def licence_words(files: Sequence[SourceFile]) -> list[Found]:
    """What the files of a snapshot say of their licence, in the order of the files; at most ``MOST`` distinct.

    The same words in several files are one entry with the first file and their number. Bytes that are not what
    they seem (a broken archive, cut XML, odd encodings) say what could be read of them; nothing is raised.
    """
    found: dict[tuple[str, tuple[str, ...]], Found] = {}
    archives = _archives(files)
    for file in files:
        seen = set()
        for name, said in _of_file(file, archives):
            key = (said.words, said.means)
            if key in seen or (key not in found and len(found) >= MOST):
                continue
            seen.add(key)
            first = found.get(key) or Found(file=name, place=said.place, words=said.words, means=said.means, files=0)
            found[key] = first.model_copy(update={"files": first.files + 1})
    return list(found.values())


def _of_file(file: SourceFile, archives: dict[str, str]) -> Iterator[tuple[str, _Said]]:
    with suppress(*_BROKEN):
        if zipfile.is_zipfile(file.path):
            yield from _of_zip(file)
        elif not _is_of_a_constituent(file.name, archives):
            with file.path.open("rb") as stream:
                head = stream.read(HEAD)
            yield from ((file.name, said) for said in _of_head(file.name, head))


def _archives(files: Sequence[SourceFile]) -> dict[str, str]:
    """The folders that are Darwin Core archives, and the metadata document that each names."""
    found = {}
    for file in files:
        if PurePosixPath(file.name).name == "meta.xml":
            with suppress(OSError), file.path.open("rb") as stream:
                folder = str(PurePosixPath(file.name).parent)
                found[folder] = str(PurePosixPath(folder, _metadata(stream.read(HEAD))))
    return found


def _is_of_a_constituent(name: str, archives: dict[str, str]) -> bool:
    """An XML document of an archive other than the one that its ``meta.xml`` names."""
    within = [archives[str(folder)] for folder in PurePosixPath(name).parents if str(folder) in archives]
    return name.lower().endswith(".xml") and bool(within) and name not in within


def _of_zip(file: SourceFile) -> Iterator[tuple[str, _Said]]:
    with zipfile.ZipFile(file.path) as archive:
        names = [info.filename for info in archive.infolist()[:_MOST_MEMBERS] if not info.is_dir()]
        names = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
        folders = {
            str(PurePosixPath(name).parent): str(PurePosixPath(name).parent / _metadata(_member(archive, name)))
            for name in names
            if PurePosixPath(name).name == "meta.xml"
        }
        for name in names:
            if not _is_of_a_constituent(name, folders):
                for said in _of_head(name, _member(archive, name)):
                    yield file.name, said._replace(place=f"{name}, {said.place}")


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with suppress(*_BROKEN), archive.open(name) as stream:
        return stream.read(HEAD)
    return b""


def _of_head(name: str, head: bytes) -> Iterator[_Said]:
    if head.startswith(_GZIP):
        head = _unzipped(head)
    # A BCF file begins with nine bytes before the text of its header.
    head = head[9:] if head.startswith(b"BCF") else head
    text = head.decode("utf-8", errors="replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    start = text.lstrip()[:1]
    if start == "<":
        yield from _of_xml(head)
    elif start in ("{", "["):
        yield from _of_json(text)
    elif PurePosixPath(name).name.lower() == "rights.txt":
        yield from _of_text(text)
    elif re.search(r"^data_\S", text, re.MULTILINE):
        yield from _of_text("\n".join(line if line.startswith("#") else "" for line in text.split("\n")))
        yield from _of_cif(text)
    else:
        yield from _of_text(_comment(text))


def _unzipped(head: bytes) -> bytes:
    """The beginning of gzip or BGZF data, which may be cut anywhere."""
    out = b""
    with suppress(zlib.error):
        while head and len(out) < HEAD:
            stream = zlib.decompressobj(wbits=31)
            out += stream.decompress(head, HEAD - len(out))
            head = stream.unused_data
    return out


def _comment(text: str) -> str:
    """The lines that begin with # before the first that does not."""
    end = re.search(r"^(?!#|[ \t]*$)", text, re.MULTILINE)
    return text[: end.start()] if end else text


def _of_text(text: str) -> Iterator[_Said]:
    line, counted = 1, 0
    for offset, mention in located(text):
        line += text.count("\n", counted, offset)
        counted = offset
        yield _Said(f"line {line}", mention.words, tuple(sorted(mention.means)))


def _field(place: str, text: str) -> Iterator[_Said]:
    """What a field says whose purpose is to state rights: if nothing that is known, then something unknown."""
    words = " ".join(text.split())
    if is_unstated(words):
        return
    found = mentions(text)
    yield from (_Said(place, mention.words, tuple(sorted(mention.means))) for mention in found)
    if not found:
        yield _Said(place, words[:200], ())


def _of_cif(text: str) -> Iterator[_Said]:
    """The values of CIF items whose names speak of a licence, alone or in a loop."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if not _CIF_FIELD.match(lines[at]):
            at += 1
            continue
        first = at
        values: list[str] = []
        while at < len(lines) and lines[at].startswith("_") and (_CIF_FIELD.match(lines[at]) or not values):
            values += lines[at].split(maxsplit=1)[1:]
            at += 1
        while at < len(lines) and not _CIF_BREAK.match(lines[at]):
            values.append(lines[at])
            at += 1
        for mention in mentions("\n".join(values)):
            place = f"line {first + 1}, {lines[first].split()[0]}"
            yield _Said(place, mention.words, tuple(sorted(mention.means)))


def _of_json(text: str) -> Iterator[_Said]:
    """The strings under a key of the outermost object that speaks of rights."""
    depth, key = 0, ""
    for token in _JSON_TOKEN.finditer(text):
        sign = token[0][0]
        if sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
            key = key if depth > 1 else ""
        elif token[2] and depth == 1:
            key = token[1].lower()
        elif not token[2] and key in _RIGHTS_KEYS:
            yield from _field(f"key {key}", token[1].replace("\\/", "/").replace("\\n", "\n"))
            key = key if depth > 1 else ""


def _of_xml(head: bytes) -> Iterator[_Said]:
    target = _Rights()
    _parse(head, target)
    for tag, text in [*target.said, *target.cut]:
        yield from _field(f"element {tag}", text)


def _metadata(head: bytes) -> str:
    """The ``metadata`` that the root of a ``meta.xml`` names, or its usual name."""
    target = _Rights()
    _parse(head, target)
    return target.root.get("metadata", "eml.xml")


def _parse(head: bytes, target: _Rights) -> None:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=target)
    # The head may be cut anywhere, and a document that declares entities is read no further.
    with suppress(ParseError, DefusedXmlException, ValueError, LookupError):
        parser.feed(head)


class _Rights:
    """Gathers the text of the elements that state rights, with the addresses that their links give."""

    def __init__(self) -> None:
        self.root: dict[str, str] = {}
        self.said: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        name = tag.rpartition("}")[2]
        self.root = self.root if self._open or self.said or self.root else dict(attributes)
        if self._open or name.lower() in _RIGHTS_ELEMENTS:
            self._open.append(name)
            self._text += [" ", attributes.get("url", ""), " "]

    def data(self, text: str) -> None:
        """Take a piece of text."""
        if self._open:
            self._text.append(text)

    def end(self, _tag: str) -> None:
        """End an element."""
        if self._open:
            name = self._open.pop()
            if not self._open:
                self.said.append((name, "".join(self._text)))
                self._text = []

    @property
    def cut(self) -> list[tuple[str, str]]:
        """The element that the end of the head cut through."""
        return [(self._open[0], "".join(self._text))] if self._open else []

    def close(self) -> None:
        """Nothing remains to be done."""
