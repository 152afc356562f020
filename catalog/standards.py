"""The pinned vocabularies that canonical columns take their names from: does this term exist?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

FOLDER = Path(__file__).parent / "standards"


@cache
def _listed(prefix: str) -> frozenset[str] | None:
    path = FOLDER / f"{prefix}.yaml"
    if not path.is_file():
        return None
    return frozenset(yaml.safe_load(path.read_text(encoding="utf-8"))["terms"])


class ImasNode(NamedTuple):
    """One node of the IMAS data dictionary; its coordinates are dotted paths, or words such as ``1...N``."""

    data_type: str
    unit: str
    dynamic: bool
    time_slices: bool
    coordinates: tuple[str, ...]

    @property
    def dimensions(self) -> int | None:
        """2 for ``FLT_2D``; None for text and structures."""
        number = re.fullmatch(r"(?:FLT|INT)_(\d)D", self.data_type)
        return int(number[1]) if number else None


def _imas_dictionary() -> bytes:
    from importlib.resources import files

    return (files("imas_data_dictionary") / "resources/schemas/data_dictionary.xml").read_bytes()


@cache
def imas_ids() -> frozenset[str]:
    """The names of all IDSs (``magnetics``, ``equilibrium``...) in the pinned IMAS data dictionary."""
    return frozenset(name.decode() for name in re.findall(rb'<IDS name="(\w+)"', _imas_dictionary()))


def _imas_fields(ids: str) -> tuple[dict[str, str], ...]:
    from xml.etree import ElementTree as ET

    if ids not in imas_ids():
        return ()
    # The dictionary is 30 MB; parsing only the IDS asked for keeps a check quick.
    found = re.search(rb'<IDS name="' + ids.encode() + rb'".*?</IDS>', _imas_dictionary(), re.DOTALL)
    assert found is not None
    root = ET.fromstring(found.group())  # noqa: S314  (a file of an installed, pinned package)
    return tuple(node.attrib for node in root.iter("field"))


def _imas_coordinates(ids: str, field: dict[str, str]) -> Iterator[str]:
    for axis in range(1, 7):
        words = field.get(f"coordinate{axis}")
        if words is None:
            return
        is_path = re.fullmatch(r"[a-z][\w/]*(\([^)]*\)[\w/]*)*", words)
        yield f"{ids}.{re.sub(r'[(][^)]*[)]', '', words).replace('/', '.')}" if is_path else words


@cache
def imas_nodes(ids: str) -> dict[str, ImasNode]:
    """Path -> node of one IDS in the pinned IMAS data dictionary; empty if there is no such IDS.

    Paths are written with dots and without indices: ``magnetics.flux_loop.flux.data``.
    """
    return {
        f"{ids}.{field['path'].replace('/', '.')}": ImasNode(
            data_type=field["data_type"],
            unit=field.get("units", ""),
            dynamic=field.get("type") == "dynamic",
            time_slices=field["path_doc"].endswith("(itime)"),
            coordinates=tuple(_imas_coordinates(ids, field)),
        )
        for field in _imas_fields(ids)
    }


@cache
def imas_units(ids: str) -> dict[str, str]:
    """Path -> unit of every node of one IDS in the pinned IMAS data dictionary; empty if there is none."""
    return {path: node.unit for path, node in imas_nodes(ids).items()}


@cache
def _imas_renamed(ids: str) -> dict[str, str]:
    """Former path -> path, for what the dictionary says was renamed since version 3."""
    renamed = {}
    for field in _imas_fields(ids):
        former = field.get("change_nbc_previous_name", "")
        if not former or not field.get("change_nbc_description", "").endswith("renamed"):
            continue
        path = f"{ids}.{field['path'].replace('/', '.')}"
        parent = path.split(".")[:-1]
        for step in former.split("/"):
            parent = parent[:-1] if step == ".." else [*parent, step]
        renamed[".".join(parent)] = path
    return renamed


@cache
def imas_current(path: str) -> str | None:
    """The pinned dictionary's path of a node that an older one may name otherwise; None if it has none."""
    ids = path.partition(".")[0]
    nodes, renamed = imas_nodes(ids), _imas_renamed(ids)
    for _ in range(path.count(".") + 1):
        if path in nodes:
            return path
        parts = path.split(".")
        heads = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
        head = next((head for head in heads if head in renamed), None)
        if head is None:
            return None
        path = renamed[head] + path[len(head) :]
    return path if path in nodes else None


def imas_node(path: str) -> ImasNode:
    """One node of the pinned dictionary. Raises KeyError where there is none; see ``imas_problem``."""
    return imas_nodes(path.partition(".")[0])[path]


def imas_problem(path: str) -> str | None:
    """None if the pinned IMAS data dictionary has the path, else what is wrong, with the name that is likely meant."""
    ids = path.partition(".")[0]
    if path in imas_nodes(ids):
        return None
    if ids not in imas_ids():
        return f"the IMAS data dictionary 4.1.1 has no {path!r}: there is no IDS {ids!r}{_meant(ids, imas_ids())}"
    renamed = imas_current(path)
    if renamed:
        return f"the IMAS data dictionary 4.1.1 has no {path!r}; it was renamed: use {renamed!r}"
    return f"the IMAS data dictionary 4.1.1 has no {path!r}{_meant(path, imas_nodes(ids))}"


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f"; did you mean {close[0]!r}?" if close else ""


def prefixes() -> tuple[str, ...]:
    """The vocabularies that a ``term:`` may name before its colon."""
    return (*sorted(path.stem for path in FOLDER.glob("*.yaml")), "imas")


def resolve(term: str) -> str | None:
    """None if ``prefix:name`` is in its vocabulary, else what is wrong with it."""
    prefix, _, name = term.partition(":")
    if prefix == "imas":
        found = name in imas_units(name.partition(".")[0])
    else:
        listed = _listed(prefix)
        if listed is None:
            return f"vocabulary {prefix!r} is not one of {', '.join(prefixes())}"
        found = name in listed
    return None if found else f"the standard has no {name!r} ({prefix})"
