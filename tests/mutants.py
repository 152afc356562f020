"""Mutants: a function with one guard taken out, in place, so that everybody who calls it calls the mutant."""

import __future__

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Mutant:
    """The places of a guard (``module:function``), its text there, and what stands there without it."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    probe: str


def load(path: Path) -> list[Mutant]:
    """The mutants of a YAML file; those with ``more`` take several guards out, each of which would hold alone."""
    found = []
    for told in yaml.safe_load(path.read_text(encoding="utf-8")):
        parts = [told, *told.get("more", [])]
        changes = tuple((part["place"], part["old"], part["new"]) for part in parts)
        found.append(Mutant(told["guard"], changes, told["probe"]))
    return found


def function_at(place: str) -> Callable[..., Any]:
    """The function itself, from below its decorators."""
    module, _, path = place.partition(":")
    found: Any = __import__(module, fromlist=["_"])
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    found = getattr(found, "fget", found)
    found = getattr(found, "__func__", found)
    return inspect.unwrap(found)


def mutated_code(function: Callable[..., Any], changes: list[tuple[str, str]]) -> Any:
    """The function's code with pieces of its text replaced.

    Raises:
        AssertionError: the text is not there exactly once: the guard was moved, and the mutant must follow it.
    """
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        assert source.count(old) == 1, f"{function.__qualname__} has {source.count(old)} times: {old}"
        source = source.replace(old, new)
    tree = ast.parse(source)
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    namespace = dict(function.__globals__)
    exec(
        compile(
            tree,
            f"<mutant of {function.__qualname__}>",
            "exec",
            __future__.annotations.compiler_flag,
            dont_inherit=True,
        ),
        namespace,
    )
    code = namespace[definition.name].__code__
    assert code.co_freevars == function.__code__.co_freevars
    return code


@contextlib.contextmanager
def in_force(mutant: Mutant) -> Iterator[None]:
    """Take the guard out, and put it back."""
    kept = []
    try:
        for place in dict.fromkeys(place for place, _, _ in mutant.changes):
            function = function_at(place)
            code = mutated_code(function, [(old, new) for at, old, new in mutant.changes if at == place])
            kept.append((function, function.__code__))
            function.__code__ = code
        _forget()
        yield
    finally:
        for function, code in kept:
            function.__code__ = code
        _forget()


def _forget() -> None:
    from catalog.rights import policy

    policy._doubt.cache_clear()
