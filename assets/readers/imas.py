"""IMAS trees as OMAS writes them: JSON, plain or gzipped, keyed by IDS. One file holds one pulse.

What becomes a record depends on ``Options.records``:

- ``signals``: one record for every numeric node that varies in time. An array whose time is not its first
  dimension is turned so that it is. In an array of time slices (``equilibrium.time_slice``) a node is
  gathered over the slices that have it into one signal, ``equilibrium.time_slice[:].global_quantities.ip``;
  if its shape differs between slices (a plasma boundary), each slice is a signal of its own with one time,
  so that nothing is padded.
- ``equilibria``: one record for every slice of ``equilibrium.time_slice``.
- ``shots``: one record for the file: what it says of the pulse, and the traces that a summary follows from.

Static numbers (positions, resistances, geometry), times themselves and the free-form ``code.parameters`` are
not signals and give no records. An array of numbers, or a number in a time slice, that the IMAS data
dictionary does not have is a record with ``_error``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

import orjson
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets.equilibrium_records import EQUILIBRIUM
from assets.imas_equilibria import equilibria
from assets.imas_tree import EMPTY, RAW_LIMIT, Record, Tree, at, first, signals
from assets.readers import SOURCE_FIELDS
from assets.shot_signals import information
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile
from catalog.standards import imas_ids

BATCH_VALUES = 1_000_000

_FLOATS = pa.list_(pa.float64())
_COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "signals": {
        "device": pa.string(),
        "pulse": pa.int64(),
        "signal": pa.string(),
        "path": pa.string(),
        "ids": pa.string(),
        "name": pa.string(),
        "source_signal": pa.string(),
        "source_unit": pa.string(),
        "missing": _FLOATS,
        "unit": pa.string(),
        "time": _FLOATS,
        "value": _FLOATS,
        "shape": pa.list_(pa.int64()),
        "dimensions": pa.list_(pa.string()),
        "samples": pa.int64(),
        "samples_present": pa.int64(),
        "effective_bits": pa.float64(),
    },
    "equilibria": {field.name: field.type for field in EQUILIBRIUM},
    "shots": {
        "device": pa.string(),
        "pulse": pa.int64(),
        "pulse_time_begin": pa.string(),
        "ip_time": _FLOATS,
        "ip_value": _FLOATS,
        "b0_time": _FLOATS,
        "b0_value": _FLOATS,
        "r0": pa.float64(),
        "cocos": pa.int64(),
        "ids": pa.list_(pa.string()),
        "signals": pa.int64(),
    },
}


class Options(BaseModel):
    """What to read from the files, and what to believe where they are silent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: Literal["signals", "equilibria", "shots"] = "signals"
    device: str | None = Field(None, description="the machine, for files that do not name it")
    pulse: int | None = Field(None, description="the pulse number, for a file that does not give it")
    cocos: Literal[11, 17] | None = Field(None, description="the files' convention, for files that do not state it")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Read every file of the snapshot, one at a time, as signals, equilibria or shots (IMAS data dictionary 4.1.1).

    Times are in s, values in the dictionary's units, flattened row by row with time first.

    Raises:
        HarmoniseError: a column is wanted that there is not.
        SourceError: there is no file, or the only file cannot be read at all.
    """
    kinds = _COLUMNS[options.records]
    unknown = sorted(set(columns) - set(kinds))
    if unknown:
        raise HarmoniseError(
            f"IMAS {options.records} of {snapshot.uri} have no column {', '.join(map(repr, unknown))}",
            f"the columns are: {', '.join(kinds)}",
        )
    if not snapshot.files:
        raise SourceError(f"{snapshot.uri} has no files", "point the source at one or more IMAS JSON files")
    schema = pa.schema([*SOURCE_FIELDS, *(pa.field(name, kind) for name, kind in kinds.items())])
    return pa.RecordBatchReader.from_batches(schema, _batches(_records(snapshot, options), schema))


def _batches(records: Iterable[Record], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    pending: list[Record] = []
    values = 0
    for number, record in enumerate(records):
        pending.append({**record, "_source": number})
        traces = (record.get(name) for name in ("value", "ip_value", "b0_value", "profiles_q"))
        values += sum(len(trace) for trace in traces if trace is not None)
        if values >= BATCH_VALUES or len(pending) >= 1024:
            yield _batch(pending, schema)
            pending, values = [], 0
    if pending:
        yield _batch(pending, schema)


def _batch(records: list[Record], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array([record.get(field.name) for record in records], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _records(snapshot: Snapshot, options: Options) -> Iterator[Record]:
    for file in snapshot.files:
        try:
            tree = load(file)
            device, pulse = _identity(file, tree, options)
        except SourceError as error:
            if len(snapshot.files) == 1:
                raise
            yield {"_position": file.name, "_error": error.problem, "_raw": _head(file)}
            continue
        cocos = _cocos(tree, options)
        for record in _of_tree(tree, cocos, options):
            where = record.get("signal") or record.get("equilibrium")
            yield {
                "_position": f"{file.name} {where}" if where else file.name,
                "_record": "/".join([device, str(pulse), *([where] if where else [])]),
                **({} if "_error" in record else {"device": device, "pulse": pulse}),
                **_without_columns(record),
            }
        del tree  # before the next one is loaded: never two in memory


def _of_tree(tree: Tree, cocos: int, options: Options) -> Iterable[Record]:
    if options.records == "equilibria":
        return equilibria(tree, cocos)
    if options.records == "shots":
        return [_shot(tree, cocos)]
    return map(_counted, signals(tree, cocos))


def _counted(record: Record) -> Record:
    """A signal with what there is of it, and with IMAS's own mark for a number that is not there."""
    if "_error" in record:
        return record
    return {**record, "source_unit": record["unit"], "missing": [EMPTY], **information(record["value"], [EMPTY])}


