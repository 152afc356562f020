"""Guards: each of them is taken out in turn, and then something leaks. What no test misses guards nothing."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from byte_search import every_byte, hits, values_bytes
from canaries import TABLE, TODAY, PrivateHouse, command, private_house, text_of
from mutants import Mutant, in_force, load

from catalog.dataset import Dataset
from catalog.errors import ReleaseError, WinnowError
from catalog.query import Door
from catalog.rights.terms import DatasetTerms

Found = list[tuple[str, bytes]]
CELLS = "biodiversity.species_by_cell"


@pytest.fixture(scope="module")
def house() -> PrivateHouse:
    return private_house()


# -- probes: what each door gives ----------------------------------------------------------------------


def door_of(house: PrivateHouse, *datasets: Dataset, at: dict[str, int] | None = None) -> Door:
    return Door(house.house.warehouse, house.house.ledger, datasets or house.datasets(), "open", TODAY, at)


def asked(door: Door, sql: str) -> Found:
    try:
        return [(sql, values_bytes(door.answer(sql).to_arrow_table()))]
    except Exception as error:  # its words are what is looked at
        return [(sql, f"{type(error).__name__}: {error}".encode())]


def terms_of(dataset: Dataset, **changed: object) -> Dataset:
    """The dataset under a contract that was changed since its version was curated."""
    told = DatasetTerms.model_validate({**dataset.terms.model_dump(), **changed})
    copy = dataset.model_copy(update={"terms": told})
    copy._name, copy._folder = dataset._name, dataset._folder
    return copy


def query(house: PrivateHouse, _: Path) -> Found:
    return asked(door_of(house), f"FROM {TABLE}")


def query_by_new_contract(house: PrivateHouse, _: Path) -> Found:
    """Rows that were made under other rules are held, until they are made anew."""
    changed = terms_of(house.dataset("mixed"), embargo={"until": "2020-01-01"})
    return asked(door_of(house, changed), f"FROM {TABLE}")


def query_by_later_day(house: PrivateHouse, folder: Path) -> Found:
    """The rows' own later day holds, whatever earlier day their contract says."""
    return query_by_new_contract(house, folder)


def query_of_what_was_taken_back(house: PrivateHouse, _: Path) -> Found:
    return asked(door_of(house, house.dataset("zztaken")), f"FROM {TABLE}")


def query_of_past_versions(house: PrivateHouse, _: Path) -> Found:
    found: Found = []
    with contextlib.suppress(WinnowError):
        found += asked(door_of(house, at={"biodiversity/zztaken": 1}), f"FROM {TABLE}")
    return [*found, *asked(door_of(house), "FROM catalog.versions")]


def query_with_errors(house: PrivateHouse, folder: Path) -> Found:
    """An error in a condition quotes the row that it is evaluated on. DuckDB moves it below a join with one row."""
    other, secret = PrivateHouse(folder), house.secret["row-nc"]
    other.contract("mixed", row_licence={"column": "license"})
    _curate(other, "mixed", [secret.record(license="CC BY-NC 4.0"), house.free["free"].record()])
    # No longer than half of the word, which the asker must not be the one to say.
    sql = f"SELECT count(*) FROM biodiversity.mixed__occurrences WHERE starts_with(_record, '{secret.word[:9]}')"
    return asked(door_of(other), f"{sql} AND error(_record) > ''")


def query_of_files(house: PrivateHouse, _: Path) -> Found:
    door = door_of(house)
    (file,) = house.house.warehouse.files(door.versions["biodiversity/mixed"], TABLE)
    found = asked(door, f"SELECT b.* FROM {TABLE} AS a, read_parquet('{file}') AS b LIMIT 999999")
    return [*found, *asked(door, f"SELECT b.* FROM {TABLE} AS a, '{file}' AS b")]


def query_of_cells(house: PrivateHouse, _: Path) -> Found:
    """With rows in conflict beside them, and without: a mixture that may not go hides what may not go into it."""
    few = door_of(house, house.dataset("plain"), house.dataset("zzlater"))
    return [*asked(door_of(house), f"FROM {CELLS}"), *asked(few, f"FROM {CELLS}")]


def query_of_inventory(house: PrivateHouse, _: Path) -> Found:
    names = ("gates", "quarantine", "versions", "datasets")
    return [
        part
        for name in names
        for part in asked(door_of(house), f"SELECT CAST(told AS VARCHAR) AS told FROM catalog.{name} AS told")
    ]


