"""YAML that remembers where each value stands, so that a contract's errors carry file, line and column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from catalog.errors import ContractError

Location = tuple[str | int, ...]
DEEPEST = 20
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGING_TAGS = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")  # of the keys << and =


@dataclass(frozen=True)
class Problem:
    """One thing wrong in one place of a contract."""

    path: Path
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.message}"


class LocatedYaml:
    """A YAML document and the line and column (both from 1) of every key and item in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            node = _composed(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ContractError(f"{path} does not exist", "create it, or correct the dataset's name") from None
        except UnicodeDecodeError as error:
            raise ContractError(
                f"{path} is not UTF-8: {error.reason} at byte {error.start}", "save the file as UTF-8"
            ) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            words = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise ContractError(f"{path}:{line}:{column}: {words}", "correct the YAML's syntax") from None
        if not isinstance(node, yaml.MappingNode):
            raise ContractError(f"{path}:1:1: expected keys and values", "see docs/how-to/add-a-dataset.md")
        self._places: dict[Location, tuple[int, int]] = {}
        self.duplicates: list[Problem] = []
        self._loader = yaml.SafeLoader("")
        self._visit(node, ())
        self.data: dict[str, Any] = self._construct(node, self._loader.construct_document)

    def place(self, location: Location) -> tuple[int, int]:
        """Where a location stands, or the nearest enclosing one that is written down."""
        for length in range(len(location), -1, -1):
            if location[:length] in self._places:
                return self._places[location[:length]]
        return (1, 1)

    def problem(self, location: Location, message: str) -> Problem:
        """A problem at a location such as ``("attributes", "columns", "gene")``."""
        return Problem(self.path, *self.place(location), message)

    def _refuse(self, node: yaml.Node, words: str, mark: yaml.Mark | None = None) -> NoReturn:
        mark = mark or node.start_mark
        line, column = mark.line + 1, mark.column + 1
        raise ContractError(f"{self.path}:{line}:{column}: {words}", "correct the value")

    def _construct(self, node: yaml.Node, construct: Callable[[yaml.Node], Any]) -> Any:
        try:
            return construct(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
            # PyYAML's constructors raise what they come upon where a tag does not fit: !!bool maybe is a KeyError.
            words = getattr(error, "problem", None) or error
            if isinstance(node, yaml.ScalarNode):
                self._refuse(node, f"{node.value!r} cannot be {node.tag}: {words}")
            self._refuse(node, str(words), getattr(error, "problem_mark", None))

    def _check_key(self, key: yaml.Node) -> None:
        if not isinstance(key, yaml.ScalarNode):
            self._refuse(key, "a key must be plain text")
        if key.tag not in _MERGING_TAGS:
            self._construct(key, self._loader.construct_object)

    def _visit(self, node: yaml.Node, location: Location) -> None:
        if len(location) > DEEPEST:
            self._refuse(node, f"more than {DEEPEST} levels deep, or an alias within itself")
        if isinstance(node, yaml.ScalarNode):
            self._construct(node, self._loader.construct_object)
        elif node.tag not in _PLAIN_TAGS:
            self._refuse(node, f"the tag {node.tag} is not taken here")
        self._places.setdefault(location, (node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._check_key(key)
                inner = (*location, key.value)
                place = (key.start_mark.line + 1, key.start_mark.column + 1)
                if inner in self._places:
                    self.duplicates.append(Problem(self.path, *place, f"{key.value!r} is given twice"))
                self._places[inner] = place
                self._visit(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._visit(item, (*location, index))


def _composed(text: str) -> yaml.Node | None:
    """The tree of a document. Raises yaml.YAMLError."""
    fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.compose(text, Loader=fast)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)  # whose words say more


def validation_problems(source: LocatedYaml, error: ValidationError, prefix: Location = ()) -> Iterator[Problem]:
    """Turn pydantic's errors into problems with line and column."""
    for detail in error.errors():
        location = (*prefix, *detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = f"unknown key {location[-1]!r}"
        elif detail["type"] == "missing":
            message = f"{location[-1]!r} is missing"
        yield source.problem(location, message)


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one ContractError that lists every problem, or return if there is none."""
    found = sorted(set(problems), key=lambda p: (str(p.path), p.line, p.column, p.message))
    if found:
        raise ContractError(
            "\n".join(str(problem) for problem in found),
            "correct the lines above, then run `winnow check` again",
        )
