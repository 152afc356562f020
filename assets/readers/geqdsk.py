"""G EQDSK: equilibria as EFIT and its kin write them (``g013127.01050``, ``*.geqdsk``, ``*.eqdsk``), one record each.

A snapshot is one file, a folder of them, or a zip or tar archive; ``.gz`` is unpacked. Numbers are as the file has
them, in its own sign convention; the transform ``equilibria`` turns them. Pulse and time are read from the first line
where it names them as EFIT does (``# 13127  1050ms``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from assets.cocos import cocos as known_cocos
from assets.equilibrium_records import EQUILIBRIUM
from assets.geqdsk import GeqdskError, equilibrium
from assets.members import DAMAGED, Member, damaged, members, unpacked
from assets.readers import SOURCE_FIELDS
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot

MAX_TEXT = 64 << 20
MAX_RAW = 65_536
_EFIT = re.compile(r"#\s*(\d{1,18})\s+(\d{1,18})\s*ms", re.IGNORECASE)
_NAMED = re.compile(r"(\.geqdsk|\.eqdsk|\.gfile|_eqdsk|(^|/)g\d+\.\d+(_\d+)?)(\.gz)?$", re.IGNORECASE)

SCHEMA = pa.schema([*SOURCE_FIELDS, *EQUILIBRIUM])


class Options(BaseModel):
    """What to believe where the files are silent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str | None = Field(None, description="the machine, which no G EQDSK names")
    cocos: int | dict[str, int] | None = Field(
        None, description="the files' sign convention, or one for each pattern of file names such as '*cocos02*'"
    )

    @field_validator("cocos")
    @classmethod
    def _is_known(cls, value: int | dict[str, int] | None) -> int | dict[str, int] | None:
        for number in value.values() if isinstance(value, dict) else [value] if value is not None else []:
            known_cocos(number)
        return value

    def convention(self, name: str) -> int | None:
        """The convention that is stated for a file of that name."""
        if not isinstance(self.cocos, dict):
            return self.cocos
        return next((number for pattern, number in self.cocos.items() if fnmatchcase(name, pattern)), None)


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream a snapshot's equilibria, one batch each: ``assets.equilibrium_records.EQUILIBRIUM`` says what they hold.

    Raises:
        HarmoniseError: a column is wanted that there is not.
        SourceError: there is no such file, or one is damaged (while iterating).
    """
    unknown = sorted(set(columns) - set(SCHEMA.names))
    if unknown:
        raise HarmoniseError(
            f"a G EQDSK has no column {', '.join(map(repr, unknown))}",
            f"the columns are: {', '.join(field.name for field in EQUILIBRIUM)}",
        )
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(snapshot, options))


def _batches(snapshot: Snapshot, options: Options) -> Iterator[pa.RecordBatch]:
    number = -1
    for number, member in enumerate(members(snapshot, lambda name: _NAMED.search(name) is not None)):
        yield pa.RecordBatch.from_pylist([{"_source": number, **_record(member, options)}], schema=SCHEMA)
    if number < 0:
        raise SourceError(f"{snapshot.uri} holds no G EQDSK", "name its files g<pulse>.<time>, *.geqdsk or *.eqdsk")


def _record(member: Member, options: Options) -> dict[str, Any]:
    name = member.name.rpartition("/")[2].removesuffix(".gz")
    try:
        content = unpacked(member.stream).read(MAX_TEXT + 1)
    except DAMAGED as error:
        raise damaged(member.place, error) from error
    text = content[:MAX_TEXT].decode("utf-8", errors="replace")
    try:
        if len(content) > MAX_TEXT:
            raise GeqdskError(f"the file is larger than {MAX_TEXT >> 20} MB")
        found = equilibrium(text)
    except GeqdskError as error:
        return {"_position": member.place, "_record": name, "_error": str(error), "_raw": text[: MAX_RAW // 4]}
    said = _EFIT.search(text.partition("\n")[0])
    return {
        "_position": member.place,
        "_record": name,
        "device": options.device,
        "equilibrium": name,
        "pulse": int(said[1]) if said else None,
        "time": int(said[2]) / 1000 if said else None,
        "code": found.name or None,
        "cocos_stated": options.convention(name),
        "current_of_sources": found.current_of_sources(),
        "ip": found.current,
        "r0": found.rcentr,
        "b0": found.bcentr,
        "magnetic_axis_r": found.rmaxis,
        "magnetic_axis_z": found.zmaxis,
        "psi_axis": found.simag,
        "psi_boundary": found.sibry,
        "profiles_psi_norm": [index / (len(found.qpsi) - 1) for index in range(len(found.qpsi))],
        "profiles_f": found.fpol,
        "profiles_pressure": found.pres,
        "profiles_f_df_dpsi": found.ffprim,
        "profiles_dpressure_dpsi": found.pprime,
        "profiles_q": found.qpsi,
        "grid_r": found.r,
        "grid_z": found.z,
        "grid_psi": list(found.psirz.T),
        "boundary_r": found.boundary[:, 0],
        "boundary_z": found.boundary[:, 1],
        "limiter_r": found.limiter[:, 0],
        "limiter_z": found.limiter[:, 1],
    }
