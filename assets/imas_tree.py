"""The tree of one pulse by the IMAS data dictionary 4.1.1: which nodes are signals, and when they were taken.

Names that version 4 of the dictionary changed are read under their present names, and fluxes in COCOS 11
(version 3) are turned to COCOS 17 (version 4), which differs from it in the sign of psi alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog.standards import ImasNode, imas_current, imas_nodes

RAW_LIMIT = 65_536
EMPTY = -9e40
"""What IMAS writes for a real number that is not there."""
ERROR_BARS = ("_error_upper", "_error_lower")

Record = dict[str, Any]
Tree = dict[str, Any]
Floats = NDArray[np.float64]

_TIME = ImasNode("FLT_1D", "s", dynamic=True, time_slices=False, coordinates=())


class Leaf(NamedTuple):
    """A node without children. ``above[k]`` is what lies at ``names[: k + 1]``, with its index applied."""

    names: tuple[str, ...] = ()
    indices: tuple[str, ...] = ()
    above: tuple[Any, ...] = ()
    slice_at: int | None = None

    @property
    def value(self) -> Any:
        """What the node holds."""
        return self.above[-1]

    def down(self, name: str, child: Any) -> Leaf:
        """The child of that name."""
        return Leaf((*self.names, name), (*self.indices, ""), (*self.above, child), self.slice_at)

    def element(self, number: int, child: Any, sliced: bool) -> Leaf:
        """The element of that number in an array of structures."""
        at = len(self.names) - 1 if sliced else self.slice_at
        index = f"[{number}]"
        return Leaf(self.names, (*self.indices[:-1], index), (*self.above[:-1], child), at)

    @property
    def path(self) -> str:
        """Without indices, as the file names it."""
        return ".".join(self.names)

    def signal(self, path: str, gathered: bool) -> str:
        """``path`` with this node's indices; ``[:]`` for time slices that it is gathered over."""
        indices = list(self.indices)
        if gathered and self.slice_at is not None:
            indices[self.slice_at] = "[:]"
        return ".".join(map("".join, zip(path.split("."), indices, strict=True)))

    @property
    def name(self) -> str | None:
        """What the nearest enclosing element of an array calls itself."""
        for here, index in zip(reversed(self.above), reversed(self.indices), strict=True):
            if index and isinstance(here, dict):
                names = (here.get(key) for key in ("identifier", "name", "label"))
                found = next((name for name in names if isinstance(name, str) and name), None)
                if found:
                    return found
        return None


def at(tree: Any, path: str) -> Any:
    """What lies at a dotted path without indices, or None."""
    for name in path.split("."):
        if not isinstance(tree, dict):
            return None
        tree = tree.get(name)
    return tree


def first(tree: Tree, *paths: str) -> Any:
    """What lies at the first of some dotted paths where there is something, or None."""
    return next((found for path in paths if (found := at(tree, path)) is not None), None)


def signals(tree: Tree, cocos: int) -> Iterator[Record]:
    """The signals of one tree, in its order; those that cannot be read have ``_error``.

    Args:
        tree: what ``load`` gives.
        cocos: the sign convention of its fluxes.
    """
    for leaves in _groups(Leaf(), tree):
        path = _path(leaves[0])
        node = imas_nodes(leaves[0].names[0])[path] if path else None
        present = [leaf for leaf in leaves if leaf.value is not None]
        if not present or not _is_signal(present[0], path, node):
            continue
        try:
            if path is None or node is None:
                raise ValueError(f"{leaves[0].path} is not in the IMAS data dictionary 4.1.1")
            yield from _signals(tree, present, path, node, _sign(path, node, cocos))
        except ValueError as error:
            raw = json.dumps([leaf.value for leaf in present])[:RAW_LIMIT]
            yield {
                "signal": leaves[0].signal(leaves[0].path, gathered=True),
                "_error": str(error),
                "_raw": raw,
            }


def _groups(place: Leaf, here: Any) -> Iterator[list[Leaf]]:
    """Every node without children; in time slices, together with its like in the other slices."""
    if isinstance(here, dict):
        if place.names and _is_text(place):
            return  # code.parameters: text in the dictionary, which OMAS unfolds
        for name, child in here.items():
            yield from _groups(place.down(name, child), child)
    elif isinstance(here, list) and any(isinstance(child, dict) for child in here):
        sliced = place.slice_at is None and _is_sliced(place)
        groups = chain.from_iterable(
            _groups(place.element(number, child, sliced), child) for number, child in enumerate(here)
        )
        yield from _gathered(groups) if sliced else groups
    else:
        yield [place]


def _gathered(groups: Iterable[list[Leaf]]) -> Iterator[list[Leaf]]:
    together: dict[str, list[Leaf]] = {}
    for leaf in chain.from_iterable(groups):
        together.setdefault(leaf.signal(leaf.path, gathered=True), []).append(leaf)
    yield from together.values()


def _node(place: Leaf) -> ImasNode | None:
    path = imas_current(place.path)
    return imas_nodes(place.names[0])[path] if path else None


def _is_text(place: Leaf) -> bool:
    node = _node(place)
    return node is not None and node.data_type.startswith("STR")


def _is_sliced(place: Leaf) -> bool:
    node = _node(place)
    return node is not None and node.time_slices


def _path(leaf: Leaf) -> str | None:
    """The dictionary's path, if the indices of the file's own path fit it."""
    path = imas_current(leaf.path)
    return path if path and path.count(".") == len(leaf.names) - 1 else None


