"""The gate: splits canonical rows into kept and quarantined, record by record, and accounts for every one of them.

It gathers every failure of a row before it refuses, keeps a record whole or quarantines it whole, and asserts
``read == kept + quarantined + dropped``. It writes nothing itself: refused records go to the callback it is given.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from catalog.errors import GateError
from catalog.records import Failure, RowGate, TableReport
from catalog.table import Table
from validations.science import ScienceCheck, science_checks
from validations.structure import conditions, pandera_schema, ruled_columns

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), metadata={"description": "The dataset, whose terms the record inherits"}),
        pa.field("table", pa.string(), metadata={"description": "The canonical table that it was meant for"}),
        pa.field("source", pa.int64(), metadata={"description": "Ordinal of the record in the snapshot, from 0"}),
        pa.field("position", pa.string(), metadata={"description": "Where the record stands in the source"}),
        pa.field("record", pa.string(), metadata={"description": "The source's own identifier"}),
        pa.field("column", pa.string(), metadata={"description": "The canonical column at fault, if it is one"}),
        pa.field("check", pa.string(), metadata={"description": "The check that refused"}),
        pa.field("value", pa.string(), metadata={"description": "The value that was refused"}),
        pa.field("reason", pa.string(), metadata={"description": "What is wrong, in words"}),
        pa.field(
            "raw",
            pa.string(),
            metadata={
                "description": "The source's own values as JSON, or its text where it could not be read; long ones cut"
            },
        ),
    ]
)
RAW_LIMIT = 65_536  # characters of raw values kept per refused record; the snapshot has the rest
FLUSH_ROWS = 10_000
REASONS = 500  # distinct ones that a report counts
OTHER_REASONS = "other reasons; `winnow quarantine` has each"
FLUSH_CHARACTERS = 16 << 20

Refuse = Callable[[pa.Table], None]


class Violation(NamedTuple):
    """One check that some rows do not pass: whose it is, where it looks, why it refuses, and which rows pass it."""

    gate: RowGate
    column: str
    check: str
    reason: str
    holds: Any


class Frames:
    """Batches as polars frames. A column without any value costs nothing, and of a wide table that is most of them."""

    def __init__(self) -> None:
        self._schema: pa.Schema | None = None
        self._dtypes: pl.Schema = pl.Schema()

    def of(self, batch: pa.RecordBatch) -> pl.DataFrame:
        """The same columns and rows."""
        if batch.schema != self._schema:
            empty = pl.from_arrow(batch.slice(0, 0))
            assert isinstance(empty, pl.DataFrame)
            self._schema, self._dtypes = batch.schema, empty.schema
        names = batch.schema.names
        given = [name for name, column in zip(names, batch.columns, strict=True) if column.null_count < len(column)]
        frame = pl.from_arrow(batch.select(given or names))
        assert isinstance(frame, pl.DataFrame)
        absent = [name for name in names if name not in frame.columns]
        nothing = [pl.lit(None, dtype=self._dtypes[name]).alias(name) for name in absent]
        return frame.with_columns(nothing).select(names)


class Gate:
    """The row gate of one table in one run."""

    def __init__(self, dataset: str, table: Table, refuse: Refuse, contested: frozenset[str] = frozenset()) -> None:
        self._dataset = dataset
        self._contested = pl.Series(sorted(contested), dtype=pl.String)
        self._taken: set[str] = set()
        self._table = table
        self._schema = table.arrow_schema
        self._frames = Frames()
        self._refuse = refuse
        self._conditions = conditions(table)
        self._science = _named(table)
        self._ruled = ruled_columns(table)
        self._pandera, self._pandera_values = pandera_schema(table), pandera_schema(table, self._ruled)
        self._typed: pa.Schema | None = None
        self._waiting: list[dict[str, Any]] = []
        self._waiting_characters = 0
        self._failures: Counter[tuple[RowGate, str, str, str]] = Counter()
        self._kept = self._quarantined = self._rows = self._seen = 0
        self._dropped: Counter[str] = Counter()
        self._dropped_rows: Counter[str] = Counter()

    def keep(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Yield the kept rows in the table's schema; the rest goes to quarantine.

        Raises:
            GateError: pandera refuses a row that the gate kept, so one of the two is wrong.
        """
        for batch in batches:
            kept = self._split(batch)
            self._rows += kept.num_rows
            if kept.num_rows:
                yield kept
        self._flush()

    def report(self, read: int) -> TableReport:
        """The account, given how many records the reader counted.

        Raises:
            GateError: a record is unaccounted for.
        """
        accounted = self._kept + self._quarantined + self._dropped.total()
        if read != accounted:
            raise GateError(
                f"{self._dataset}: {read} records were read for {self._table.name}, but {accounted} are accounted for",
                "this is a defect in the reader or the transform, which must answer for every record; report it",
            )
        failures = [
            Failure(table=self._table.name, gate=gate, column=column, check=check, reason=reason, records=records)
            for (gate, column, check, reason), records in self._failures.most_common()
        ]
        return TableReport(
            table=self._table.name,
            read=read,
            kept=self._kept,
            quarantined=self._quarantined,
            dropped=dict(self._dropped),
            dropped_rows=dict(self._dropped_rows),
            rows=self._rows,
            failures=tuple(failures),
        )

    def _split(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        canonical = batch.select(self._schema.names)
        frame = self._frames.of(canonical)
        source = pl.Series("source", batch["_source"])
        harmonised = pl.Series("failed", batch["_failures"].is_valid())
        dropped = pl.Series("dropped", batch["_dropped"])
        judged = ~harmonised & dropped.is_null()
        violations = self._violations(frame, judged)
        failed = harmonised & dropped.is_null()
        for violation in violations:
            failed = failed | ~violation.holds
        sound = judged & ~source.is_in(source.filter(failed).unique().implode())
        repeats = self._repeats(frame, source, sound)
        for violation in repeats:
            failed = failed | ~violation.holds
        violations += repeats
        refused = source.filter(failed).unique()
        fails = source.is_in(refused.implode())
        self._count(source, fails, dropped)
        if refused.len():
            self._quarantine(batch, fails & dropped.is_null(), violations)
        keeps = ~fails & dropped.is_null()
        if keeps.all():
            return self._checked(canonical, frame)
        kept = canonical.filter(keeps.to_arrow())
        return self._checked(kept, self._frames.of(kept))

    def _violations(self, frame: pl.DataFrame, judged: pl.Series) -> list[Violation]:
        """What some judged row violates, with where it holds."""
        exprs = [
            condition.holds.fill_null(condition.check != "not_null").alias(str(i))
            for i, condition in enumerate(self._conditions)
        ]
        found = [
            Violation("structure", condition.column, condition.check, condition.reason, holds)
            for condition, holds in zip(self._conditions, frame.select(exprs).get_columns(), strict=True)
        ]
        for name, check in self._science.items():
            reason = (check.__doc__ or name).strip().splitlines()[0]
            found.append(Violation("science", "", name, reason, self._ask(name, check, frame)))
        found = [violation._replace(holds=violation.holds | ~judged) for violation in found]
        return [violation for violation in found if not violation.holds.all()]

    def _ask(self, name: str, check: ScienceCheck, frame: pl.DataFrame) -> pl.Series:
        try:
            return check(frame).fill_null(True)
        except Exception as error:
            raise GateError(
                f"{self._dataset}: science check {name!r} of {self._table.name} broke off: {error}",
                f"this is a defect in validations/science/{self._table.domain}.py; report it with the source",
            ) from error

    def _repeats(self, frame: pl.DataFrame, source: pl.Series, sound: pl.Series) -> list[Violation]:
        """Of rows that share a contested key, all but the first; only what is kept takes a key from later records."""
        if self._contested.is_empty():
            return []
        keys = key_texts(frame, self._table)
        later, twice = [True] * frame.height, [True] * frame.height
        rows = (keys.is_in(self._contested.implode()) & sound).arg_true().to_list()
        for _, record in groupby(rows, key=source.__getitem__):
            own: set[str] = set()
            whole = True
            for row in record:
                later[row], twice[row] = keys[row] not in self._taken, keys[row] not in own
                own.add(keys[row])
                whole = whole and later[row] and twice[row]
            if whole:
                self._taken |= own
        named = f"the same key ({', '.join(self._table.key)})"
        found = [
            Violation("structure", "", "unique_key", f"An earlier record has {named}; only the first is kept.", later),
            Violation("structure", "", "unique_key", f"The record gives {named} more than once.", twice),
        ]
        return [each._replace(holds=pl.Series(each.holds)) for each in found if not all(each.holds)]

    def _count(self, source: pl.Series, fails: pl.Series, dropped: pl.Series) -> None:
        """Count records: quarantined if any row failed, dropped if a rule took all its rows, else kept."""
        if not fails.any() and dropped.null_count() == len(dropped):
            self._kept += source.n_unique()
            return
        records = (
            pl.DataFrame({"source": source, "fails": fails, "dropped": dropped})
            .group_by("source", maintain_order=True)
            .agg(pl.col("fails").any(), pl.col("dropped").first(), pl.col("dropped").is_not_null().all().alias("gone"))
        )
        self._quarantined += int(records["fails"].sum())
        gone = records.filter(~pl.col("fails") & pl.col("gone"))
        self._dropped.update(gone["dropped"].to_list())
        self._dropped_rows.update(dropped.filter(~fails & dropped.is_not_null()).to_list())
        self._kept += records.height - int(records["fails"].sum()) - gone.height

    def _quarantine(self, batch: pa.RecordBatch, rows: pl.Series, violations: list[Violation]) -> None:
        counted: set[tuple[int, str, str]] = set()
        written: set[tuple[int, str, str, str]] = set()
        for row in rows.arg_true().to_list():
            for failure in self._row_failures(batch, row, violations):
                gate = failure.pop("gate")
                key = (failure["source"], failure["column"] or "", failure["check"])
                if key not in counted:
                    counted.add(key)
                    self._tally(gate, key[1], key[2], _without_value(failure))
                if (*key, failure["value"]) not in written:
                    written.add((*key, failure["value"]))
                    self._wait(failure)

    def _tally(self, gate: RowGate, column: str, check: str, reason: str) -> None:
        """Count a failure by its reason; of reasons without end, which may quote their record, only the first."""
        if len(self._failures) >= REASONS and (gate, column, check, reason) not in self._failures:
            reason = OTHER_REASONS
        if len(self._failures) >= 2 * REASONS and (gate, column, check, reason) not in self._failures:
            gate, column, check = "structure", "", "other"
        self._failures[(gate, column, check, reason)] += 1

    def _wait(self, failure: dict[str, Any]) -> None:
        """Hold a refused record back until there are enough for a file; they may be large."""
        self._waiting.append(failure)
        self._waiting_characters += len(failure["raw"])
        if len(self._waiting) >= FLUSH_ROWS or self._waiting_characters >= FLUSH_CHARACTERS:
            self._flush()

    def _row_failures(self, batch: pa.RecordBatch, row: int, violations: list[Violation]) -> list[dict[str, Any]]:
        found = list(batch["_failures"][row].as_py() or [])
        found = [{"gate": "structure", **failure} for failure in found]
        for gate, column, check, reason, holds in violations:
            if not holds[row]:
                value = batch[column][row].as_py() if column else None
                shown = None if value is None else _json(value)[:1000]
                found.append({"gate": gate, "column": column or None, "check": check, "value": shown, "reason": reason})
        if not found:
            return []
        values = batch["_raw"][row].as_py()
        text = values.pop("_raw", None)
        raw = text[:RAW_LIMIT] if text else _bounded_json(values)
        about = {
            "dataset": self._dataset,
            "table": self._table.name,
            "source": batch["_source"][row].as_py(),
            "position": batch["_position"][row].as_py(),
            "record": batch["_record"][row].as_py(),
            "raw": raw,
        }
        return [{**about, **failure} for failure in found]

    def _flush(self) -> None:
        if self._waiting:
            self._refuse(pa.Table.from_pylist(self._waiting, schema=QUARANTINE_SCHEMA))
            self._waiting = []
            self._waiting_characters = 0

    def _checked(self, kept: pa.RecordBatch, frame: pl.DataFrame) -> pa.RecordBatch:
        if kept.num_rows == 0:
            return kept
        if kept.schema != self._typed:
            # Names and types are the same for all rows, so they are judged once, without any.
            self._confirm(self._pandera, frame.head(0))
            self._typed = kept.schema
        self._confirm(self._pandera_values, frame.select(self._ruled))
        return kept.cast(self._schema)

    def _confirm(self, schema: Any, frame: pl.DataFrame) -> None:
        """Ask pandera for its opinion of rows."""
        import pandera.errors

        try:
            schema.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as error:
            first = error.failure_cases.row(0, named=True)
            raise GateError(
                f"{self._dataset}: pandera refuses a row of {self._table.name} that the gate kept: "
                f"column {first.get('column')}, check {first.get('check')}, value {first.get('failure_case')}",
                "the checks in catalog/tables and their derivation disagree; report this as a defect",
            ) from error


def key_texts(frame: pl.DataFrame, table: Table) -> pl.Series:
    """Each row's key as one text, for telling rows apart."""
    return frame.select(pl.struct(table.key).struct.json_encode()).to_series()


def _named(table: Table) -> dict[str, ScienceCheck]:
    known = science_checks()
    missing = [name for name in table.science if name not in known]
    if missing:
        raise GateError(
            f"table {table.name} names science checks that do not exist: {', '.join(missing)}",
            f"add them to validations/science/{table.domain}.py, or correct the table",
        )
    return {name: known[name] for name in table.science}


def _without_value(failure: dict[str, Any]) -> str:
    """A reason to count by; reading errors name their value, so they are counted as one."""
    return "the record could not be read" if failure["check"] == "readable" else str(failure["reason"])


def _bounded_json(values: dict[str, Any]) -> str:
    """The source's values as JSON of bounded length that still parses: long texts and lists are cut, not the JSON."""
    told = {name: value for name, value in values.items() if not name.startswith("_")}
    most = RAW_LIMIT
    while len(text := _json({name: _cut(value, most) for name, value in told.items()})) > RAW_LIMIT and most > 1:
        most //= 2
    return text if len(text) <= RAW_LIMIT else _json({"columns": len(told)})


def _cut(value: Any, most: int) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN
    if isinstance(value, str):
        return value if len(value) <= most else value[:most] + "…"
    if isinstance(value, list):
        return [_cut(item, most) for item in value[:most]] + (["…"] if len(value) > most else [])
    return {key: _cut(item, most) for key, item in value.items()} if isinstance(value, dict) else value


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
