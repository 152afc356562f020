"""Canaries: values that stand nowhere else, and a house full of what is withheld, each planted in its own record."""

import atexit
import contextlib
import csv
import functools
import hashlib
import io
import logging
import re
import shutil
import struct
import tempfile
import traceback
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
TODAY = NOW.date()
FUTURE = "2071-03-17"
TABLE = "biodiversity.occurrences"
NEST = "Aquila secreta"
UNUSUAL = "CC-BY-NC-SA-3.0-IGO"  # said nowhere but in the bytes of zzdoubtful
# What tells where a record was found, from the vocabulary of Darwin Core and what GBIF and iNaturalist learned.
LOCATING = re.findall(
    r"\w+",
    "occurrenceID verbatimLatitude verbatimLongitude verbatimCoordinates footprintWKT locality verbatimLocality "
    "municipality county stateProvince island islandGroup waterBody higherGeography locationID locationRemarks "
    "georeferenceRemarks georeferencedBy georeferenceSources georeferenceProtocol verbatimElevation verbatimDepth "
    "habitat fieldNotes fieldNumber eventRemarks eventID parentEventID occurrenceRemarks recordNumber recordedBy "
    "catalogNumber otherCatalogNumbers associatedMedia associatedOccurrences associatedReferences references "
    "identifiedBy identificationRemarks bibliographicCitation samplingProtocol ",
)
HEADER = [*LOCATING, "scientificName", "rightsHolder", "license", "available", "eventDate", "decimalLatitude"]
HEADER += ["decimalLongitude", "geodeticDatum", "basisOfRecord", "taxonRank", "species", "minimumElevationInMeters"]
OPEN_DAY = "2020-01-01"


@dataclass(frozen=True)
class Canary:
    """What is planted in one record: a word, a place, a day, a height; and the forms in which bytes may show them."""

    name: str

    @functools.cached_property
    def _digest(self) -> int:
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest(), "big")

    @property
    def word(self) -> str:
        return "zq" + "".join(chr(97 + (self._digest >> 5 * index) % 26) for index in range(14))

    @property
    def latitude(self) -> float:
        return round(10 + self._digest % 10**10 / 10**9, 9)

    @property
    def longitude(self) -> float:
        return round(100 + (self._digest >> 40) % 10**10 / 10**9, 9)

    @property
    def height(self) -> float:
        return round(1000 + (self._digest >> 90) % 10**9 / 10**6, 6)

    @property
    def day(self) -> str:
        return str(date(1700 + self._digest % 90, 1 + (self._digest >> 20) % 12, 1 + (self._digest >> 30) % 28))

    def forms(self) -> dict[str, bytes]:
        found = {"word": self.word.encode(), "word in UTF-16": self.word.encode("utf-16-le"), "day": self.day.encode()}
        for name in ("latitude", "longitude", "height"):
            value = getattr(self, name)
            found[name] = repr(value).encode()
            found[f"{name} as a double"] = struct.pack("<d", value)
            found[f"{name} as a double, big-endian"] = struct.pack(">d", value)
        return found

    def record(self, **other: str) -> dict[str, str]:
        """A record all of whose columns hold it."""
        told = {name: f"{self.word} {name}" for name in (*LOCATING, "scientificName", "rightsHolder", "species")}
        told |= {"eventDate": self.day, "geodeticDatum": "WGS84", "basisOfRecord": "HumanObservation"}
        told |= {"decimalLatitude": repr(self.latitude), "decimalLongitude": repr(self.longitude)}
        told |= {"minimumElevationInMeters": repr(self.height), "taxonRank": "species", "available": OPEN_DAY}
        return {**told, **other}


def nest(canary: Canary, **other: str) -> dict[str, str]:
    """A sensitive record: its name is for everybody, where it is is not."""
    return canary.record(scientificName=NEST, species=NEST, rightsHolder="The watch", **other)


