"""GA4GH VRS 2: normal forms, serialisation and computed identifiers, of single objects and of columns of alleles.

Rules: https://vrs.ga4gh.org/en/2.0/conventions/ (normalisation, computed identifiers). An object's text is JSON by
RFC 8785 of just the keys that tell what it is, with objects that have identifiers replaced by their digests. The
digest is sha512t24u: SHA-512 cut to 24 bytes, as base64url.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from hashlib import sha512
from typing import Any

import numpy as np
import pyarrow as pa

from assets.identifiers import Justified, Places, contextual, places_of, spans_of
from assets.identifiers import Sequence as Bases
from catalog import assemblies

_PREFIXES = {
    "Allele": "VA",
    "SequenceLocation": "SL",
    "Adjacency": "AJ",
    "CisPhasedBlock": "CPB",
    "DerivativeMolecule": "DM",
    "Terminus": "TM",
    "CopyNumberCount": "CN",
    "CopyNumberChange": "CX",
}
_INHERENT = {
    "SequenceReference": ("refgetAccession",),
    "LengthExpression": ("length",),
    "LiteralSequenceExpression": ("sequence",),
    "ReferenceLengthExpression": ("length", "repeatSubunitLength"),
    "SequenceLocation": ("end", "sequenceReference", "start"),
    "Allele": ("location", "state"),
    "Adjacency": ("adjoinedSequences", "linker"),
    "CisPhasedBlock": ("members",),
    "DerivativeMolecule": ("components",),
    "TraversalBlock": ("component", "orientation"),
    "Terminus": ("location",),
    "CopyNumberCount": ("copies", "location"),
    "CopyNumberChange": ("copyChange", "location"),
}
# The schema lets an object leave out its type where only one can stand.
_IMPLIED = {"sequenceReference": "SequenceReference", "location": "SequenceLocation"}
_TO_URL = bytes.maketrans(b"+/", b"-_")
_DIGEST = 32
_HEAD = b"ga4gh:VA."
_LITERAL = b'{"sequence":"%b","type":"LiteralSequenceExpression"}'
_LENGTH = b'{"length":%d,"repeatSubunitLength":%d,"type":"ReferenceLengthExpression"}'


def sha512t24u(blob: bytes) -> str:
    """The GA4GH digest of some bytes, 32 characters."""
    return _digests([blob]).decode()


def serialised(thing: Mapping[str, Any]) -> bytes:
    """The text of a VRS object, of which its digest is taken.

    Raises:
        ValueError: its type is none of VRS 2 that this module knows.
    """
    return json.dumps(_content(thing), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def digest(thing: Mapping[str, Any]) -> str | None:
    """The digest of a VRS object; None for those that are only ever part of another."""
    return sha512t24u(serialised(thing)) if thing.get("type") in _PREFIXES else None


def identifier(thing: Mapping[str, Any]) -> str | None:
    """``ga4gh:VA.`` and the digest; None for an object whose type has no identifiers."""
    told = digest(thing)
    return f"ga4gh:{_PREFIXES[thing['type']]}.{told}" if told else None


def allele_ids(
    assembly: pa.Array, contig: pa.Array, position: pa.Array, ref: pa.Array, alt: pa.Array, sequence: Bases | None
) -> pa.StringArray:
    """The VRS 2 identifier of each allele, ``ga4gh:VA.0AePZIWZUNsUlQTamyLrjm2HWUw2opLt``.

    Position is VCF's (from 1), ``ref`` must be what the reference has there. Null where the contig has no refget
    accession, an allele is not plain bases, or an insertion or deletion cannot be justified: without ``sequence``,
    or where that does not fit. Assembly and contig may be dictionary-encoded.
    """
    places = places_of(assembly, contig, assemblies.refget)
    refs, alts, spans = spans_of(places, position, ref, alt)
    pure = spans.plain & ((spans.ref_begin == spans.ref_end) != (spans.alt_begin == spans.alt_end))
    found = dict(contextual(sequence, contig, refs, alts, spans)) if sequence is not None else {}
    ends = spans.start + spans.ref_end - spans.ref_begin
    literal = np.flatnonzero(spans.plain & ~pure)
    rows = literal.tolist()
    text = alts.data.tobytes()
    bounds = zip(spans.alt_begin[literal].tolist(), spans.alt_end[literal].tolist(), strict=True)
    states = [_LITERAL % text[begin:end] for begin, end in bounds]
    _keep_references(states, literal, refs.data.tobytes(), text, spans)
    locations = _locations(places, rows, spans.start[literal].tolist(), ends[literal].tolist())
    for row, allele in found.items():
        if allele is not None:
            rows.append(row)
            locations += _locations(places, [row], [allele.start], [allele.end])
            states.append(_state(allele))
    return _column(len(spans.plain), rows, _allele_digests(locations, states))


def _content(thing: Mapping[str, Any]) -> dict[str, Any]:
    kind = thing.get("type")
    if kind not in _INHERENT:
        raise ValueError(f"{kind!r} is not a type of VRS 2 that has a serialisation here")
    # A key that is not given is written as null: the test vectors of open-ended locations and adjacencies say so.
    kept = {key: _part(key, thing.get(key)) for key in _INHERENT[kind]}
    if kind == "CisPhasedBlock":
        kept["members"] = sorted(kept["members"])  # a set: its order says nothing
    return kept | {"type": kind}


def _part(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_part(key, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    typed = {"type": _IMPLIED.get(key)} | dict(value)
    return digest(typed) or _content(typed)


def _keep_references(states: list[bytes], literal: Any, ref: bytes, alt: bytes, spans: Any) -> None:
    """An allele that is the reference itself is said by its length."""
    same = spans.ref_end - spans.ref_begin == spans.alt_end - spans.alt_begin
    longer = spans.alt_end - spans.alt_begin > 0
    for index in np.flatnonzero((same & longer)[literal]).tolist():
        row = literal[index]
        size = int(spans.ref_end[row] - spans.ref_begin[row])
        begin, start = int(spans.alt_begin[row]), int(spans.ref_begin[row])
        if ref[start : start + size] == alt[begin : begin + size]:
            states[index] = _LENGTH % (size, size)


def _locations(places: Places, rows: list[int], starts: list[int], ends: list[int]) -> list[bytes]:
    templates = [
        b'{"end":%%d,"sequenceReference":{"refgetAccession":"%b","type":"SequenceReference"},"start":%%d,'
        b'"type":"SequenceLocation"}' % name.encode()
        for name in places.names
    ]
    codes = places.codes[rows].tolist()
    return [templates[code] % (end, start) for code, start, end in zip(codes, starts, ends, strict=True)]


def _state(allele: Justified) -> bytes:
    """The state of a justified insertion or deletion: by length where the reference alone tells its bases."""
    ref, alt = allele.ref, allele.alt
    size = len(ref)
    seed = abs(len(alt) - size)
    if len(alt) < size:
        return _LENGTH % (len(alt), seed)
    for unit in (factor for factor in range(min(seed, size), 0, -1) if seed % factor == 0):
        cycle = ref[size - unit :]
        if alt[size:] == cycle * (seed // unit):
            return _LENGTH % (len(alt), unit)
    return _LITERAL % alt


def _allele_digests(locations: list[bytes], states: list[bytes]) -> bytes:
    # Alleles of one place share their location, so each distinct one is digested once.
    distinct = list(dict.fromkeys(locations))
    told = _digests(distinct)
    known = dict(zip(distinct, (told[at : at + _DIGEST] for at in range(0, len(told), _DIGEST)), strict=True))
    pairs = zip(locations, states, strict=True)
    return _digests([b'{"location":"%b","state":%b,"type":"Allele"}' % (known[place], state) for place, state in pairs])


def _digests(texts: Sequence[bytes]) -> bytes:
    """The digests one after the other: 24 bytes are 32 characters of base64, so all can be encoded as one."""
    cut = b"".join([sha512(text).digest()[:24] for text in texts])
    return binascii.b2a_base64(cut, newline=False).translate(_TO_URL)


def _column(count: int, rows: list[int], digests: bytes) -> pa.StringArray:
    held = np.zeros(count, dtype=np.bool_)
    held[rows] = True
    width = len(_HEAD) + _DIGEST
    offsets = np.concatenate(([0], np.cumsum(held * width))).astype(np.int32)
    text = np.empty((len(rows), width), dtype=np.uint8)
    text[:, : len(_HEAD)] = np.frombuffer(_HEAD, dtype=np.uint8)
    order = np.argsort(np.array(rows, dtype=np.int64), kind="stable")
    text[:, len(_HEAD) :] = np.frombuffer(digests, dtype=np.uint8).reshape(-1, _DIGEST)[order]
    valid = pa.py_buffer(np.packbits(held, bitorder="little"))
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text), valid)
