"""The Darwin Core reader: every record of every archive is accounted for, and bad input is told, never thrown."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import delimited, delimited_scan, dwc_archive
from assets.readers import SOURCE_FIELDS, darwin_core
from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "biodiversity"
TERMS = "http://rs.tdwg.org/dwc/terms/"
HEADER = "id\tscientificName\tcountry\n"


def snapshot(path: Path) -> Snapshot:
    """A file, or a folder as fetching it would give it."""
    paths = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    named = {each.name if path.is_file() else each.relative_to(path).as_posix(): each for each in paths}
    files = tuple(
        SourceFile(name=name, path=each, size=each.stat().st_size, sha256="0" * 64)
        for name, each in named.items()
        if not any(part.startswith(".") for part in name.split("/"))
    )
    return Snapshot(
        dataset="biodiversity/test",
        uri=f"file://{path}",
        origin="override",
        sha256="0" * 64,
        validator="",
        size=sum(file.size for file in files),
        fetched_at=datetime(2026, 11, 23, tzinfo=UTC),
        files=files,
    )


def read(path: Path, columns: tuple[str, ...] = (), **options: object) -> pa.Table:
    return darwin_core.read(snapshot(path), darwin_core.Options.model_validate(options), columns).read_all()


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def meta(*parts: str) -> str:
    return f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{"".join(parts)}</archive>'


def part(
    tag: str = "core",
    files: tuple[str, ...] = ("occurrence.txt",),
    fields: str = '<field index="1" term="scientificName"/><field index="2" term="country"/>',
    row_type: str = "Occurrence",
    **attributes: str,
) -> str:
    written = {"encoding": "UTF-8", "fieldsTerminatedBy": "\\t", "linesTerminatedBy": "\\n", "fieldsEnclosedBy": ""}
    written |= {"ignoreHeaderLines": "1"} | attributes
    listed = " ".join(f"{name}='{value}'" for name, value in written.items() if value is not None)
    locations = "".join(f"<location>{name}</location>" for name in files)
    identity = "id" if tag == "core" else "coreid"
    fields = fields.replace('term="', f'term="{TERMS}').replace(f"{TERMS}http", "http")
    return (
        f"<{tag} rowType='{TERMS}{row_type}' {listed}><files>{locations}</files><{identity} index='0'/>{fields}</{tag}>"
    )


def folder(where: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return where


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def archive(where: Path, body: str | bytes, core: str | None = None) -> Path:
    head = HEADER if isinstance(body, str) else HEADER.encode()
    return folder(where / "a", {"meta.xml": meta(core or part()), "occurrence.txt": head + body})  # type: ignore[operator]


def refused(path: Path, *words: str, columns: tuple[str, ...] = (), **options: object) -> None:
    with pytest.raises(SourceError) as caught:
        read(path, columns, **options)
    for word in words:
        assert word in caught.value.problem
    assert caught.value.remedy


def errors(table: pa.Table) -> dict[int, str]:
    return {row["_source"]: row["_error"] for row in table.select(["_source", "_error"]).to_pylist() if row["_error"]}


def accounted(table: pa.Table, records: int) -> None:
    assert table["_source"].to_pylist() == list(range(records))
    assert table.schema.names[: len(SOURCE_FIELDS)] == [field.name for field in SOURCE_FIELDS]


# --- real archives -----------------------------------------------------


def test_a_gbif_download_reads_as_the_csv_module_reads_it():
    folder_ = real("gbif_verbatim_interpreted")
    for name in ("occurrence.txt", "verbatim.txt"):
        with (folder_ / name).open(encoding="utf-8", newline="") as text:
            rows = list(csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
        header, rows = rows[0], rows[1:]
        table = read(folder_, tuple(header), file=name)
        accounted(table, 1534)
        assert errors(table) == {}
        assert table["_record"].to_pylist() == [row[0] for row in rows]
        assert table["_position"].to_pylist()[-1] == f"{name} line 1535"
        for index, term in enumerate(header):
            expected = [row[index] if row[index].strip() else None for row in rows]
            assert table[term].to_pylist() == expected, term


def test_row_licences_of_a_zipped_download_come_out_as_written():
    path = real("gbif_download_3_licences/gbif_download.zip")
    table = read(path, ("license", "geodeticDatum", "gbifID"), extensions=["Multimedia"])
    with zipfile.ZipFile(path) as opened:
        text = opened.read("occurrence.txt").decode()
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert table["license"].to_pylist() == [row["license"] or None for row in rows]
    assert set(table["geodeticDatum"].to_pylist()) == {"WGS84"}
    assert table["gbifID"].to_pylist() == table["_record"].to_pylist() == [row["gbifID"] for row in rows]
    pictures = {row["_record"]: row["Multimedia"] for row in table.to_pylist() if row["Multimedia"]}
    assert sum(map(len, pictures.values())) == 6
    assert all(picture["type"] == "StillImage" for each in pictures.values() for picture in each)


def test_an_archive_without_header_lines_gives_its_first_line_as_a_record():
    table = read(real("gbif-results.zip"), ("scientificName",))
    accounted(table, 158)
    assert table["_position"][0].as_py() == "occurrence.txt line 1"
    assert table["_record"][0].as_py() == "607759330"


def test_extension_rows_are_joined_to_their_record():
    table = read(real("dwca-2extensions.zip"), ("order",), core="Taxon", extensions=["VernacularName", "description"])
    accounted(table, 4)
    names = [[each["vernacularName"] for each in row or []] for row in table["VernacularName"].to_pylist()]
    assert names == [["ostrich", "volstruis", "strutsi"], ["Asitiese patrys"], [], []]
    assert [len(row or []) for row in table["Description"].to_pylist()] == [2, 0, 0, 1]
    assert errors(table) == {}


def test_orphaned_and_broken_extension_rows_come_after_the_records_with_their_reason():
    table = read(real("dwca-orphaned-rows.zip"), (), core="Taxon", extensions=["VernacularName", "Description"])
    accounted(table, 8)
    rows = table.to_pylist()[4:]
    assert [row["_position"] for row in rows] == [
        "vernacularname.txt line 6", "description.txt line 5", "description.txt line 6", "description.txt line 7",
    ]  # fmt: skip
    assert rows[0]["_error"] == "the record has 5 fields, expected 4"
    assert "refers to the record 6" in rows[3]["_error"]
    assert rows[3]["_raw"] == "6\tmorphology\tFR\tqsdf"
    assert errors(read(real("dwca-orphaned-rows.zip"), core="Taxon")) == {}


def test_the_broken_archives_are_read_or_told():
    refused(real("broken/meta-only"), "taxa.txt", "not there", core="Taxon")
    refused(real("broken/meta-only"), "rows of type Taxon, not Occurrence")
    refused(real("dwca-2extensions.zip"), "rows of type Taxon, not Occurrence")
    refused(real("broken/empty"), "no files")
    refused(real("broken/extension-missing"), "taxa.txt", "empty", core="Taxon")
    table = read(real("broken/csv-json-escaped-quotes"), ("dynamicProperties",), extensions=["Multimedia"])
    with (DATA / "broken/csv-json-escaped-quotes/occurrence.csv").open(encoding="utf-8", newline="") as text:
        expected = list(csv.DictReader(text))
    assert table["dynamicProperties"].to_pylist() == [row["dynamicProperties"] for row in expected]
    assert [len(row) for row in table["Multimedia"].to_pylist()] == [4]


def test_a_missing_extension_matters_only_where_it_is_asked_for(tmp_path):
    described = real("broken/extension-missing") / "meta.xml"
    path = folder(tmp_path, {"meta.xml": described.read_bytes(), "taxa.txt": "id\tname\trank\n1\tPuma\tgenus\n"})
    assert read(path, ("scientificName",), core="Taxon")["scientificName"].to_pylist() == ["Puma"]
    refused(path, "media.txt", "not there", core="Taxon", extensions=["Multimedia"])


# --- how text may be written -------------------------------------------

CELL = st.text(st.sampled_from('ab ,;"\r\n\té—'), max_size=6)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    block=st.integers(1, 40),
    last=st.booleans(),
)
def test_quoted_text_reads_as_the_csv_module_reads_it(tmp_path_factory, rows, delimiter, ending, quoting, block, last):
    rows = [[f"x{row[0]}", row[1], row[2]] for row in rows]
    if quoting == csv.QUOTE_MINIMAL:
        # That writer leaves a lone CR unquoted, which before a line end is part of it.
        rows = [[cell.replace("\r", "") for cell in row] for row in rows]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerow(["occurrenceID", "scientificName", "country"])
    writer.writerows(rows)
    data = text.getvalue().encode() if last else text.getvalue().removesuffix(ending).encode()
    attributes = {"fieldsTerminatedBy": delimiter.replace("\t", "\\t"), "fieldsEnclosedBy": "&quot;"}
    path = folder(tmp_path_factory.mktemp("q"), {"meta.xml": meta(part(**attributes)), "occurrence.txt": data})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        table = read(path, ("scientificName", "country"))
    accounted(table, len(rows))
    assert errors(table) == {}
    assert table["_record"].to_pylist() == [row[0] for row in rows]
    for index, name in ((1, "scientificName"), (2, "country")):
        assert table[name].to_pylist() == [row[index] if row[index].strip() else None for row in rows]
    # The csv module counts line ends as text is split into lines, where a lone CR is one.
    if not any("\r" in cell for row in rows for cell in row):
        lines = 2
        for row, position in zip(rows, table["_position"].to_pylist(), strict=True):
            assert position == f"occurrence.txt line {lines}"
            lines += 1 + sum(cell.count("\n") for cell in row)


PLAIN = st.text(st.sampled_from('ab "é—'), max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(PLAIN, min_size=1, max_size=5), max_size=8),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(1, 40),
    empty=st.integers(0, 2),
)
def test_every_line_is_a_record_or_is_refused_for_its_fields(tmp_path_factory, rows, ending, block, empty):
    lines = ["id\tscientificName\tcountry", *("\t".join(["k", *row]) for row in rows)]
    text = (ending * (1 + empty)).join(lines) + ending
    path = folder(tmp_path_factory.mktemp("p"), {"meta.xml": meta(part()), "occurrence.txt": text})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        table = read(path, ("scientificName",))
    accounted(table, len(rows))
    for number, (row, found) in enumerate(zip(rows, table.to_pylist(), strict=True), start=1):
        assert found["_position"] == f"occurrence.txt line {1 + number * (1 + empty)}"
        if len(row) == 2:
            assert (found["_error"], found["scientificName"]) == (None, row[0] if row[0].strip() else None)
        else:
            assert found["_error"] == f"the record has {len(row) + 1} fields, expected 3"
            assert (found["_raw"], found["scientificName"], found["_record"]) == ("\t".join(["k", *row]), None, None)


def test_blank_cells_are_null_and_defaults_stand_in(tmp_path):
    fields = (
        '<field index="1" term="scientificName" default="unknown"/><field index="2" term="country"/>'
        '<field term="basisOfRecord" default="PreservedSpecimen"/><field term="http://purl.org/dc/terms/license"/>'
    )
    path = archive(tmp_path, "1\t \t \u00a0 \n2\tPuma\t\t\n3\t\tChile\n", part(fields=fields))
    table = read(path, ("scientificName", "country", "basisOfRecord"))
    assert table["scientificName"].to_pylist() == ["unknown", None, "unknown"]
    assert table["country"].to_pylist() == [None, None, "Chile"]
    assert table["basisOfRecord"].to_pylist() == ["PreservedSpecimen", None, "PreservedSpecimen"]
    assert list(errors(table)) == [1]


def test_columns_may_stand_in_any_order_and_files_follow_one_another(tmp_path):
    fields = '<field index="2" term="country"/><field index="1" term="scientificName"/>'
    core = part(files=("one.txt", "sub/two.txt"), fields=fields)
    files = {"meta.xml": meta(core), "one.txt": HEADER + "1\tA\tX\n", "sub/two.txt": HEADER + "2\tB\tY"}
    table = read(folder(tmp_path, files), ("scientificName", "country"))
    assert table.select(["_source", "_position", "_record", "scientificName", "country"]).to_pylist() == [
        {"_source": 0, "_position": "one.txt line 2", "_record": "1", "scientificName": "A", "country": "X"},
        {"_source": 1, "_position": "sub/two.txt line 2", "_record": "2", "scientificName": "B", "country": "Y"},
    ]


def test_of_two_terms_with_one_name_darwin_core_goes_first(tmp_path):
    fields = (
        '<field index="1" term="http://purl.org/dc/elements/1.1/type"/>'
        '<field index="2" term="http://purl.org/dc/terms/type"/><field index="3" term="type"/>'
    )
    row = "1\telements\tterms\tdwc\n"
    files = {"meta.xml": meta(part(fields=fields, ignoreHeaderLines="0")), "occurrence.txt": row}
    assert read(folder(tmp_path / "a", files), ("type",))["type"].to_pylist() == ["dwc"]
    two = fields.rpartition("<field")[0]
    files["meta.xml"] = meta(part(fields=two, ignoreHeaderLines="0"))
    assert read(folder(tmp_path / "b", files), ("type",))["type"].to_pylist() == ["terms"]


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("windows-1252", "windows-1252"), ("iso-8859-1", "ISO-8859-1"), ("utf-16", "UTF-16"), ("utf-8-sig", "UTF-8")],
)
def test_text_is_read_in_its_encoding(tmp_path, encoding, said):
    text = HEADER + "1\tÅngström\tCôte d’Ivoire\n".replace("’", "'") * 50
    path = folder(tmp_path, {"meta.xml": meta(part(encoding=said)), "occurrence.txt": text.encode(encoding)})
    table = read(path, ("scientificName", "country"))
    assert set(table["scientificName"].to_pylist()) == {"Ångström"}
    assert set(table["_record"].to_pylist()) == {"1"}


def test_the_option_overrides_what_the_archive_says_of_its_encoding(tmp_path):
    text = HEADER + "1\tÅngström\tx\n"
    path = folder(tmp_path, {"meta.xml": meta(part()), "occurrence.txt": text.encode("windows-1252")})
    assert list(errors(read(path, ("scientificName",)))) == [0]
    table = read(path, ("scientificName",), encoding="windows-1252")
    assert table["scientificName"].to_pylist() == ["Ångström"]
    refused(path, "'no-such', which is unknown", encoding="no-such")


def test_only_the_records_with_bytes_of_another_encoding_are_refused(tmp_path):
    body = "1\tÅ\tok\n".encode() + b"2\tAb\xc5c\tbad\n" + b"3\tB\tb\x00d\n" + "4\té\tok\n".encode()
    table = read(archive(tmp_path, body), ("scientificName", "country"))
    accounted(table, 4)
    assert errors(table) == {
        1: "the record is not UTF-8 text at its byte 5, in field 2 (scientificName)",
        2: "the record has a NUL byte, as no text has",
    }
    assert table["scientificName"].to_pylist() == ["Å", None, None, "é"]
    table.validate(full=True)
    # 0x81 stands for nothing in windows-1252.
    cp = folder(
        tmp_path / "b",
        {"meta.xml": meta(part(encoding="windows-1252")), "occurrence.txt": b"h\n1\tA\x81\tx\n2\t\xe9\tx\n"},
    )
    table = read(cp, ("scientificName",))
    assert list(errors(table)) == [0]
    assert "CP1252" in errors(table)[0]
    assert table["scientificName"].to_pylist() == [None, "é"]


def test_a_quote_left_open_loses_nothing_and_spoils_only_what_follows(tmp_path, monkeypatch):
    core = part(fieldsEnclosedBy="&quot;")
    body = '1\tA\t"x\ny"\n2\tB\t"open\n' + "".join(f"{n}\tC\tz\n" for n in range(3, 103))
    for limit in (delimited.MAX_RECORD, 200):
        monkeypatch.setattr(delimited, "MAX_RECORD", limit)
        monkeypatch.setattr(delimited, "BLOCK", 64)
        table = read(archive(tmp_path, body, core), ("country",))
        accounted(table, 102)
        assert list(errors(table)) == list(range(1, 102))
        assert "a quote opened in the record of line 4 is not closed" in errors(table)[1]
        assert table["country"].to_pylist() == ["x\ny"] + [None] * 101
        assert table["_raw"].to_pylist()[1:3] == ['2\tB\t"open', "3\tC\tz"]
        assert table["_position"].to_pylist()[1:3] == ["occurrence.txt line 4", "occurrence.txt line 5"]


def test_text_after_a_closing_quote_is_refused_and_a_quote_within_a_cell_is_text(tmp_path):
    body = '1\t"A" b\tx\n2\t5" long\ty\n3\t"C ""c"""\tz\n'
    table = read(archive(tmp_path, body, part(fieldsEnclosedBy="&quot;")), ("scientificName",))
    assert errors(table) == {0: "field 2 (scientificName) has text after its closing quote"}
    assert table["scientificName"].to_pylist() == [None, '5" long', 'C "c"']


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_RECORD", 1000)
    monkeypatch.setattr(delimited, "BLOCK", 64)
    refused(archive(tmp_path, "1\tA\tb\n" + "x" * 2000), "occurrence.txt line 3", "longer than")