def text_of(records: Iterable[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, delimiter="\t", lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def secrets_of(canaries: Iterable[Canary]) -> dict[str, bytes]:
    return {f"{canary.name}: {name}": form for canary in canaries for name, form in canary.forms().items()}


# -- the house -----------------------------------------------------------------------------------------


def _secret(*names: str) -> dict[str, Canary]:
    return {name: Canary(name) for name in names}


class PrivateHouse:
    """A house that was curated for real, from rows that may leave and rows that may not."""

    secret = _secret(
        "row-nc", "row-nd", "row-unknown", "row-future", "row-undated", "row-quarantined", "row-unreadable",
        "row-no-day", "row-twice", "row-many-fields", "closed", "closed-quarantined", "closed-extension", "closed-file",
        "later", "later-quarantined", "paper", "doubtful", "doubtful-quarantined", "unstated", "unstated-quarantined",
        "refused", "refused-quarantined", "nest", "nest-quarantined", "taken", "taken-quarantined", "gone",
        "gone-quarantined",
    )  # fmt: skip
    free = _secret("free", "free-by", "plain", "plain-quarantined", "nests-free")
    withheld = ("zzclosed", "zzlater", "zzpaper", "zzdoubtful", "zzunstated", "zzrefused", "zztaken", "zzgone")

    def __init__(self, root: Path) -> None:
        from dagster_project import curate
        from dagster_project.settings import Settings

        self.root, self.folder = root, root / "datasets"
        self.house = curate.House(Settings.at(root / "home"), clock=lambda: NOW)
        self.logged: list[tuple[str, bytes]] = []
        self._contracts = None

    def secrets(self) -> dict[str, bytes]:
        """All that must be nowhere: what was planted, and the hashes over bytes of which some are withheld."""
        found = secrets_of(self.secret.values())
        found |= {"day of the row's embargo": FUTURE.encode(), "licence in the bytes": UNUSUAL.encode()}
        for version in self.all_versions():
            if version.dataset != "biodiversity/plain":
                found[f"{version}: sha256 of the source"] = version.snapshot_sha256.encode()
                found[f"{version}: fingerprint"] = version.fingerprint.encode()
        return found

    def all_versions(self):
        names = [f"biodiversity/{name}" for name in ("plain", "mixed", "nests", *self.withheld)]
        return [version for name in names if (version := self.house.ledger.recorded(name))]

    def datasets(self):
        from catalog.dataset import load_datasets

        if self._contracts is None:
            self._contracts = load_datasets(self.folder)
        return self._contracts

    def dataset(self, name: str):
        from catalog.dataset import load_dataset

        return load_dataset(f"biodiversity/{name}", self.folder)

    def contract(self, name: str, licence: str = "CC0-1.0", quote: str = "as its owner says", **terms: object) -> None:
        self._contracts = None
        place = self.folder / "biodiversity" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "sample.csv").write_text("occurrenceID\n1\n")
        extra = {key: terms.pop(key) for key in ("options", "columns") if key in terms}
        finding = {"file": "sample.csv", "read_on": "2026-11-23", "quote": quote}
        finding |= {} if quote != "as its owner says" else {"licence": licence}
        said = {"licence": licence, "evidence": [finding], "attribution": f"The people of {name}", **terms}
        attributes = {
            "title": f"Birds of {name}",
            "table": TABLE,
            "source": {"uri": f"file:///owner/of/{name}", "format": "darwin_core", "options": extra.get("options", {})},
            "sample": "sample.csv",
            "terms": said,
            "columns": extra.get("columns", {}),
            "gates": {"max_quarantined": 0.9},
            "owner": "tests",
        }
        document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
        (place / "defs.yaml").write_text(yaml.safe_dump(document))

    def source(self, name: str, text: str, file: str = "occurrence.txt") -> Path:
        place = self.root / "sources" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(text, encoding="utf-8")
        return place


def write_sources(house: PrivateHouse) -> dict[str, Path]:
    """All contracts and their bytes. A folder's name is the operator's; the names of files in it are the owner's."""
    s, f = house.secret, house.free
    by_row = {"row_licence": {"column": "license"}, "embargo": {"column": "available"}}
    impossible = {"decimalLatitude": "95"}
    found = {}
    house.contract("plain", "CC-BY-4.0")
    found["plain"] = house.source("plain", text_of([f["plain"].record(), f["plain-quarantined"].record(**impossible)]))
    house.contract("mixed", **by_row)
    same = {"scientificName": "Ambo conflictus", "species": "Ambo conflictus", "eventDate": "1999-01-01"}
    same |= {"decimalLatitude": "1.05", "decimalLongitude": "1.05"}
    rows = [
        f["free"].record(),
        f["free-by"].record(license="http://creativecommons.org/licenses/by/4.0/legalcode"),
        {**f["free"].record(license="CC-BY-SA-4.0"), **same, "occurrenceID": "ambo-1"},
        {**f["free"].record(license="ODbL-1.0"), **same, "occurrenceID": "ambo-2"},
        s["row-nc"].record(license="CC BY-NC 4.0"),
        s["row-nd"].record(license="CC-BY-ND-4.0"),
        s["row-unknown"].record(license=f"All rights reserved by {s['row-unknown'].word}"),
        s["row-future"].record(available=FUTURE),
        s["row-undated"].record(available=""),
        s["row-quarantined"].record(**impossible),
        s["row-no-day"].record(available=f"soon {s['row-no-day'].word}"),
        s["row-unreadable"].record(minimumElevationInMeters=f"{s['row-unreadable'].word} m", license="CC BY-NC 4.0"),
        s["row-twice"].record(license="CC BY-NC 4.0"),
        s["row-twice"].record(),
    ]
    many = "\t".join([s["row-many-fields"].word] * (len(HEADER) + 3))
    found["mixed"] = house.source("mixed", text_of(rows) + many + "\n", f"{s['row-nc'].word}.txt")
    house.contract("nests", sensitive=[{"when": f"scientificName = '{NEST}'", "cell": 0.1, "reason": "It is rare"}])
    nests = [nest(s["nest"]), nest(s["nest-quarantined"], **impossible), f["nests-free"].record()]
    found["nests"] = house.source("nests", text_of(nests), f"{s['nest'].word}.txt")
    found["zzclosed"] = _closed(house)
    house.contract("zzrefused", "CC-BY-4.0")
    refused = [s["refused"].record(), s["refused-quarantined"].record(**impossible)]
    found["zzrefused"] = _archive(house, "zzrefused", s["refused"].word, refused, "id\ttitle\n")
    simple = {
        "later": ("CC0-1.0", {"embargo": {"until": "2027-03-02"}}),
        "paper": ("CC0-1.0", {"embargo": {"event": "the paper appears", "review_by": "2027-01-01"}}),
        "doubtful": (UNUSUAL, {}),
        "unstated": ("NOASSERTION", {}),
        "taken": ("CC0-1.0", {}),
        "gone": ("CC0-1.0", {}),
    }
    for name, (licence, terms) in simple.items():
        records = [s[name].record(license=UNUSUAL if name == "doubtful" else "")]
        records += [s[f"{name}-quarantined"].record(**impossible)] if f"{name}-quarantined" in s else []
        house.contract(f"zz{name}", licence, **terms)
        found[f"zz{name}"] = house.source(f"zz{name}", text_of(records), f"{s[name].word}.txt")
    return found


def _closed(house: PrivateHouse) -> Path:
    """An archive with an extension and an EML, whose files and licence words are telling too."""
    s = house.secret
    columns = {"associatedMedia": "array_to_string(list_transform(Multimedia, lambda m: m.title), ' ')"}
    house.contract("zzclosed", "CC-BY-NC-4.0", options={"extensions": ["Multimedia"]}, columns=columns)
    records = [s["closed"].record(), s["closed-quarantined"].record(decimalLatitude="95")]
    media = f"id\ttitle\n{records[0]['occurrenceID']}\t{s['closed-extension'].word}\n"
    return _archive(house, "zzclosed", s["closed-file"].word, records, media)


def _archive(house: PrivateHouse, name: str, word: str, records: list[dict[str, str]], media: str) -> Path:
    """An archive of files that are named with a word, whose EML says non-commercial with that word beside it."""
    place = house.root / "sources" / name
    place.mkdir(parents=True, exist_ok=True)
    tdwg = "http://rs.tdwg.org/dwc"
    fields = "".join(f'<field index="{i}" term="{tdwg}/terms/{each}"/>' for i, each in enumerate(HEADER))
    about = (
        'encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"'
    )
    meta = (
        f'<archive xmlns="{tdwg}/text/" metadata="eml.xml"><core {about} rowType="{tdwg}/terms/Occurrence">'
        f'<files><location>{word}.txt</location></files><id index="0"/>{fields}</core>'
        f'<extension {about} rowType="http://rs.gbif.org/terms/1.0/Multimedia">'
        '<files><location>media.txt</location></files><coreid index="0"/>'
        '<field index="1" term="http://purl.org/dc/terms/title"/></extension></archive>'
    )
    eml = (
        f'<eml:eml xmlns:eml="eml://ecoinformatics.org/eml-2.1.1"><dataset><title>{word}</title>'
        f"<intellectualRights><para>Under CC BY-NC 4.0, {word} says</para></intellectualRights></dataset></eml:eml>"
    )
    with zipfile.ZipFile(place / f"{word}.zip", "w") as archive:
        archive.writestr("meta.xml", meta)
        archive.writestr("eml.xml", eml)
        archive.writestr(f"{word}.txt", text_of(records))
        archive.writestr("media.txt", media)
    return place


@functools.cache
def definitions_of(folder: Path):
    from dagster_project.definitions import definitions

    return definitions(folder)


@contextlib.contextmanager
def at_home(house: PrivateHouse) -> Iterator[pytest.MonkeyPatch]:
    """Let Dagster and the command line work in this house, on its day, over its datasets."""
    from dagster_project import run as runs
    from dagster_project.resources import HouseResource

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINNOW_HOME", str(house.house.settings.home))
        patch.setattr(HouseResource, "house", lambda _: house.house)
        patch.setattr(runs, "curate_job", lambda: definitions_of(house.folder).resolve_job_def("curate"))
        patch.setattr("dagster_project.cli._house", lambda: house.house)
        patch.setattr("dagster_project.cli._sound", house.datasets)
        patch.setattr("dagster_project.cli._known", lambda _: None)
        yield patch


def build(root: Path) -> PrivateHouse:
    """Curate everything through Dagster, take two versions back, and let one contract be corrected."""
    from catalog.dataset import FOLDER
    from dagster_project import run as runs
    from dagster_project import show
    from dagster_project.withdraw import withdraw

    house = PrivateHouse(root)
    sources = write_sources(house)
    for derived in ("catalog/holdings", "biodiversity/species_by_cell"):
        shutil.copytree(FOLDER / derived, house.folder / derived)
    with at_home(house) as patch, _listening(house.logged), _captured(house.logged, "winnow run"):
        # Each from its own folder, as `winnow run NAME --source FOLDER`. What is withdrawn takes its whole run along.
        patch.setattr(runs, "_run_config", lambda datasets, *_: _from(sources, datasets))
        outcomes = runs.run(house.house, [house.dataset(name) for name in sources if name != "zzgone"], False, None, 1)
        outcomes += runs.run(house.house, [house.dataset("zzgone")], False, None, 1)
        house.outcomes = {outcome.dataset.partition("/")[2]: outcome for outcome in outcomes}
        show.outcomes(list(house.outcomes.values()))
        _materialise_the_rest(house)
        withdraw(house.house, "biodiversity/zzgone", 1, "a person objected", "tests", house.dataset("zzgone"))
        _interrupted_withdrawal(house)
    house.contract("zzdoubtful", "CC-BY-4.0", quote="CC BY 4.0")  # and so the version's own bytes contradict it
    return house


def _from(sources: dict[str, Path], datasets: Iterable) -> dict:
    steps = {f"raw__biodiversity__{each.short_name}": str(sources[each.short_name]) for each in datasets}
    return {"ops": {step: {"config": {"sample": False, "source": source}} for step, source in steps.items()}}


def _materialise_the_rest(house: PrivateHouse) -> None:
    import dagster as dg

    from dagster_project.run import dagster_instance

    with dagster_instance(house.house.settings) as instance:
        keys = [["release", "open"], ["table", "catalog", "holdings"], ["table", "biodiversity", "species_by_cell"]]
        job = definitions_of(house.folder).resolve_implicit_global_asset_job_def()
        done = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(key) for key in keys])
        assert done.success


