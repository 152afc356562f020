"""What every reader of equilibria gives for each: the columns that the transform ``equilibria`` takes."""

from __future__ import annotations

import pyarrow as pa

_LIST = pa.list_(pa.float64())
_LISTS = (
    "profiles_psi_norm", "profiles_f", "profiles_pressure", "profiles_f_df_dpsi", "profiles_dpressure_dpsi",
    "profiles_q", "grid_r", "grid_z", "boundary_r", "boundary_z", "limiter_r", "limiter_z",
)  # fmt: skip
_NUMBERS = (
    "time", "current_of_sources", "ip", "r0", "b0", "magnetic_axis_r", "magnetic_axis_z", "psi_axis", "psi_boundary",
    "beta_pol", "beta_tor", "beta_tor_norm", "li_3", "energy_mhd", "volume",
)  # fmt: skip
EQUILIBRIUM = (
    *(pa.field(name, pa.string()) for name in ("device", "equilibrium", "code")),
    *(pa.field(name, pa.int64()) for name in ("pulse", "cocos_stated")),
    *(pa.field(name, pa.float64()) for name in _NUMBERS),
    *(pa.field(name, _LIST) for name in _LISTS),
    pa.field("grid_psi", pa.list_(_LIST)),
)
"""What a reader of equilibria gives for each, in the source's own convention: SI; psi in Wb or Wb/rad; grid_psi with a
list for each R; profiles on their points of normalised flux; current_of_sources [A] is what p' and FF' drive."""
