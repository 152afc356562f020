"""Phrases: the words of ``phrases.yaml`` as patterns, and what each may mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from catalog.rights.licences import Obligation, load_licences

FILE = Path(__file__).parent / "phrases.yaml"


class Phrases(NamedTuple):
    """The patterns; ``phrases.yaml`` says of each what it is for."""

    named: tuple[tuple[re.Pattern[str], frozenset[str]], ...]
    not_commercial: re.Pattern[str]
    restriction: re.Pattern[str]
    statement: re.Pattern[str]
    back_reference: re.Pattern[str]
    filler: re.Pattern[str]
    denied: re.Pattern[str]
    qualified: re.Pattern[str]
    foreign: re.Pattern[str]
    condition: re.Pattern[str]
    boilerplate: re.Pattern[str]


@cache
def load_phrases(path: Path = FILE) -> Phrases:
    """All phrases."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = tuple((_any(each["words"]), frozenset(each["means"])) for each in content.pop("named"))
    return Phrases(named, **{name: _any([said] if isinstance(said, str) else said) for name, said in content.items()})


@cache
def owners_words() -> tuple[re.Pattern[str], Mapping[str, frozenset[str]]]:
    """The ``words`` of ``licences.yaml``, and which licences each may mean."""
    means: dict[str, set[str]] = {}
    for spdx, licence in load_licences().items():
        for phrase in licence.words:
            means.setdefault(phrase.lower(), set()).add(spdx)
    longest_first = sorted(means, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
    return pattern, MappingProxyType({phrase: frozenset(ids) for phrase, ids in means.items()})


@cache
def carrying(obligation: Obligation) -> frozenset[str]:
    """The licences that ask this."""
    return frozenset(spdx for spdx, licence in load_licences().items() if obligation in licence.obligations)


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.ASCII | re.IGNORECASE)