def _interrupted_withdrawal(house: PrivateHouse) -> None:
    """A tombstone whose bytes were not yet removed, as after a crash: readers must stop even so."""
    from catalog.records import Withdrawal

    version = house.house.ledger.recorded("biodiversity/zztaken")
    told = {"dataset": version.dataset, "number": 1, "by": "tests", "at": NOW, "reason": "a person objected"}
    house.house.ledger.record_withdrawal(Withdrawal(**told, snapshot_sha256=version.snapshot_sha256, contract=""))


@contextlib.contextmanager
def _listening(into: list[tuple[str, bytes]]) -> Iterator[None]:
    """Keep all that goes through Python's logging."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            into.append((f"logging, {record.name}", f"{record.getMessage()} {record.__dict__}".encode()))

    keeper = Keeper(level=0)
    logging.getLogger().addHandler(keeper)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(keeper)


@contextlib.contextmanager
def _captured(into: list[tuple[str, bytes]], where: str) -> Iterator[None]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield
    into.append((where, (out.getvalue() + err.getvalue()).encode()))


def command(house: PrivateHouse, *words: str) -> str:
    """All that a command prints, on both streams, and the words of an error that it ends with."""
    from click.testing import CliRunner

    from dagster_project.cli import main

    with at_home(house):
        done = CliRunner().invoke(main, list(words))
    error = "".join(traceback.format_exception(*done.exc_info)) if done.exc_info else ""
    crashed = done.exception is not None and not isinstance(done.exception, SystemExit)
    return done.output + (error if crashed else "")


@functools.cache
def private_house() -> PrivateHouse:
    """One for all tests of a session: curating it takes some seconds."""
    folder = Path(tempfile.mkdtemp(prefix="winnow-leaks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(folder)