def _is_signal(leaf: Leaf, path: str | None, node: ImasNode | None) -> bool:
    if path is None or node is None:
        numeric = _holds_numbers(leaf.value)
        return numeric and (isinstance(leaf.value, list) or leaf.slice_at is not None)
    if node.dimensions is None or path.endswith(".time"):
        return False
    return leaf.slice_at is not None or (node.dynamic and node.dimensions > 0)


def _holds_numbers(value: Any) -> bool:
    while isinstance(value, list):
        value = next((item for item in value if item is not None), None)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sign(path: str, node: ImasNode, cocos: int) -> int:
    """-1 for what turns with psi between COCOS 11 and 17: of their parameters, sigma_Bp alone differs."""
    name = path.rpartition(".")[2]
    if "psi" not in name or "Wb" not in node.unit or name.endswith(ERROR_BARS) or cocos == 17:
        return 1
    if cocos == 11:
        return -1
    raise ValueError(f"{path} is in COCOS {cocos}; expected 17, or 11, which is converted")


def _signals(tree: Tree, leaves: list[Leaf], path: str, node: ImasNode, sign: int) -> Iterator[Record]:
    arrays = [flatten(leaf.value, path, node) for leaf in leaves]
    same_shape = len({shape for _, shape in arrays}) == 1
    sets = [(leaves, arrays)] if same_shape else [([one], [array]) for one, array in zip(leaves, arrays, strict=True)]
    for some, parts in sets:
        sliced = some[0].slice_at is not None
        if sliced:
            value, shape = np.concatenate([part for part, _ in parts]), (len(parts), *parts[0][1])
            time, dimensions = _slice_times(tree, some), (_slice_time_path(some[0]), *node.coordinates)
        else:
            value, shape, dimensions = _timefirst(*parts[0], node.coordinates)
            time = _times(tree, some[0], path, dimensions[0])
        yield {
            "signal": some[0].signal(path, gathered=same_shape),
            "path": path,
            "source_signal": some[0].signal(some[0].path, gathered=same_shape),
            "ids": some[0].names[0],
            "name": some[0].name,
            "unit": node.unit or None,
            "time": time,
            "value": value * sign,
            "shape": shape,
            "dimensions": dimensions,
        }


def flatten(value: Any, path: str, node: ImasNode) -> tuple[Floats, tuple[int, ...]]:
    """Nested lists as their numbers, row by row, and their shape. Null is NaN.

    Raises:
        ValueError: the lists are ragged, too deep or too shallow, or hold something other than numbers.
    """
    shape: list[int] = []
    level = [value]
    for _ in range(node.dimensions or 0):
        if not all(isinstance(item, list) for item in level):
            raise ValueError(f"{path} has {len(shape)} dimensions where {node.data_type} was expected")
        lengths = {len(item) for item in level}
        if len(lengths) > 1:
            raise ValueError(f"{path} is ragged: its rows have between {min(lengths)} and {max(lengths)} elements")
        shape.append(lengths.pop() if lengths else 0)
        level = list(chain.from_iterable(level))
    strange = set(map(type, level)) - {int, float, type(None)}
    if strange:
        raise ValueError(f"{path} holds {min(kind.__name__ for kind in strange)} where {node.data_type} was expected")
    try:
        return np.array(level, np.float64), tuple(shape)
    except OverflowError:
        raise ValueError(f"{path} holds a whole number that is too large for {node.data_type}") from None


def _timefirst(
    value: Floats, shape: tuple[int, ...], coordinates: tuple[str, ...]
) -> tuple[Floats, tuple[int, ...], tuple[str, ...]]:
    axis = next(i for i, path in enumerate(coordinates) if path.rpartition(".")[2].startswith("time"))
    turned = np.moveaxis(value.reshape(shape), axis, 0)
    return turned.ravel(), turned.shape, (coordinates[axis], *coordinates[:axis], *coordinates[axis + 1 :])


def _times(tree: Tree, leaf: Leaf, path: str, coordinate: str) -> Floats:
    """The times of a signal: where its coordinate says or, if nothing is there, its IDS's own."""
    names, wanted = path.split("."), coordinate.split(".")
    shared = next(i for i, pair in enumerate(zip(names, wanted, strict=False)) if pair[0] != pair[1])
    found = at(leaf.above[shared - 1], ".".join(wanted[shared:]))
    ids = leaf.names[0]
    if not found and first(tree, f"{ids}.ids_properties.homogeneous_time") in (1, None):
        found, coordinate = at(tree, f"{ids}.time"), f"{ids}.time"
    if not isinstance(found, list):
        raise ValueError(f"{path} has no time: expected numbers at {coordinate}")
    return flatten(found, coordinate, _TIME)[0]


def _slice_time_path(leaf: Leaf) -> str:
    assert leaf.slice_at is not None
    return ".".join([*leaf.names[: leaf.slice_at + 1], "time"])


def _slice_times(tree: Tree, leaves: list[Leaf]) -> Floats:
    """The times of some slices: each its own or, if it has none, the IDS's at its index."""
    root = at(tree, f"{leaves[0].names[0]}.time")
    found = []
    for leaf in leaves:
        assert leaf.slice_at is not None
        number = int(leaf.indices[leaf.slice_at][1:-1])
        time = at(leaf.above[leaf.slice_at], "time")
        if time is None and isinstance(root, list) and number < len(root):
            time = root[number]
        if time is None:
            raise ValueError(f"{_slice_time_path(leaf)} is missing in slice {number}")
        found.append(time)
    return flatten(found, _slice_time_path(leaves[0]), _TIME)[0]