def counts(house: PrivateHouse, _: Path) -> Found:
    rows = asked(door_of(house), "SELECT 'counted ' || rows || ' of ' || dataset FROM catalog.datasets")
    parts = asked(door_of(house), "SELECT 'counted ' || rows || ' of ' || dataset FROM catalog.versions")
    return rows + parts


def quarantine(house: PrivateHouse, _: Path) -> Found:
    """Of every dataset, and of those whose contract says no longer that its rows have terms of their own."""
    silent = terms_of(house.dataset("mixed"), row_licence=None, embargo=None)
    found: Found = []
    for door in (door_of(house), door_of(house, silent)):
        for name in door.datasets:
            with contextlib.suppress(WinnowError):
                refused = door.quarantine(name)
                found += [(name, values_bytes(refused.to_arrow_table()))] if refused else []
    return found


def terminal(house: PrivateHouse, _: Path) -> Found:
    return [("terms", command(house, "terms", "biodiversity/zzdoubtful").encode())]


def rows_of_terms(house: PrivateHouse, _: Path) -> Found:
    return [("terms", command(house, "terms", "biodiversity/zzlater").encode())]


def release(house: PrivateHouse, folder: Path) -> Found:
    from dagster_project import releases

    releases.cut(house.house, "open", str(folder / "release"), datasets=house.datasets())
    return list(every_byte(folder / "release"))


def release_in_private(house: PrivateHouse, _: Path) -> Found:
    from dagster_project import releases

    place = house.house.settings.home / "raw" / "release"
    try:
        releases.cut(house.house, "open", str(place), datasets=[house.dataset("plain")])
    except ReleaseError:
        return []
    return [("a release among private bytes", b"released")]


def pages(house: PrivateHouse, _: Path) -> Found:
    """What Dagster's pages of each dataset, its checks and its tables would say now."""
    from dagster_project import metadata
    from dagster_project.privacy import is_private

    found: Found = []
    ledger = house.house.ledger
    for dataset in house.datasets():
        stage, report, version = ledger.stage(dataset.name), ledger.report(dataset.name), ledger.current(dataset.name)
        snapshot = ledger.snapshot(dataset.name)
        told: list[object] = [metadata.raw_metadata(house.house, dataset, snapshot)] if snapshot and stage else []
        if stage and report:
            private = is_private(house.house, dataset, stage.found)
            told.append(metadata.staged_metadata(house.house, dataset, stage, report))
            told += [metadata.check_result(gate, report, private) for gate in ("structure", "expectations", "terms")]
        if version:
            told.append(metadata.published_metadata(house.house, dataset, version))
        found.append((dataset.name, repr(told).encode()))
    table = metadata.table_metadata(house.house, TABLE, house.datasets())
    return [*found, (TABLE, f"{table!r} counted {table['dagster/row_count']} of {TABLE}".encode())]


def failures(house: PrivateHouse, _: Path) -> Found:
    """What Dagster is told of an error that quotes a private record."""
    from dagster_project.privacy import Confidant, told

    word = house.secret["closed"].word
    found: Found = []
    for error in (WinnowError(f"{word} is no number", "mend it"), ValueError(word)):
        try:
            with told(Confidant(house.house, house.dataset("zzclosed"), "run")):
                raise error
        except (dg.Failure, ValueError) as failure:
            found.append(("failure", f"{failure} {getattr(failure, 'metadata', '')}".encode()))
    return found


def curated_anew(house: PrivateHouse, folder: Path) -> Found:
    """Rows read, mapped and gated now, in a house of their own: what its query door says and shows."""
    from canaries import nest

    other = PrivateHouse(folder)
    other.secret = house.secret
    by_row = {"row_licence": {"column": "license"}, "embargo": {"column": "available"}}
    unknown = house.secret["row-unknown"]
    other.contract("mixed", **by_row)
    rows = [unknown.record(license=f"All rights reserved by {unknown.word}"), house.free["free"].record()]
    _curate(other, "mixed", rows)
    rule = "CASE scientificName WHEN 'Aquila secreta' THEN true WHEN 'Parus major' THEN false END"
    other.contract("nests", sensitive=[{"when": rule, "cell": 0.1, "reason": "It is rare"}])
    unnamed = dict.fromkeys(("species", "scientificName", "rightsHolder"), "x")
    _curate(other, "nests", [nest(house.secret["nest"]), house.secret["nest-quarantined"].record(**unnamed)])
    door = door_of(other)
    shown = asked(door, f"FROM {TABLE}")
    assert b"Aquila secreta" in shown[0][1]
    said = "; ".join(f"{each.dataset} {each.decision.reason}" for each in door.withheld)
    return [*shown, ("stderr", said.encode())]