# --- files without meta.xml --------------------------------------------


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_single_file_is_read_by_its_header(tmp_path, delimiter, packed):
    rows = [["gbifID", "dwc:scientificName", "dcterms:license", "eventDate"], ["7", "Puma", "CC_BY_4_0", ""]]
    text = "".join(delimiter.join(row) + "\r\n" for row in rows).encode("utf-8-sig")
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    table = read(path, ("scientificName", "license", "eventdate"))
    assert table.to_pylist() == [
        {
            "_source": 0, "_position": f"{path.name} line 2", "_record": "7", "_error": None, "_raw": None,
            "eventdate": None, "license": "CC_BY_4_0", "scientificName": "Puma",
        }
    ]  # fmt: skip


def test_an_archive_without_meta_xml_needs_exactly_one_data_file(tmp_path):
    text = "occurrenceID,scientificName\n1,Puma\n"
    files: dict[str, str | bytes] = {"x/data.csv": text, "x/README.txt": "words", "__MACOSX/x/._data.csv": "junk"}
    assert read(zipped(tmp_path / "one.zip", files), ("scientificName",)).num_rows == 1
    files["x/more.csv"] = text
    refused(zipped(tmp_path / "two.zip", files), "x/data.csv, x/more.csv")
    assert read(tmp_path / "two.zip", (), file="more.csv").num_rows == 1
    refused(tmp_path / "two.zip", "none.csv", file="none.csv")
    refused(tmp_path / "two.zip", "README.txt", "no header", file="README.txt")
    refused(zipped(tmp_path / "none.zip", {"README.txt": "words"}), "neither a meta.xml")
    refused(folder(tmp_path / "w", {"x.csv": "a,b\n1,2\n"}) / "x.csv", "neither a meta.xml")


