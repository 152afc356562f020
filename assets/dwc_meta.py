"""What the files of a Darwin Core archive hold: read from ``meta.xml``, or from a data file's own header line.

The format is the Darwin Core text guide's (http://rs.tdwg.org/dwc/terms/guides/text/), with its defaults.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from assets.dwc_archive import Archive
from catalog.errors import SourceError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_META = 16 << 20
DWC, DCTERMS = "http://rs.tdwg.org/dwc/terms/", "http://purl.org/dc/terms/"
IDENTIFIERS = ("gbifID", "occurrenceID", "id")
"""What identifies a record where no ``meta.xml`` says it, the most exact first."""

_ESCAPES = {r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\r\n": "\r\n", r"\"": '"', r"\'": "'", r"\\": "\\"}
# By these a line is told to be a header of Darwin Core, whatever else it has.
_TELLTALE = (
    "occurrenceid gbifid scientificname basisofrecord eventdate eventid taxonid taxonrank catalognumber recordedby "
    "decimallatitude decimallongitude verbatimlatitude institutioncode collectioncode vernacularname kingdom genus "
    "countrycode locality individualcount samplingprotocol measurementtype datasetid occurrencestatus"
)


class Dialect(NamedTuple):
    """How the text of a file is written; ``quote`` is empty where nothing is quoted."""

    delimiter: str
    quote: str
    encoding: str
    header_lines: int
    newline: str


@dataclass(frozen=True)
class Field:
    """A term with the column it stands in (from 0), or without one if it has its default only."""

    term: str
    index: int | None
    default: str | None

    @property
    def name(self) -> str:
        """The term's local name."""
        return local(self.term)


@dataclass(frozen=True)
class Described:
    """One core or extension: its files, how they are written, and what their columns are.

    ``identity`` is the column of the core's id, and ``from_header`` says that the file's own header describes it.
    """

    row_type: str
    files: tuple[str, ...]
    dialect: Dialect
    fields: tuple[Field, ...]
    identity: int | None
    from_header: bool = False

    @property
    def name(self) -> str:
        """The row type's local name, or the file's where it has none."""
        return local(self.row_type) or posixpath.basename(self.files[0])

    @property
    def width(self) -> int:
        """How many columns are described."""
        indexes = [field.index for field in self.fields if field.index is not None]
        return 1 + max([*indexes, -1 if self.identity is None else self.identity], default=-1)

    def field(self, name: str) -> Field | None:
        """The field of that local name; case counts only where two differ in nothing else.

        Of several a term of Darwin Core goes before one of dcterms, and that before others.

        Raises:
            SourceError: two columns are named the same.
        """
        same = [field for field in self.fields if field.name == name]
        same = same or [field for field in self.fields if field.name.lower() == name.lower()]
        first = sorted(same, key=lambda field: _rank(field.term))[:2]
        if len(first) == 2 and _rank(first[0].term) == _rank(first[1].term):
            raise SourceError(
                f"{self.files[0]} has two columns for {name}: {first[0].term} and {first[1].term}",
                "map another column, or mend the archive",
            )
        return first[0] if first else None


class Meta(NamedTuple):
    """The core and the extensions of an archive."""

    core: Described
    extensions: tuple[Described, ...]


def local(term: str) -> str:
    """The last part of a term: of its URI, or of a prefixed name."""
    return re.split(r"[/#:]", term.strip().rstrip("/#"))[-1]


def _rank(term: str) -> int:
    if term.startswith((DWC, "dwc:")):
        return 0
    return 1 if term.startswith((DCTERMS, "dcterms:")) else 2


# --- meta.xml ----------------------------------------------------------


def read_meta(archive: Archive) -> Meta | None:
    """What ``meta.xml`` says, or None if the archive has none.

    Raises:
        SourceError: there are several, or it is not XML, harmful, or not a description of an archive.
    """
    found = [name for name in archive.names if posixpath.basename(name).lower() == "meta.xml"]
    if not found:
        return None
    if len(found) > 1:
        raise SourceError(
            f"{archive.name} holds more than one meta.xml: {', '.join(found)}", "give each archive a dataset of its own"
        )
    with archive.open(found[0]) as stream:
        text = stream.read(MAX_META + 1)
    if len(text) > MAX_META:
        raise SourceError(f"{found[0]} is larger than {MAX_META >> 20} MB", "check that it is a meta.xml")
    root = _parsed(text, found[0])
    base = posixpath.dirname(found[0])
    cores = [child for child in root if _tag(child) == "core"]
    if _tag(root) != "archive" or len(cores) != 1:
        raise SourceError(f"{found[0]} does not describe an archive with one core", "check the archive")
    extensions = (child for child in root if _tag(child) == "extension")
    return Meta(
        _described(archive, base, cores[0], found[0]),
        tuple(_described(archive, base, child, found[0]) for child in extensions),
    )


