"""Licence words in a source's own bytes: comments before the data, fields that state rights, an archive's metadata.

Of each file the head is read, and more, to a limit, where it is a document or its comments go on. Data is not
searched: what a row says of its licence is a column's business.
"""

from __future__ import annotations

import gzip
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from catalog.records import Found, SourceFile
from catalog.rights.mentions import located, mentions, stated

HEAD = 64 * 1024
LIMIT = 4 * 1024 * 1024
MOST = 100

_MOST_MEMBERS = 100_000
_CHUNK = 256 * 1024
_BROKEN = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_GZIP = b"\x1f\x8b"
_ON_RIGHTS = re.compile(
    r"(?:licen[sc]es?|copying|readme|rights|notice|terms(?:[-_ ]of[-_ ]use)?)(?:[-_ .][\w.-]*?)?"
    r"(?:\.(?:txt|md|rst|html?|markdown|adoc))?",
    re.ASCII | re.IGNORECASE,
)
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".parquet", ".gz", ".zip", ".xsd", ".py")
_COMMENT = re.compile(r'^(?!\s*"?(?:#|//|;|%)|[ \t]*$)', re.MULTILINE)
_CIF_FIELD = re.compile(
    r"^_(?:[\w.-]*licen[sc]e[\w.-]*|[\w.-]*copyright[\w.-]*|publ_section_[\w.-]+|pdbx_data_usage\.[\w.-]+)(?!\S)",
    re.ASCII | re.IGNORECASE,
)
_CIF_WORDS = ("licen", "copyright", "publ_section_", "pdbx_data_usage.")  # one of them is in each such name
_CIF_BREAK = re.compile(r"^(?:#|loop_|data_|save_|_)", re.IGNORECASE)
_JSON_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|[{}\[\]]', re.DOTALL)
_RIGHTS_KEY = re.compile(r"licen[sc]e|rights|copyright|terms[-_ ]?of[-_ ]?use|use[-_ ]?limitation", re.IGNORECASE)
_RIGHTS_ELEMENTS = frozenset(
    {
        "intellectualrights",
        "licensed",
        "license",
        "licence",
        "rights",
        "accessrights",
        "uselimitation",
        "useconstraints",
        "termsofuse",
        "copyright",
        "additionalinfo",
    }
)
_LINKS = frozenset({"url", "href", "resource"})
_LONGEST_KEY = 80
# These may speak of anything: what is not known in them is no statement.
_OF_ANYTHING = ("additionalinfo", "_publ_section")


class _Said(NamedTuple):
    place: str
    words: str
    means: tuple[str, ...]


def licence_words(files: Sequence[SourceFile]) -> list[Found]:
    """What the files of a snapshot say of their licence, in the order of the files.

    The same words in several files are one entry with the first file and their number; of other words with one
    and the same meaning there are at most ``MOST``. Bytes that are not what they seem (a broken archive, cut XML,
    odd encodings) say what could be read of them; nothing is raised.
    """
    meaning: Counter[tuple[str, ...]] = Counter()
    found: dict[tuple[str, tuple[str, ...]], Found] = {}
    archives = _archives(files)
    for file in files:
        seen = set()
        for name, said in _of_file(file, archives):
            key = (said.words, said.means)
            if key in seen or (key not in found and meaning[said.means] >= MOST):
                continue
            seen.add(key)
            meaning[said.means] += key not in found
            first = found.get(key) or Found(file=name, place=said.place, words=said.words, means=said.means, files=0)
            found[key] = first.model_copy(update={"files": first.files + 1})
    return list(found.values())


def _of_file(file: SourceFile, archives: dict[str, str]) -> Iterator[tuple[str, _Said]]:
    with suppress(*_BROKEN):
        if zipfile.is_zipfile(file.path):
            yield from _of_zip(file)
        elif not _is_of_a_constituent(file.name, archives):
            yield from ((file.name, said) for said in _of_bytes(file.name, partial(_beginning, file.path)))


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
            str(PurePosixPath(name).parent): str(PurePosixPath(name).parent / _metadata(_member(archive, name, HEAD)))
            for name in names
            if PurePosixPath(name).name == "meta.xml"
        }
        for name in names:
            if not _is_of_a_constituent(name, folders):
                for said in _of_bytes(name, partial(_member, archive, name)):
                    yield file.name, said._replace(place=f"{name}, {said.place}")


