"""The gate: splits canonical rows into kept and quarantined, record by record, and accounts for every one of them.

It gathers every failure of a row before it refuses, keeps a record whole or quarantines it whole, and asserts
``read == kept + quarantined + dropped``. It writes nothing itself: refused records go to the callback it is given.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import polars as pl
import pyarrow as pa

from catalog.errors import GateError
from catalog.records import Failure, TableReport
from catalog.table import Table
from validations.science import ScienceCheck, science_checks
from validations.structure import Condition, conditions, pandera_schema

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
        pa.field("raw", pa.string(), metadata={"description": "The source's own values as JSON"}),
    ]
)
RAW_LIMIT = 65_536  # characters of raw values kept per refused record; the snapshot has the rest
FLUSH_ROWS = 10_000

Refuse = Callable[[pa.Table], None]


class Gate:
    """The row gate of one table in one run."""

    def __init__(self, dataset: str, table: Table, refuse: Refuse, contested: frozenset[str] = frozenset()) -> None:
        self._dataset = dataset
        self._contested = contested
        self._taken: set[str] = set()
        self._table = table
        self._refuse = refuse
        self._conditions = conditions(table)
        self._science = _named(table)
        self._pandera = pandera_schema(table)
        self._waiting: list[dict[str, Any]] = []
        self._failures: Counter[tuple[str, str, str]] = Counter()
        self._kept = self._quarantined = self._rows = self._seen = 0
        self._dropped: Counter[str] = Counter()

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
            Failure(table=self._table.name, column=column, check=check, reason=reason, records=records)
            for (column, check, reason), records in self._failures.most_common(100)
        ]
        return TableReport(
            table=self._table.name,
            read=read,
            kept=self._kept,
            quarantined=self._quarantined,
            dropped=dict(self._dropped),
            rows=self._rows,
            failures=tuple(failures),
        )

    def _split(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        canonical = batch.select(self._table.arrow_schema.names)
        frame = pl.from_arrow(canonical)
        assert isinstance(frame, pl.DataFrame)
        source = pl.Series("source", batch["_source"])
        harmonised = pl.Series("failed", batch["_failures"].is_valid())
        dropped = pl.Series("dropped", batch["_dropped"])
        judged = ~harmonised & dropped.is_null()
        violations = self._violations(frame, judged)
        failed = harmonised & dropped.is_null()
        for _, holds in violations:
            failed = failed | ~holds
        sound = judged & ~source.is_in(source.filter(failed).unique().implode())
        repeats = self._repeats(frame, source, sound)
        for _, holds in repeats:
            failed = failed | ~holds
        violations += repeats
        refused = source.filter(failed).unique()
        fails = source.is_in(refused.implode())
        self._count(source, fails, dropped)
        if refused.len():
            self._quarantine(batch, fails & dropped.is_null(), violations)
        keeps = ~fails & dropped.is_null()
        return self._checked(canonical if keeps.all() else canonical.filter(keeps.to_arrow()))

    def _violations(self, frame: pl.DataFrame, judged: pl.Series) -> list[tuple[Condition, pl.Series]]:
        """Each condition that some judged row violates, with where it holds."""
        exprs = [
            condition.holds.fill_null(condition.check != "not_null").alias(str(i))
            for i, condition in enumerate(self._conditions)
        ]
        results = list(zip(self._conditions, frame.select(exprs).get_columns(), strict=True))
        for name, check in self._science.items():
            reason = (check.__doc__ or name).strip().splitlines()[0]
            results.append((Condition("", name, reason, pl.lit(True)), check(frame).fill_null(True)))
        results = [(condition, holds | ~judged) for condition, holds in results]
        return [(condition, holds) for condition, holds in results if not holds.all()]

    def _repeats(self, frame: pl.DataFrame, source: pl.Series, sound: pl.Series) -> list[tuple[Condition, pl.Series]]:
        """Of rows that share a contested key, all but the first; only what is kept takes a key from later records."""
        if not self._contested:
            return []
        keys = key_texts(frame, self._table)
        holds = [True] * frame.height
        rows = (keys.is_in(self._contested) & sound).arg_true().to_list()
        for _, record in groupby(rows, key=source.__getitem__):
            own: set[str] = set()
            whole = True
            for row in record:
                holds[row] = keys[row] not in self._taken and keys[row] not in own
                own.add(keys[row])
                whole = whole and holds[row]
            if whole:
                self._taken |= own
        reason = f"An earlier record has the same key ({', '.join(self._table.key)}); only the first is kept."
        condition = Condition("", "unique_key", reason, pl.lit(True))
        return [] if all(holds) else [(condition, pl.Series(holds))]

    def _count(self, source: pl.Series, fails: pl.Series, dropped: pl.Series) -> None:
        """Count records: quarantined if any row failed, dropped if a rule took all its rows, else kept."""
        records = (
            pl.DataFrame({"source": source, "fails": fails, "dropped": dropped})
            .group_by("source", maintain_order=True)
            .agg(pl.col("fails").any(), pl.col("dropped").first(), pl.col("dropped").is_not_null().all().alias("gone"))
        )
        self._quarantined += int(records["fails"].sum())
        gone = records.filter(~pl.col("fails") & pl.col("gone"))
        self._dropped.update(gone["dropped"].to_list())
        self._kept += records.height - int(records["fails"].sum()) - gone.height

    def _quarantine(
        self, batch: pa.RecordBatch, rows: pl.Series, violations: list[tuple[Condition, pl.Series]]
    ) -> None:
        counted: set[tuple[int, str, str]] = set()
        written: set[tuple[int, str, str, str]] = set()
        for row in rows.arg_true().to_list():
            for failure in self._row_failures(batch, row, violations):
                key = (failure["source"], failure["column"] or "", failure["check"])
                if key not in counted:
                    counted.add(key)
                    self._failures[(key[1], key[2], _without_value(failure))] += 1
                if (*key, failure["value"]) not in written:
                    written.add((*key, failure["value"]))
                    self._waiting.append(failure)
        if len(self._waiting) >= FLUSH_ROWS:
            self._flush()

    def _row_failures(
        self, batch: pa.RecordBatch, row: int, violations: list[tuple[Condition, pl.Series]]
    ) -> list[dict[str, Any]]:
        found = list(batch["_failures"][row].as_py() or [])
        for condition, holds in violations:
            if not holds[row]:
                value = batch[condition.column][row].as_py() if condition.column else None
                shown = None if value is None else _json(value)[:1000]
                found.append(
                    {
                        "column": condition.column or None,
                        "check": condition.check,
                        "value": shown,
                        "reason": condition.reason,
                    }
                )
        if not found:
            return []
        values = batch["_raw"][row].as_py()
        raw = values.pop("_raw", None) or _json(
            {name: value for name, value in values.items() if not name.startswith("_")}
        )
        about = {
            "dataset": self._dataset,
            "table": self._table.name,
            "source": batch["_source"][row].as_py(),
            "position": batch["_position"][row].as_py(),
            "record": batch["_record"][row].as_py(),
            "raw": raw[:RAW_LIMIT],
        }
        return [{**about, **failure} for failure in found]

    def _flush(self) -> None:
        if self._waiting:
            self._refuse(pa.Table.from_pylist(self._waiting, schema=QUARANTINE_SCHEMA))
            self._waiting = []

    def _checked(self, kept: pa.RecordBatch) -> pa.RecordBatch:
        import pandera.errors

        if kept.num_rows == 0:
            return kept
        frame = pl.from_arrow(kept)
        try:
            self._pandera.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as error:
            first = error.failure_cases.row(0, named=True)
            raise GateError(
                f"{self._dataset}: pandera refuses a row of {self._table.name} that the gate kept: "
                f"column {first.get('column')}, check {first.get('check')}, value {first.get('failure_case')}",
                "the checks in catalog/tables and their derivation disagree; report this as a defect",
            ) from error
        return kept.cast(self._table.arrow_schema)


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


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
