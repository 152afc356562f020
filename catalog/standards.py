"""The pinned vocabularies that canonical columns take their names from: does this term exist?"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent / "standards"


@cache
def _listed(prefix: str) -> frozenset[str] | None:
    path = FOLDER / f"{prefix}.yaml"
    if not path.is_file():
        return None
    return frozenset(yaml.safe_load(path.read_text(encoding="utf-8"))["terms"])


@cache
def imas_units(ids: str) -> dict[str, str]:
    """Path -> unit of every node of one IDS in the pinned IMAS data dictionary; empty if there is no such IDS.

    Paths are written with dots and without indices: ``magnetics.flux_loop.flux.data``.
    """
    from importlib.resources import files
    from xml.etree import ElementTree

    raw = (files("imas_data_dictionary") / "resources/schemas/data_dictionary.xml").read_bytes()
    # The dictionary is 30 MB; parsing only the IDS asked for keeps a check quick.
    found = re.search(rb'<IDS name="' + re.escape(ids.encode()) + rb'".*?</IDS>', raw, re.DOTALL)
    if found is None:
        return {}
    root = ElementTree.fromstring(found.group())  # noqa: S314  (a file of an installed, pinned package)
    return {
        f"{ids}.{node.attrib['path'].replace('/', '.')}": node.attrib.get("units", "")
        for node in root.iter("field")
    }


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