def _beginning(path: Path, size: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(size)


def _member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    with suppress(*_BROKEN), archive.open(name) as stream:
        return stream.read(size)
    return b""


def _of_bytes(name: str, read: Callable[[int], bytes]) -> Iterator[_Said]:
    """What a file says; ``read`` gives so many of its first bytes. Most files tell by their head what they are."""
    head = _unwrapped(read(HEAD), HEAD)
    text = _decoded(head)
    if len(head) >= HEAD and _goes_on(name, text):
        head = _unwrapped(read(LIMIT), LIMIT)
        text = _decoded(head)
    yield from _of_document(name, text)
    if len(head) >= LIMIT and not _COMMENT.search(text):
        yield _Said("beyond", f"its comments go on after {LIMIT} bytes, and are not read there", ())


def _goes_on(name: str, head: str) -> bool:
    """Whether more than the head may state rights: a document, or comments without an end."""
    return _is_on_rights(name) or head.lstrip()[:1] in ("<", "{", "[") or _is_cif(head) or not _COMMENT.search(head)


def _of_document(name: str, text: str) -> Iterator[_Said]:
    start = text.lstrip()[:1]
    if _is_on_rights(name):
        yield from _of_rights(name, text)
    elif start == "<":
        yield from _of_xml(text)
    elif start in ("{", "["):
        yield from _of_json(text)
    elif _is_cif(text):
        if text.startswith("#") or "\n#" in text:
            yield from _of_text("\n".join(line if line[:1] == "#" else "" for line in text.split("\n")))
        yield from _of_cif(text)
    else:
        yield from _of_text(_comment(text))


def _is_on_rights(name: str) -> bool:
    last = PurePosixPath(name).name
    return bool(_ON_RIGHTS.fullmatch(last)) and not last.lower().endswith(_TABLES)


def _of_rights(name: str, text: str) -> Iterator[_Said]:
    """The whole of a file beside the data; a licence must say something, if only something not known."""
    said = list(_of_text(text))
    if not said and text.strip() and PurePosixPath(name).name.lower().startswith(("licen", "copying")):
        said = list(_field("text", text))
    yield from said


def _is_cif(text: str) -> bool:
    return bool(re.search(r"^data_\S", text, re.MULTILINE))


def _unwrapped(head: bytes, size: int) -> bytes:
    head = _unzipped(head, size) if head.startswith(_GZIP) else head
    # A BCF file begins with nine bytes before the text of its header.
    return head[9:] if head.startswith(b"BCF") else head


def _decoded(head: bytes) -> str:
    """The text that some first bytes begin, with plain line ends."""
    text = head.decode(_encoding(head), errors="replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(head: bytes) -> str:
    """UTF-16 if its mark, or an empty byte beside each of the first letters, says so."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    first = head[:64]
    if len(first) < 8 or first.count(0) < len(first) // 2 - 2:
        return "utf-8"
    return {(True, False): "utf-16-le", (False, True): "utf-16-be"}.get((any(first[::2]), any(first[1::2])), "utf-8")


def _unzipped(head: bytes, size: int) -> bytes:
    """The beginning of gzip or BGZF data, which may be cut anywhere."""
    out = bytearray()
    with suppress(*_BROKEN), gzip.open(BytesIO(head)) as stream:
        while len(out) < size and (piece := stream.read1(_CHUNK)):  # type: ignore[attr-defined, unused-ignore]
            out += piece
    return bytes(out[:size])


def _comment(text: str) -> str:
    """The lines that begin as comments do before the first that does not."""
    end = _COMMENT.search(text)
    return text[: end.start()] if end else text


def _of_text(text: str) -> Iterator[_Said]:
    line, counted = 1, 0
    for offset, mention in located(text):
        line += text.count("\n", counted, offset)
        counted = offset
        yield _Said(f"line {line}", mention.words, tuple(sorted(mention.means)))


def _field(place: str, text: str) -> Iterator[_Said]:
    """What a field says whose purpose is to state rights: if nothing that is known, then something unknown."""
    told = mentions if any(name in place.lower() for name in _OF_ANYTHING) else stated
    yield from (_Said(place, mention.words, tuple(sorted(mention.means))) for mention in told(text))


def _of_cif(text: str) -> Iterator[_Said]:
    """The values of CIF items whose names speak of a licence, alone or in a loop."""
    lower = text.lower()
    if not any(word in lower for word in _CIF_WORDS):
        return
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
        place = f"line {first + 1}, {lines[first].split()[0]}"
        # Ids and numbers stand beside the words in a loop: what is not known is not told.
        for mention in mentions("\n".join(values)):
            yield _Said(place, mention.words, tuple(sorted(mention.means)))


def _of_json(text: str) -> Iterator[_Said]:
    """The strings under every key that speaks of rights, however deep; all that stand under one are one field."""
    depth, held, key = 0, 0, ""
    values: list[str] = []
    for token in _JSON_TOKEN.finditer(text):
        sign = token[0][0]
        depth += (sign in "{[") - (sign in "}]")
        ends = depth < held if sign != '"' else bool(token[2]) and depth <= held
        if key and ends:
            yield from _field(f"key {key[:_LONGEST_KEY]}", "\n\n".join(values))
            key, values = "", []
        if token[2] and not key:
            held, key = depth, token[1] if _RIGHTS_KEY.search(token[1]) else ""
        elif sign == '"' and not token[2] and key:
            values.append(_unescaped(token[1]))
    yield from _field(f"key {key[:_LONGEST_KEY]}", "\n\n".join(values))


def _unescaped(text: str) -> str:
    with suppress(ValueError):
        return str(json.loads(f'"{text}"', strict=False))
    return text


def _of_xml(text: str) -> Iterator[_Said]:
    target = _Rights()
    whole = _parse(text, target)
    for tag, said in [*target.said, *target.cut]:
        yield from _field(f"element {tag}", said)
    if not whole:
        yield _Said("document type", "it declares entities: what follows the declaration is not read", ())


def _metadata(head: bytes) -> str:
    """The ``metadata`` that the root of a ``meta.xml`` names, or its usual name."""
    target = _Rights()
    _parse(_decoded(head), target)
    return target.root.get("metadata", "eml.xml")


def _parse(text: str, target: _Rights) -> bool:
    """Feed a target; whether nothing was left out on purpose."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    # The text is decoded already, whatever the declaration says that its bytes were; and it may be cut anywhere.
    parser = DefusedXMLParser(target=target, encoding="utf-8")
    try:
        parser.feed(text.encode("utf-8", errors="replace").lstrip())
    except DefusedXmlException:
        return False
    except (ParseError, ValueError, LookupError):
        return True
    return True


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
            links = [value for key, value in attributes.items() if key.rpartition("}")[2] in _LINKS]
            self._text += [" ", *links, " "]

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