def _without_columns(record: Record) -> Record:
    """The record; of one that could not be read, no more than why and the raw text."""
    return {key: record[key] for key in ("_error", "_raw")} if "_error" in record else record


def load(file: SourceFile) -> Tree:
    """The tree of one file.

    Raises:
        SourceError: it is empty, cut short, not JSON, or holds no IDS.
    """
    wanted = "give a JSON file as OMAS writes it, plain or gzipped, keyed by IDS (magnetics, equilibrium, ...)"
    try:
        raw = file.path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(
            f"{file.name} cannot be unpacked: {error}", "fetch the file again; it may be cut short"
        ) from None
    if not raw.strip():
        raise SourceError(f"{file.name} is empty", wanted)
    try:
        tree = _parse(raw)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{file.name} is not JSON: {error}", wanted) from None
    if not isinstance(tree, dict) or not imas_ids() & tree.keys():
        raise SourceError(f"{file.name} holds no IDS of the IMAS data dictionary", wanted)
    return tree


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        # OMAS writes NaN and Infinity, which JSON does not have and orjson rightly refuses.
        if b"NaN" in raw or b"Infinity" in raw:
            return json.loads(raw)
        raise


def _head(file: SourceFile) -> str:
    with file.path.open("rb") as stream:
        return stream.read(RAW_LIMIT).decode("utf-8", "replace")[: RAW_LIMIT // 4]


def _identity(file: SourceFile, tree: Tree, options: Options) -> tuple[str, int]:
    device = first(tree, "dataset_description.data_entry.machine", "summary.machine") or options.device
    pulse = first(tree, "dataset_description.data_entry.pulse", "summary.pulse")
    pulse = options.pulse if pulse is None else pulse
    if not isinstance(device, str):
        raise SourceError(f"{file.name} does not name its machine", "give it in the source's options: {device: ...}")
    if not isinstance(pulse, int) or abs(pulse) >= 2**63:
        raise SourceError(f"{file.name} has no whole pulse number", "give it in the source's options: {pulse: ...}")
    return device, pulse


def _cocos(tree: Tree, options: Options) -> int:
    """The file's COCOS: as it states, as the options say, or that of its data dictionary's version."""
    stated = at(tree, "equilibrium.code.parameters.cocos") or options.cocos
    version = str(at(tree, "equilibrium.ids_properties.version_put.data_dictionary") or "4")
    return stated if isinstance(stated, int) else 11 if version.startswith("3.") else 17


_PLASMA_CURRENT = ("summary.global_quantities.ip.value", "magnetics.ip[0].data")
_RADIUS_TIMES_FIELD = "tf.b_field_phi_vacuum_r.data"
_FIELD = ("summary.global_quantities.b0.value", "equilibrium.vacuum_toroidal_field.b0")


def _shot(tree: Tree, cocos: int) -> Record:
    wanted = (*_PLASMA_CURRENT, _RADIUS_TIMES_FIELD, *_FIELD)
    kept: dict[str, Record] = {}
    count = 0
    for record in signals(tree, cocos):
        if "_error" not in record:
            count += 1
            if record["signal"] in wanted:
                kept[record["signal"]] = record
    current = next((kept[name] for name in _PLASMA_CURRENT if name in kept), {})
    return {
        "pulse_time_begin": first(tree, "dataset_description.pulse_time_begin", "summary.pulse_time_begin") or None,
        "ip_time": current.get("time"),
        "ip_value": current.get("value"),
        **_field(kept, tree),
        "cocos": cocos,
        "ids": sorted(imas_ids() & tree.keys()),
        "signals": count,
    }


def _field(kept: dict[str, Record], tree: Tree) -> Record:
    """The vacuum toroidal field over time, with the radius where it is given."""
    radius = at(tree, "tf.r0")
    if _RADIUS_TIMES_FIELD in kept and _is_radius(radius):
        trace = kept[_RADIUS_TIMES_FIELD]
        return {"r0": radius, "b0_time": trace["time"], "b0_value": trace["value"] / radius}
    for name in _FIELD:
        parent = name.removesuffix(".b0").removesuffix(".b0.value")
        radius = first(tree, f"{parent}.r0.value", f"{parent}.r0")
        if name in kept and _is_radius(radius):
            return {"r0": radius, "b0_time": kept[name]["time"], "b0_value": kept[name]["value"]}
    return {}


def _is_radius(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
