"""The equilibria of an IMAS tree: one record for each time slice, in the tree's own sign convention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from assets.imas_tree import EMPTY, RAW_LIMIT, Record, Tree, at, first

_ENTRIES = {
    "ip": ("global_quantities.ip",),
    "magnetic_axis_r": ("global_quantities.magnetic_axis.r",),
    "magnetic_axis_z": ("global_quantities.magnetic_axis.z",),
    "psi_axis": ("global_quantities.psi_magnetic_axis", "global_quantities.psi_axis"),
    "psi_boundary": ("global_quantities.psi_boundary",),
    "beta_pol": ("global_quantities.beta_pol",),
    "beta_tor": ("global_quantities.beta_tor",),
    "beta_tor_norm": ("global_quantities.beta_tor_norm", "global_quantities.beta_normal"),
    "li_3": ("global_quantities.li_3",),
    "energy_mhd": ("global_quantities.energy_mhd",),
    "volume": ("global_quantities.volume",),
    "profiles_f": ("profiles_1d.f",),
    "profiles_pressure": ("profiles_1d.pressure",),
    "profiles_f_df_dpsi": ("profiles_1d.f_df_dpsi",),
    "profiles_dpressure_dpsi": ("profiles_1d.dpressure_dpsi",),
    "profiles_q": ("profiles_1d.q",),
    "boundary_r": ("boundary.outline.r",),
    "boundary_z": ("boundary.outline.z",),
}
"""Column -> where a time slice has it: the name of data dictionary 4, and that of 3 where it differs."""

_RECTANGULAR = 1
_DIMENSIONS = {"profiles": 1, "boundary": 1}


def equilibria(tree: Tree, cocos: int | None) -> Iterator[Record]:
    """A record for each time slice; one whose numbers are none has ``_error``.

    Args:
        tree: what ``assets.readers.imas.load`` gives.
        cocos: the convention that is stated for it, or None.
    """
    slices = at(tree, "equilibrium.time_slice")
    for number, one in enumerate(slices if isinstance(slices, list) else []):
        name = f"equilibrium.time_slice[{number}]"
        try:
            yield {"equilibrium": name, "cocos_stated": cocos, **_slice(tree, one, number)}
        except (ValueError, TypeError) as error:
            yield {"equilibrium": name, "_error": f"{name} {error}", "_raw": json.dumps(one)[:RAW_LIMIT]}


def _slice(tree: Tree, one: Any, number: int) -> Record:
    found = {
        column: _numbers(first(one, *paths), paths[0], _DIMENSIONS.get(column.partition("_")[0], 0))
        for column, paths in _ENTRIES.items()
    }
    code = at(tree, "equilibrium.code.name")
    times, fields = at(tree, "equilibrium.time"), at(tree, "equilibrium.vacuum_toroidal_field.b0")
    time = at(one, "time")
    return {
        **found,
        **_grid(one),
        "code": code if isinstance(code, str) else None,
        "time": _numbers(_element(times, number) if time is None else time, "time", 0),
        "r0": _numbers(at(tree, "equilibrium.vacuum_toroidal_field.r0"), "vacuum_toroidal_field.r0", 0),
        "b0": _numbers(_element(fields, number), "vacuum_toroidal_field.b0", 0),
        "profiles_psi_norm": _psi_norm(one, found),
    }


def _psi_norm(one: Any, found: Record) -> Any:
    given = _numbers(first(one, "profiles_1d.psi_norm"), "profiles_1d.psi_norm", 1)
    psi = _numbers(first(one, "profiles_1d.psi"), "profiles_1d.psi", 1)
    if given is not None or psi is None or None in (found["psi_axis"], found["psi_boundary"]):
        return given
    span = found["psi_boundary"] - found["psi_axis"]
    return (psi - found["psi_axis"]) / span if span else None


def _grid(one: Any) -> Record:
    """The first rectangular grid of psi, with a list for each R."""
    grids = at(one, "profiles_2d")
    for grid in grids if isinstance(grids, list) else []:
        if at(grid, "grid_type.index") in (_RECTANGULAR, None) and at(grid, "psi") is not None:
            psi = _numbers(at(grid, "psi"), "profiles_2d.psi", 2)
            return {
                "grid_r": _numbers(at(grid, "grid.dim1"), "profiles_2d.grid.dim1", 1),
                "grid_z": _numbers(at(grid, "grid.dim2"), "profiles_2d.grid.dim2", 1),
                "grid_psi": list(psi),
            }
    return {}


def _element(values: Any, number: int) -> Any:
    return values[number] if isinstance(values, list) and number < len(values) else None


def _numbers(value: Any, path: str, dimensions: int) -> Any:
    """A float, or an array of that many dimensions; None for None. Raises ValueError for anything else."""
    if value is None:
        return None
    try:
        found = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{path} holds no numbers, or lists of unequal length") from None
    if found.ndim != dimensions:
        raise ValueError(f"{path} has {found.ndim} dimensions where {dimensions} were expected")
    if dimensions:
        return found
    return None if found == EMPTY else float(found)
