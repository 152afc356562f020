"""The gate: splits canonical rows into kept and quarantined, record by record, and accounts for every one of them.

It gathers every failure of a row before it refuses, keeps a record whole or quarantines it whole, and asserts
``read == kept + quarantined + dropped``. It writes nothing itself: refused records go to the callback it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from catalog.errors import GateError
from catalog.records import Failure, RowGate, TableReport
from catalog.table import Table
from validations.coded import Coding, as_frame, coded_columns, present, verdicts
from validations.quarantine import RAW_LIMIT, Quarantine, Refuse, as_json, bounded_json
from validations.science import ScienceCheck, science_checks
from validations.structure import conditions, pandera_schema, ruled_columns

HELD_ROWS = 65_536  # rows that wait for pandera together
HELD_BYTES = 32 << 20  # fewer, if they are large
CONFIRMED = 1000  # values of a text that pandera is not asked about again
REASONS = 500  # distinct ones that a report counts
OTHER_REASONS = "other reasons; `winnow quarantine` has each"


class Violation(NamedTuple):
    """One check that some rows do not pass: whose it is, where it looks, why it refuses, and which rows pass it."""

    gate: RowGate
    column: str
    check: str
    reason: str
    holds: Any


class Frames:
    """Batches as polars frames. A column without any value costs nothing, and of a wide table that is most of them.

    A text that comes encoded by a dictionary is plain text here.
    """

    def __init__(self) -> None:
        self._schema: pa.Schema | None = None
        self._dtypes: pl.Schema = pl.Schema()

    def of(self, batch: pa.RecordBatch) -> pl.DataFrame:
        """The same columns and rows."""
        if batch.schema != self._schema:
            self._schema, self._dtypes = batch.schema, _frame(batch.slice(0, 0)).schema
        names = batch.schema.names
        given = [name for name, column in zip(names, batch.columns, strict=True) if column.null_count < len(column)]
        frame = _frame(batch.select(given or names))
        absent = [name for name in names if name not in frame.columns]
        nothing = [pl.lit(None, dtype=self._dtypes[name]).alias(name) for name in absent]
        return frame.with_columns(nothing).select(names)


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    return pl.DataFrame({name: _series(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)})


def _series(column: pa.Array) -> pl.Series:
    if pa.types.is_dictionary(column.type):
        return pl.Series(column.dictionary, dtype=pl.String).gather(pl.Series(column.indices))
    return pl.Series(column)


class Gate:
    """The row gate of one table in one run."""

    def __init__(self, dataset: str, table: Table, refuse: Refuse, contested: frozenset[str] = frozenset()) -> None:
        self._dataset = dataset
        self._contested = pl.Series(sorted(contested), dtype=pl.String)
        self._taken: set[str] = set()
        self._table = table
        self._schema = table.arrow_schema
        self._frames = Frames()
        self._refused = Quarantine(refuse)
        self._coding = Coding(ruled_columns(table))
        self._conditions = conditions(table)
        self._science = _named(table)
        self._ruled = ruled_columns(table)
        self._pandera = pandera_schema(table)
        self._pandera_values: dict[tuple[str, ...], Any] = {}
        self._unconfirmed: list[pl.DataFrame] = []
        self._held_bytes = 0
        self._confirmed: dict[str, set[str | None]] = {}
        self._seen_schema: pa.Schema | None = None
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
        self._confirm_held()
        self._refused.flush()

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
        canonical = self._coding.of(canonical)
        violations = self._violations(canonical, frame, judged)
        if judged.all() and not violations and self._contested.is_empty():
            self._kept += _records(batch["_source"])
            return self._checked(canonical, frame)
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

    def _violations(self, batch: pa.RecordBatch, frame: pl.DataFrame, judged: pl.Series) -> list[Violation]:
        """What some judged row violates, with where it holds."""
        coded = coded_columns(batch)
        asked = [
            condition.holds.fill_null(condition.check != "not_null").alias(str(index))
            for index, condition in enumerate(self._conditions)
            if condition.column not in coded
        ]
        told: dict[int, pl.Series | None] = {int(kept.name): kept for kept in frame.select(asked).get_columns()}
        for name in coded:
            own = {index: each for index, each in enumerate(self._conditions) if each.column == name}
            told |= zip(own, verdicts(batch[name], [*own.values()]), strict=True) if own else ()
        found = [
            Violation("structure", condition.column, condition.check, condition.reason, kept)
            for index, condition in enumerate(self._conditions)
            if (kept := told[index]) is not None
        ]
        for name, check in self._science.items():
            reason = (check.__doc__ or name).strip().splitlines()[0]
            found.append(Violation("science", "", name, reason, self._ask(name, check, frame)))
        found = [violation for violation in found if not violation.holds.all()]
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
                    self._refused.add(failure)

    def _tally(self, gate: RowGate, column: str, check: str, reason: str) -> None:
        """Count a failure by its reason; of reasons without end, which may quote their record, only the first."""
        if len(self._failures) >= REASONS and (gate, column, check, reason) not in self._failures:
            reason = OTHER_REASONS
        if len(self._failures) >= 2 * REASONS and (gate, column, check, reason) not in self._failures:
            gate, column, check = "structure", "", "other"
        self._failures[(gate, column, check, reason)] += 1

    def _row_failures(self, batch: pa.RecordBatch, row: int, violations: list[Violation]) -> list[dict[str, Any]]:
        found = list(batch["_failures"][row].as_py() or [])
        found = [{"gate": "structure", **failure} for failure in found]
        for gate, column, check, reason, holds in violations:
            if not holds[row]:
                value = batch[column][row].as_py() if column else None
                shown = None if value is None else as_json(value)[:1000]
                found.append({"gate": gate, "column": column or None, "check": check, "value": shown, "reason": reason})
        if not found:
            return []
        values = batch["_raw"][row].as_py()
        text = values.pop("_raw", None)
        raw = text[:RAW_LIMIT] if text else bounded_json(values)
        about = {
            "dataset": self._dataset,
            "table": self._table.name,
            "source": batch["_source"][row].as_py(),
            "position": batch["_position"][row].as_py(),
            "record": batch["_record"][row].as_py(),
            "raw": raw,
        }
        return [{**about, **failure} for failure in found]

    def _checked(self, kept: pa.RecordBatch, frame: pl.DataFrame) -> pa.RecordBatch:
        if kept.num_rows == 0:
            return kept
        if kept.schema != self._seen_schema:
            # Names and types are the same for all rows, so they are judged once, without any.
            self._confirm(self._pandera, frame.head(0))
            self._seen_schema = kept.schema
        coded = coded_columns(kept)
        ruled = [name for name in self._ruled if name not in coded and self._may_fail(kept, name)]
        self._confirm_later(frame.select(ruled))
        for name in coded:
            if name in self._ruled:
                self._confirm_values(name, kept[name])
        return _typed(kept, self._schema)

    def _confirm_later(self, rows: pl.DataFrame) -> None:
        """Hold rows back until there are enough to ask pandera about: each time costs it the same, for few or many."""
        if self._unconfirmed and self._unconfirmed[0].columns != rows.columns:
            self._confirm_held()
        self._unconfirmed.append(rows)
        self._held_bytes += int(rows.estimated_size())
        if self._held_bytes >= HELD_BYTES or sum(held.height for held in self._unconfirmed) >= HELD_ROWS:
            self._confirm_held()

    def _confirm_held(self) -> None:
        held, self._unconfirmed, self._held_bytes = self._unconfirmed, [], 0
        if held:
            self._confirm(self._schema_of(tuple(held[0].columns)), pl.concat(held))

    def _confirm_values(self, name: str, column: pa.DictionaryArray) -> None:
        """Ask pandera of those values that it has not seen yet."""
        seen = self._confirmed.setdefault(name, set())
        if column.null_count == 0 and seen.issuperset(column.dictionary.to_pylist()):
            return
        values = present(column)
        self._confirm(self._schema_of((name,)), as_frame(values, name))
        if len(seen) < CONFIRMED:
            seen.update(values.to_pylist())

    def _may_fail(self, kept: pa.RecordBatch, name: str) -> bool:
        """Whether a column has a value to judge; one that may be null and is keeps every rule."""
        return not self._schema.field(name).nullable or kept[name].null_count < kept.num_rows

    def _schema_of(self, names: tuple[str, ...]) -> Any:
        """The pandera schema of some columns."""
        if names not in self._pandera_values:
            self._pandera_values[names] = pandera_schema(self._table, names)
        return self._pandera_values[names]

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


def _records(source: pa.Array) -> int:
    """How many source records rows are of; those of one record follow one another."""
    ordinals = source.to_numpy()
    return int(np.count_nonzero(np.diff(ordinals))) + bool(len(ordinals))


def _typed(kept: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows in the table's types; texts that are encoded by a dictionary stay so until they are written."""
    fields = [
        field.with_type(column.type) if pa.types.is_dictionary(column.type) else field
        for field, column in zip(schema, kept.columns, strict=True)
    ]
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(kept.columns, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, schema.metadata))


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