def _parsed(text: bytes, name: str) -> Element:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Element = fromstring(text)
    except DefusedXmlException as error:
        raise SourceError(
            f"{name} declares entities, which could expand without end or fetch other files ({error})",
            "do not trust it; ask its publisher for a plain meta.xml",
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise SourceError(f"{name} is not XML: {error}", "fetch the archive again, or mend the file") from None
    return root


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _described(archive: Archive, base: str, element: Element, meta: str) -> Described:
    where = f"{meta}, <{_tag(element)} rowType={element.get('rowType', '')!r}>"
    locations = [str(location.text or "") for part in element if _tag(part) == "files" for location in part]
    if not locations:
        raise SourceError(f"{where} names no file", "mend meta.xml")
    identity = [child for child in element if _tag(child) in ("id", "coreid")]
    found = Described(
        row_type=element.get("rowType", ""),
        files=tuple(archive.locate(base, location) for location in locations),
        dialect=_dialect(element, where),
        fields=tuple(_fields(element, where)),
        identity=_number(identity[0], "index", where) if identity else None,
    )
    owners: dict[int, str] = {}
    for field in found.fields:
        if field.index is not None and owners.setdefault(field.index, field.term) != field.term:
            raise SourceError(
                f"{where} gives index {field.index} to two terms: {owners[field.index]} and {field.term}",
                "mend meta.xml",
            )
    return found


def _fields(element: Element, where: str) -> Iterator[Field]:
    for child in element:
        if _tag(child) == "field":
            term = child.get("term", "").strip()
            index = _number(child, "index", where) if child.get("index") is not None else None
            default = (child.get("default") or "").strip() or None
            if not term:
                raise SourceError(f"{where} has a field without a term", "mend meta.xml")
            if index is not None or default is not None:
                yield Field(term, index, default)


def _number(element: Element, name: str, where: str) -> int:
    text = element.get(name, "").strip()
    if not re.fullmatch("[0-9]{1,5}", text):
        raise SourceError(f"{where}: {name}={text!r} of <{_tag(element)}> is not a number of a column", "mend meta.xml")
    return int(text)


def _dialect(element: Element, where: str) -> Dialect:
    def said(name: str, default: str) -> str:
        text = element.get(name, default)
        return _ESCAPES.get(text, text)

    delimiter, quote = said("fieldsTerminatedBy", ","), said("fieldsEnclosedBy", '"')
    newline = said("linesTerminatedBy", "\n")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in "\r\n":
        raise SourceError(f"{where}: fieldsTerminatedBy={delimiter!r} is not one ASCII character", "mend the archive")
    if len(quote) > 1 or not quote.isascii() or (quote and quote in f"\r\n{delimiter}"):
        raise SourceError(f"{where}: fieldsEnclosedBy={quote!r} is not one ASCII character", "mend the archive")
    if newline not in ("\n", "\r", "\r\n"):
        raise SourceError(f"{where}: linesTerminatedBy={newline!r} is none of LF, CR, CR LF", "mend the archive")
    header_lines = _number(element, "ignoreHeaderLines", where) if element.get("ignoreHeaderLines") else 0
    return Dialect(delimiter, quote, element.get("encoding") or "UTF-8", header_lines, newline)


# --- header lines ------------------------------------------------------


def cells(line: str, dialect: Dialect) -> list[str]:
    """The cells of one header line."""
    if dialect.quote:
        rows = csv.reader([line], delimiter=dialect.delimiter, quotechar=dialect.quote)
    else:
        rows = csv.reader([line], delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
    try:
        return [cell.strip() for cell in next(rows, [])]
    except csv.Error:
        return []


def by_header(name: str, line: str, encoding: str) -> Described | None:
    """A data file as its first line describes it, or None if that is no header with Darwin Core terms.

    Of tab, comma, semicolon and bar that one delimits which gives the most columns. Text with tabs is taken as not
    quoted, as GBIF writes it, unless its header is.
    """
    guesses = []
    for delimiter in "\t,;|":
        quote = '"' if delimiter != "\t" or line.startswith('"') else ""
        dialect = Dialect(delimiter, quote, encoding, 1, "\n")
        guesses.append((cells(line, dialect), dialect))
    terms, dialect = max(guesses, key=lambda guess: len(guess[0]))
    names = [local(term) for term in terms]
    lower = [name.lower() for name in names]
    if not set(_TELLTALE.split()) & set(lower):
        return None
    identity = next((lower.index(known.lower()) for known in IDENTIFIERS if known.lower() in lower), None)
    fields = tuple(Field(term, index, None) for index, term in enumerate(terms) if term)
    return Described("", (name,), dialect, fields, identity, from_header=True)