def _curate(house: PrivateHouse, name: str, rows: list[dict[str, str]]) -> None:
    from dagster_project import curate

    dataset = house.dataset(name)
    source = house.source(name, text_of(rows))
    snapshot = curate.fetch(house.house, dataset, curate.address(dataset, override=str(source)))
    stage, report = curate.stage(house.house, dataset, snapshot, "run")
    assert report.passed
    curate.commit(house.house, dataset, stage)


PROBES: dict[str, Callable[[PrivateHouse, Path], Found]] = {
    each.__name__: each
    for each in (
        query, query_by_new_contract, query_by_later_day, query_of_what_was_taken_back, query_of_past_versions,
        query_with_errors, query_of_files, query_of_cells, query_of_inventory, counts, quarantine, terminal,
        rows_of_terms, release, release_in_private, pages, failures, curated_anew,
    )
}  # fmt: skip


def secrets(house: PrivateHouse, probe: str) -> dict[str, bytes]:
    """What must not come out of a probe."""
    found = house.secrets()
    if probe == "pages":
        del found["licence in the bytes"]  # it stood in the contract, too
    if probe == "query_by_later_day":
        found = {name: form for name, form in found.items() if name.startswith("row-future")}
    return found | _own_secrets(house).get(probe, {})


def _own_secrets(house: PrivateHouse) -> dict[str, dict[str, bytes]]:
    """What one probe alone could tell."""
    withheld = {"licence of withheld rows": b"rows under CC0-1.0, withheld"}
    few = {f"{name}: rounded": f"{house.secret[name].latitude:g}".encode() for name in ("closed", "paper", "later")}
    shown = _permitted(house)
    everything = sum(part.rows for version in house.all_versions() for part in version.tables)
    beyond = range(sum(shown.values()) + 1, everything + 1)
    counted = {f"{n} rows": f"counted {n} of {TABLE}".encode() for n in beyond}
    return {
        "release": {f"name of {name}": f"biodiversity/{name}".encode() for name in PrivateHouse.withheld},
        "pages": few | counted | {"reason of a private failure": b"does not become"},
        "rows_of_terms": withheld,
        "counts": {
            f"{n} rows of {version}": f"counted {n} of {version.dataset}".encode()
            for version in house.all_versions()
            for n in range(shown[version.dataset] + 1, sum(part.rows for part in version.tables) + 1)
        },
        "query_of_cells": {"species made of rows in conflict": b"Ambo conflictus"},
        "release_in_private": {"a release among private bytes": b"released"},
    }


def _permitted(house: PrivateHouse) -> dict[str, int]:
    """How many rows anyone may have: by hand, from what was planted."""
    return {f"biodiversity/{name}": 0 for name in PrivateHouse.withheld} | {
        "biodiversity/plain": 1,
        "biodiversity/mixed": 4,
        "biodiversity/nests": 2,
    }


@pytest.mark.parametrize("probe", PROBES)
def test_with_all_guards_nothing_leaks(house: PrivateHouse, probe: str, tmp_path: Path) -> None:
    assert hits(PROBES[probe](house, tmp_path), secrets(house, probe)) == []


# -- guards --------------------------------------------------------------------------------------------

GUARDS = load(Path(__file__).with_name("guards.yaml"))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_this_guard_something_leaks(house: PrivateHouse, guard: Mutant, tmp_path: Path) -> None:
    sought = secrets(house, guard.probe)
    with in_force(guard), contextlib.redirect_stderr(io.StringIO()):
        found = PROBES[guard.probe](house, tmp_path)
    assert hits(found, sought), f"nothing leaks without it: {guard.probe}"


def test_a_guard_that_moved_is_noticed() -> None:
    moved = Mutant("moved", (("catalog.rights.policy:_judge", "not there", ""),), "query")
    with pytest.raises(AssertionError, match="0 times"), in_force(moved):
        pass


def test_every_probe_has_a_guard_and_no_name_stands_twice() -> None:
    assert {guard.probe for guard in GUARDS} == set(PROBES)
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