def test_a_file_that_meta_xml_does_not_describe_is_read_by_its_own_header(tmp_path):
    path = archive(tmp_path, "1\tA\tx\n")
    folder(path, {"verbatim.txt": "gbifID\tscientificName\n9\tFelis\n"})
    table = read(path, ("scientificName",), file="verbatim.txt")
    assert table.select(["_record", "scientificName"]).to_pylist() == [{"_record": "9", "scientificName": "Felis"}]


def test_two_columns_of_one_name_are_refused_where_they_are_wanted(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("occurrenceID,country,country\n1,A,B\n")
    assert read(path).num_rows == 1
    refused(path, "two columns for country", columns=("country",))


# --- archives that are wrong or mean harm ------------------------------


def test_the_row_type_chooses_what_is_read(tmp_path):
    extension = part("extension", ("m.txt",), '<field index="1" term="title"/>', "Multimedia")
    files = {"meta.xml": meta(part(), extension), "occurrence.txt": HEADER + "1\tA\tx\n", "m.txt": "id\ttitle\n1\tp\n"}
    path = zipped(tmp_path / "a.zip", {f"wrapped/{name}": text for name, text in files.items()})
    assert read(path, ("title",), core="Multimedia")["title"].to_pylist() == ["p"]
    table = read(path, ("country",), core="Occurrence")
    assert table["country"].to_pylist() == ["x"]
    assert table["_position"].to_pylist() == ["occurrence.txt line 2"]
    refused(path, "no rows of type 'Taxon'", core="Taxon")
    refused(path, "no rows of type 'Taxon'", extensions=["Taxon"])
    assert read(path, ("locality", "country")).schema.names == [*(field.name for field in SOURCE_FIELDS), "country"]


def test_an_extension_too_large_to_hold_is_refused(tmp_path, monkeypatch):
    extension = part("extension", ("m.txt",), '<field index="1" term="title"/>', "Multimedia")
    files = {"meta.xml": meta(part(), extension), "occurrence.txt": HEADER + "1\tA\tx\n"}
    path = folder(tmp_path, files | {"m.txt": "id\ttitle\n" + "1\tp\n" * 1000})
    assert len(read(path, (), extensions=["Multimedia"])["Multimedia"][0]) == 1000
    monkeypatch.setattr(darwin_core, "MAX_EXTENSION", 1000)
    refused(path, "Multimedia", "more than", extensions=["Multimedia"])
    assert read(path).num_rows == 1


IDS = st.sampled_from(["1", "2", "3", "4", ""])


@settings(max_examples=100, deadline=None)
@given(
    core=st.lists(IDS, min_size=1, max_size=6),
    rows=st.lists(st.tuples(IDS, st.sampled_from("pqr")), max_size=10),
    block=st.integers(1, 40),
)
def test_every_extension_row_is_with_its_records_or_refused(tmp_path_factory, core, rows, block):
    extension = part("extension", ("m.txt",), '<field index="1" term="title"/>', "Multimedia")
    files = {"meta.xml": meta(part(), extension), "m.txt": "id\ttitle\n" + "".join(f"{i}\t{t}\n" for i, t in rows)}
    files["occurrence.txt"] = HEADER + "".join(f"{identity}\tA\tx\n" for identity in core)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        table = read(folder(tmp_path_factory.mktemp("e"), files), (), extensions=["Multimedia"])
    found = table.to_pylist()
    for identity, row in zip(core, found[: len(core)], strict=True):
        expected = [title for key, title in rows if key == identity and identity]
        assert [each["title"] for each in row["Multimedia"] or []] == expected
    orphans = sorted(f"{key}\t{title}" for key, title in rows if not key or key not in core)
    assert sorted(row["_raw"] for row in found[len(core) :]) == orphans
    assert list(errors(table)) == list(range(len(core), len(core) + len(orphans)))
    accounted(table, len(core) + len(orphans))


def test_a_record_that_cannot_be_read_claims_no_extension_rows(tmp_path):
    extension = part("extension", ("m.txt",), '<field index="1" term="title"/>', "Multimedia")
    files = {
        "meta.xml": meta(part(), extension),
        "occurrence.txt": HEADER + "1\tA\0\tx\n",
        "m.txt": "id\ttitle\n1\tp\n\tq\n",
    }
    table = read(folder(tmp_path, files), (), extensions=["Multimedia"])
    accounted(table, 3)
    assert table["_error"].null_count == 0
    assert table["_raw"].to_pylist() == ["1\tA\0\tx", "\tq", "1\tp"]


@pytest.mark.parametrize("name", ["../occurrence.txt", "/etc/passwd", "a/../../b", "C:/x", "a\\..\\..\\b"])
def test_paths_that_lead_out_of_an_archive_are_refused(tmp_path, name):
    sound = {"meta.xml": meta(part()), "occurrence.txt": HEADER + "1\tA\tx\n"}
    refused(zipped(tmp_path / "a.zip", sound | {name: "x"}), "leads out of the archive")
    refused(folder(tmp_path / "b", sound | {"meta.xml": meta(part(files=(name,)))}), "leads out of the archive")


def test_links_and_addresses_are_not_followed(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        link = zipfile.ZipInfo("occurrence.txt")
        link.external_attr = 0o120777 << 16
        opened.writestr(link, "/etc/passwd")
    refused(path, "symbolic link")
    remote = folder(tmp_path / "b", {"meta.xml": meta(part(files=("http://x.org/o.txt",))), "occurrence.txt": HEADER})
    refused(remote, "leads out of the archive")


def test_what_expands_beyond_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dwc_archive, "FREE_SIZE", 1 << 20)
    text = HEADER + "1\tA\tx\n" * 2_000_000
    path = zipped(tmp_path / "a.zip", {"meta.xml": meta(part()), "occurrence.txt": text})
    monkeypatch.setattr(dwc_archive, "MAX_RATIO", 100)
    refused(path, "expands from")
    packed = tmp_path / "x.tsv.gz"
    packed.write_bytes(gzip.compress(b"occurrenceID\tcountry\n" + b"1\tx\n" * 2_000_000))
    tracemalloc.start()
    refused(packed, "x.tsv.gz expands from")
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()
    monkeypatch.setattr(dwc_archive, "MAX_DIRECTORY", 50)
    refused(path, "list of names")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<archive", "not XML"),
        ("id,name\n1,2\n", "not XML"),
        ("<html/>", "does not describe"),
        ('<!DOCTYPE a [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><archive>&b;</archive>', "declares entities"),
        ('<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><archive>&a;</archive>', "declares entities"),
        (meta(part(fields='<field index="1" term="country"/><field index="1" term="genus"/>')), "index 1 to two terms"),
        (meta(part(fields='<field index="7" term="country"/>')), "8 columns, but its header line has 3"),
        (meta(part(fields='<field index="-1" term="country"/>')), "index='-1'"),
        (meta(part(fields='<field index="1"/>')), "without a term"),
        (meta(part(encoding="klingon")), "'klingon', which is unknown"),
        (meta(part(encoding="rot13")), "'rot13', which is unknown"),
        (meta(part(fieldsTerminatedBy="||")), "fieldsTerminatedBy"),
        (meta(part(linesTerminatedBy="#")), "linesTerminatedBy"),
        (meta(part(fieldsEnclosedBy="\\t")), "fieldsEnclosedBy"),
        (meta(part(files=())), "names no file"),
        (meta(part(), part()), "with one core"),
        (meta(), "with one core"),
    ],
)
def test_a_bad_meta_xml_is_told(tmp_path, text, words):
    path = folder(tmp_path, {"meta.xml": text, "occurrence.txt": HEADER + "1\tA\tx\n"})
    refused(path, words)


