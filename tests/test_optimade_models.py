"""Rows of crystals.structures are OPTIMADE structures by the models of the `optimade` package itself."""

from pathlib import Path

import pytest

from assets.readers import cif, optimade
from assets.transforms import structures
from catalog.records import Snapshot, SourceFile

models = pytest.importorskip("optimade.models")

DATA = Path(__file__).parents[2] / "shared/data/crystals"
SAMPLES = Path(__file__).parents[1] / "assets/datasets/crystals"


def snapshot_of(paths: list[tuple[str, Path]]) -> Snapshot:
    files = tuple(SourceFile(name=n, path=p, size=p.stat().st_size, sha256="0" * 64) for n, p in paths)
    return Snapshot(
        dataset="crystals/test", uri="file:test", origin="override", sha256="0" * 64, validator="", size=0,
        fetched_at="2026-01-01T00:00:00Z", files=files,
    )  # fmt: skip


def rows(read, options, paths) -> list[dict]:
    batches = read(snapshot_of(paths), options, [])
    return [row for batch in batches for row in structures.transform(batch).to_pylist() if row["_error"] is None]


def exported(row: dict) -> dict:
    """The entry that a server of the table would answer with: what is null is left out of species."""
    named = [name for name in structures.DERIVED if not name.startswith("_winnow_") and name != "id"]
    attributes = {name: row[name] for name in named}
    attributes["species"] = [{k: v for k, v in one.items() if v is not None} for one in row["species"]]
    attributes |= {"immutable_id": None, "last_modified": "2026-01-01T00:00:00Z"}
    attributes |= {name: row[name] for name in structures.DERIVED if name.startswith("_winnow_")}
    return {"id": row["id"], "type": "structures", "attributes": attributes}


def problems(found: list[dict]) -> dict[str, str]:
    wrong = {}
    for row in found:
        try:
            models.StructureResource(**exported(row))
        except ValueError as error:
            wrong[row["_position"]] = str(error)
    return wrong


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sample", ["cod", "core_mof"])
def test_samples_are_optimade_structures(sample):
    found = rows(cif.read, cif.Options(), [("sample.zip", SAMPLES / sample / "sample.zip")])
    assert found
    assert problems(found) == {}


@pytest.mark.filterwarnings("ignore")
def test_real_minerals_and_entries_are_optimade_structures():
    minerals = DATA / "cod_minerals/crystals"
    if not minerals.is_dir():
        pytest.skip(f"real data are not at {minerals}")
    paths = [(str(path.relative_to(minerals)), path) for path in sorted(minerals.rglob("*.cif"))]
    found = rows(cif.read, cif.Options(), paths)
    found += rows(optimade.read, optimade.Options(), [("a.jsonl", DATA / "optimade/test_data.jsonl")])
    assert len(found) == 519
    assert problems(found) == {}


@pytest.mark.filterwarnings("ignore")
def test_the_models_do_refuse():
    (row, *_) = rows(cif.read, cif.Options(), [("sample.zip", SAMPLES / "cod" / "sample.zip")])
    assert problems([row | {"elements": row["elements"][::-1]}])
    assert problems([row | {"chemical_formula_anonymous": "ZA"}])
