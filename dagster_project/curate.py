"""The way of the data as plain functions: fetch, stage, commit. Dagster's assets and ``winnow check`` call these."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from assets.readers import known_format
from assets.snapshot import Address
from assets.snapshot import fetch as fetch_snapshot
from assets.source import is_text
from catalog.dataset import PART, Dataset
from catalog.errors import GateError, SourceError
from catalog.ledger import Ledger
from catalog.records import (
    ALL,
    GateReport,
    Snapshot,
    Stage,
    utc_now,
)
from catalog.table import Table, load_table
from catalog.warehouse import Warehouse
from dagster_project.progress import tell
from dagster_project.publish import commit as commit
from dagster_project.publish import refuse_sample_over_source, unchanged
from dagster_project.settings import Settings
from dagster_project.staging import Staging
from dagster_project.tombstones import refuse_withdrawn, remove_raw

_CODE = Path(__file__).parent.parent


@dataclass(frozen=True)
class House:
    """What a run needs: where things are, the ledger, the warehouse, and a clock."""

    settings: Settings
    clock: Callable[[], datetime] = utc_now

    @cached_property
    def ledger(self) -> Ledger:
        """Opened on first use."""
        return Ledger(self.settings.catalog)

    @cached_property
    def warehouse(self) -> Warehouse:
        """Opened on first use."""
        return Warehouse(self.settings.warehouse, self.settings.catalog, self.settings.home / "tmp")


def address(dataset: Dataset, sample: bool = False, override: str | None = None, part: str | None = None) -> Address:
    """Where a run takes the bytes of a dataset from, or of one part of it (by default the one that has a sample).

    Raises:
        SourceError: its owner publishes none, and neither the sample nor another address was asked for; or the
            sample is of another part.
    """
    part = part or dataset.sample_part
    if override is not None:
        return Address(override.replace(PART, part), "override", None, dataset.source.storage_options)
    if sample:
        if part != dataset.sample_part:
            raise SourceError(
                f"{dataset.name}: the bundled sample is of part {dataset.sample_part}, not of {part}",
                f"run part {dataset.sample_part} with the sample, or {part} from its source",
            )
        return Address(str(dataset.sample_path), "sample")
    if dataset.source.uri is None:
        raise SourceError(
            f"{dataset.name} has no public location: {dataset.source.unpublished}",
            f"`winnow run {dataset.name} --sample`, or give the bytes with `--source URI`",
        )
    return Address(
        dataset.source.uri.replace(PART, part), "source", dataset.source.sha256, dataset.source.storage_options
    )


def fetch(house: House, dataset: Dataset, where: Address, part: str | None = None) -> Snapshot:
    """Fetch the bytes of a part (by default the one that has a sample), or find them unchanged.

    The ledger notes a new snapshot.

    Raises:
        SourceError: the bytes cannot be had, or their address cannot be written down.
        GateError: a version of these bytes was withdrawn; they are not kept.
    """
    if not is_text(where.uri):
        raise SourceError(
            f"{dataset.name}: the address {where.uri!r} has characters that are not text",
            "rename the file or its folder",
        )
    if where.sha256 is not None:
        refuse_withdrawn(house.ledger, dataset, where.sha256)
    previous = house.ledger.snapshot(dataset.name, where.uri)

    def progress(done: int, total: int | None) -> None:
        tell(dataset.name, "fetch", done, total)

    snapshot = fetch_snapshot(dataset.name, where, house.settings.raw, previous, house.clock(), progress)
    snapshot = snapshot.model_copy(update={"part": part or dataset.sample_part})
    try:
        refuse_withdrawn(house.ledger, dataset, snapshot.sha256)
    except GateError:
        remove_raw(house.ledger, house.settings.raw, snapshot)
        raise
    if snapshot != previous:
        house.ledger.record_snapshot(snapshot)
    return snapshot


def fingerprint(dataset: Dataset, snapshot: Snapshot) -> str:
    """sha256 of all that a version is a function of: bytes, contracts, the code that reads, maps and judges."""
    tables = [load_table(name) for name in sorted(dataset.feeds)]
    names = [file.name for file in snapshot.files]  # a record without an id is known by its file
    parts = [
        snapshot.sha256,
        *names,
        *([snapshot.part] if snapshot.part != ALL else []),
        dataset.identity(),
        *(json.dumps(table.identity(), sort_keys=True) for table in tables),
    ]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in _code_behind(dataset, tables)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _code_behind(dataset: Dataset, tables: list[Table]) -> list[Path]:
    paths = [
        *_CODE.glob("assets/*.py"),
        *_with_siblings(_CODE / f"assets/readers/{known_format(dataset.source.format)}.py"),
        *(
            _CODE / f"catalog/{name}.py"
            for name in ("units", "standards", "assemblies", "table", "sql_types", "parquet", "row_order")
        ),
        *(
            _CODE / f"{package}/__init__.py"
            for package in ("assets/readers", "assets/transforms", "validations/science")
        ),
        *(_CODE / f"validations/{name}.py" for name in ("gate", "structure", "coded")),
    ]
    paths += [_CODE / f"validations/science/{table.domain}.py" for table in tables]
    for table in tables:
        if table.transform:
            paths += _with_siblings(_CODE / f"assets/transforms/{table.transform}.py")
    return sorted(set(paths))


def _with_siblings(module: Path) -> list[Path]:
    """A reader or transform, and the modules beside it that it builds on."""
    named = re.findall(rf"(?m)^from assets\.{module.parent.name}(?:\.(\w+))? import (.+)$", module.read_text("utf-8"))
    names = {name for package, imported in named for name in (package, *re.findall(r"\w+", imported))}
    return [module, *(path for path in module.parent.glob("*.py") if path.stem in names and path != module)]


def stage(house: House, dataset: Dataset, snapshot: Snapshot, run_id: str) -> tuple[Stage, GateReport]:
    """Read, harmonise, gate and stage every table; nothing is visible yet. A refusal is in the report, not raised.

    Raises:
        BusyError: another run is at work on this part of the dataset.
        GateError: a version of these bytes was withdrawn.
        WinnowError: the source cannot be read, or does not fit the contract.
    """
    with house.ledger.hold(dataset.name, snapshot.part):
        current = house.ledger.current(dataset.name)
        before = current.part(snapshot.part) if current else None
        print_ = fingerprint(dataset, snapshot)
        if current is not None and before is not None and before.fingerprint == print_:
            report = house.ledger.report(dataset.name, before.run_id, before.name)
            if report is not None:
                return unchanged(current, before), report
        refuse_withdrawn(house.ledger, dataset, snapshot.sha256)
        refuse_sample_over_source(current, snapshot.origin)
        done, report = Staging(house, dataset, snapshot, run_id, print_, current).run()
        house.ledger.record_report(report)
        house.ledger.record_stage(done)
        if not report.passed:
            house.warehouse.discard([file for table in done.tables for file in table.files])
        return done, report