def test_several_meta_xml_or_data_files_of_one_name_are_refused(tmp_path):
    sound = {"meta.xml": meta(part()), "occurrence.txt": HEADER + "1\tA\tx\n"}
    refused(zipped(tmp_path / "a.zip", sound | {"sub/meta.xml": meta(part())}), "more than one meta.xml")
    for name, words in (("meta.xml", "more than one meta.xml"), ("occurrence.txt", "holds occurrence.txt 2 times")):
        path = zipped(tmp_path / f"{name}.zip", sound)
        with zipfile.ZipFile(path, "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr(name, sound[name])
        refused(path, words)


def test_damaged_zips_are_told(tmp_path):
    sound = {"meta.xml": meta(part()), "occurrence.txt": HEADER + "".join(f"{n}\t{n * n}\tx\n" for n in range(9000))}
    path = zipped(tmp_path / "a.zip", sound)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for name, data, words in (
        ("cut.zip", whole[: len(whole) // 2], "not a whole zip"),
        ("flipped.zip", bytes(flipped), "occurrence.txt cannot be read"),
        ("nothing.zip", b"PK\x05\x06" + bytes(18), "without files"),
        ("empty.zip", b"", "not a whole zip"),
        ("text.zip", b"id,country\n", "not a whole zip"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, words)
    # Bit 0 of the flags, in the local header and in the directory, says that a member is encrypted.
    locked = bytearray(zipped(tmp_path / "b.zip", {"meta.xml": sound["meta.xml"], "occurrence.txt": "1"}).read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.rindex(sign) + at] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    refused(tmp_path / "locked.zip", "encrypted")


def test_cutting_an_archive_anywhere_never_gives_a_traceback(tmp_path):
    whole = zipped(tmp_path / "a.zip", {"meta.xml": meta(part()), "occurrence.txt": HEADER + "1\tA\tx\n"}).read_bytes()
    path = tmp_path / "b.zip"
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        with pytest.raises(SourceError):
            read(path)
    for at in range(0, len(whole), 2):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        # Anything else than a table or a SourceError fails the test.
        with contextlib.suppress(SourceError):
            read(path)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK", 1 << 18)
    peaks = []
    for rows in (20_000, 200_000):
        path = archive(tmp_path, '1\t"A\n""a"""\tx\n' * rows, part(fieldsEnclosedBy="&quot;"))
        tracemalloc.start()
        opened = darwin_core.read(snapshot(path), darwin_core.Options(), ("country",))
        assert sum(batch.num_rows for batch in opened) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 1e6


def test_a_blank_is_what_python_strips():
    for blank in (" ", "\t", "\v", "\f", "\u00a0", " \u00a0 "):
        data = f"{blank}|x\n".encode()
        text = np.frombuffer(data, dtype="uint8")
        found = delimited_scan.scan(text, ord("|"), -1, 10, np.arange(2), 2)
        assert delimited_scan.strings(text, found, -1)[0].to_pylist() == [blank.strip() or None]
