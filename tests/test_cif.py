"""The CIF reader: what is read, from which containers, and what is said of what cannot be read."""

import csv
import ctypes
import gzip
import io
import re
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets import cif_blocks, cif_repairs, cif_texts
from assets.readers import cif, reader
from assets.transforms import structures
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

MINERALS = Path(__file__).parents[2] / "shared/data/crystals/cod_minerals/crystals"
PEROVSKITES = MINERALS.parents[1] / "perov_5_val.csv"
SAMPLE = Path(__file__).parents[1] / "assets/datasets/crystals/cod/sample.zip"

CELL = """_cell_length_a 5.6402(2)
_cell_length_b 5.6402(2)
_cell_length_c 5.6402(2)
_cell_angle_alpha 90
_cell_angle_beta 90.0
_cell_angle_gamma 9.0e1
"""
ATOMS = """loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 0 0 0
Cl1 0.5(1) .5 ?
"""
SALT = f"data_salt\n_symmetry_space_group_name_H-M 'F m -3 m'\n{CELL}{ATOMS}"


def snapshot(*paths: Path, base: Path | None = None) -> Snapshot:
    files = tuple(
        SourceFile(
            name=str(path.relative_to(base)) if base else path.name,
            path=path,
            size=path.stat().st_size,
            sha256="0" * 64,
        )
        for path in paths
    )
    return Snapshot(
        dataset="crystals/test",
        uri="file:test",
        origin="override",
        sha256="0" * 64,
        validator="",
        size=sum(file.size for file in files),
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        files=files,
    )


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(found: Snapshot, *columns: str) -> list[dict]:
    return cif.read(found, cif.Options(), columns).read_all().to_pylist()


def read_text(folder: Path, text: str | bytes, *columns: str) -> list[dict]:
    return rows(snapshot(written(folder, "x.cif", text)), *columns)


def zipped(members: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return stream.getvalue()


def tarred(members: dict[str, str], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def test_numbers_lose_their_uncertainty_and_unknowns_are_null(tmp_path):
    text = SALT + "_exptl_crystal_density_diffrn 2.165(3)\n_cell_volume ?\n_chemical_name_mineral .\n"
    (row,) = read_text(tmp_path, text, "exptl_crystal_density_diffrn", "cell_volume", "chemical_name_mineral")
    assert row["cell_length_a"] == 5.6402
    assert row["cell_angle_gamma"] == 90.0
    assert row["exptl_crystal_density_diffrn"] == 2.165
    assert row["cell_volume"] is None
    assert row["chemical_name_mineral"] is None
    assert row["atom_site_label"] == ["Na1", "Cl1"]
    assert row["atom_site_fract_x"] == [0.0, 0.5]
    assert row["atom_site_fract_z"] == [0.0, None]
    assert row["atom_site_occupancy"] == [None, None]
    assert row["_record"] == "salt"
    assert row["_position"] == "x.cif data_salt"


def test_cod_code_is_the_record_and_global_is_none(tmp_path):
    assert read_text(tmp_path, SALT + "_cod_database_code 1000041\n")[0]["_record"] == "1000041"
    assert read_text(tmp_path, SALT.replace("data_salt", "data_global"))[0]["_record"] is None


@pytest.mark.parametrize(
    ("tag", "column", "value"),
    [
        ("_symmetry_space_group_name_H-M 'P 1'", "space_group_name_h-m", "P 1"),
        ("_space_group_name_H-M_alt 'P 1'", "space_group_name_h-m", "P 1"),
        ("_space_group.name_H-M_alt 'P 1'", "space_group_name_h-m", "P 1"),
        ("_symmetry_Int_Tables_number 1", "space_group_it_number", 1),
        ("_space_group_IT_number 1", "space_group_it_number", 1),
        ("_symmetry_space_group_name_Hall 'P 1'", "space_group_name_hall", "P 1"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n-x,-y,-z", "symmetry_operations", ["x, y, z", "-x,-y,-z"]),
        ("_space_group_symop_operation_xyz x,y,z", "symmetry_operations", ["x,y,z"]),
    ],
)
def test_old_and_new_spellings_give_the_same_column(tmp_path, tag, column, value):
    (row,) = read_text(tmp_path, f"data_x\n{CELL}{tag}\n{ATOMS}")
    assert row[column] == value


def test_a_looped_name_is_joined(tmp_path):
    text = SALT + "loop_\n_publ_author_name\n'Bragg, W. L.'\n'Bragg, W. H.'\n"
    assert read_text(tmp_path, text, "publ_author_name")[0]["publ_author_name"] == "Bragg, W. L.; Bragg, W. H."


def test_every_container_gives_the_same_records(tmp_path):
    members = {"halides/a.cif": SALT, "README.md": "not a CIF", "halides/b.CIF": SALT.replace("salt", "other")}
    for name, text in members.items():
        written(tmp_path / "folder", name, text)
    folder = sorted(path for path in (tmp_path / "folder").rglob("*") if path.is_file())
    places = [
        snapshot(*folder, base=tmp_path / "folder"),
        snapshot(written(tmp_path, "a.zip", zipped(members))),
        snapshot(written(tmp_path, "a.tar", tarred(members, "w"))),
        snapshot(written(tmp_path, "a.tgz", tarred(members, "w:gz"))),
        snapshot(written(tmp_path, "a.txz", tarred(members, "w:xz"))),
        snapshot(written(tmp_path, "download", zipped(members))),
    ]
    found = [[{**row, "_position": ""} for row in rows(place)] for place in places]
    assert [row["_record"] for row in found[0]] == ["salt", "other"]
    assert [row["_source"] for row in found[0]] == [0, 1]
    assert all(other == found[0] for other in found)


def test_gzipped_cif_is_read_alone_and_inside_an_archive(tmp_path):
    packed = gzip.compress(SALT.encode())
    assert rows(snapshot(written(tmp_path, "a.cif.gz", packed)))[0]["_record"] == "salt"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.cif.gz", packed)
    assert rows(snapshot(written(tmp_path, "a.zip", stream.getvalue())))[0]["_record"] == "salt"


def test_names_that_point_outside_an_archive_write_nothing(tmp_path):
    inner = tmp_path / "inner"
    path = written(inner, "a.zip", zipped({"../../escaped.cif": SALT, "/tmp/winnow-absolute.cif": SALT}))
    assert len(rows(snapshot(path))) == 2
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == ["a.zip"]


def test_one_record_per_data_block(tmp_path):
    found = read_text(tmp_path, SALT + SALT.replace("salt", "second") + "data_empty\n_journal_year 1999\n")
    assert [row["_record"] for row in found] == ["salt", "second", "empty"]
    assert [row["_error"] is None for row in found] == [True, True, False]
    assert "_cell_length_a" in found[2]["_error"]
    assert "1999" in found[2]["_raw"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"data_x\n{CELL}", "_atom_site_fract_x"),
        (SALT.replace("_cell_angle_beta 90.0\n", ""), "_cell_angle_beta"),
        (SALT.replace("9.0e1", "right"), "_cell_angle_gamma is 'right'; expected a number"),
        (SALT.replace("9.0e1", "1e999"), "_cell_angle_gamma is '1e999'; expected a number"),
        (SALT.replace("Na1 0 0 0", "Na1 0 0"), "line 9, column 0: Wrong number of values"),
        (SALT + SALT, "duplicate block name"),
        (SALT + "_diffrn_ambient_temperature cold\n", "_diffrn_ambient_temperature is 'cold'"),
        (
            SALT.replace("_fract_z\n", "_fract_z\n_atom_site_occupancy\n").replace(" 0 0 0\n", " 0 0 0 .\n") + "?\n",
            "_atom_site_occupancy of atom 2 is unknown (?)",
        ),
    ],
)
def test_what_cannot_be_read_is_a_record_that_says_why(tmp_path, text, says):
    bad, good = rows(
        snapshot(written(tmp_path, "a.cif", text), written(tmp_path, "b.cif", SALT)), "diffrn_ambient_temperature"
    )
    assert says in bad["_error"]
    assert bad["_raw"].startswith("data_")
    assert bad["cell_length_a"] is None
    assert good["_error"] is None
    assert good["_source"] == 1


def test_an_occupancy_that_is_not_given_is_the_dictionarys_default(tmp_path):
    given = (
        SALT.replace("_fract_z\n", "_fract_z\n_atom_site_occupancy\n").replace(" 0 0 0\n", " 0 0 0 0.5(1)\n") + ".\n"
    )
    (row,) = rows(snapshot(written(tmp_path, "a.cif", given)))
    assert row["atom_site_occupancy"] == [0.5, None]
    (row,) = rows(snapshot(written(tmp_path, "b.cif", SALT)))
    assert row["atom_site_occupancy"] == [None, None]


def test_a_damaged_file_among_many_is_a_record(tmp_path):
    cut = gzip.compress(SALT.encode())[:-9]
    paths = [written(tmp_path, "a.cif", ""), written(tmp_path, "b.cif.gz", cut), written(tmp_path, "c.cif", SALT)]
    found = rows(snapshot(*paths))
    assert [row["_error"] for row in found] == ["the text is empty", "the gzip file is cut short", None]


def test_raw_text_is_bounded_and_any_bytes_are_read(tmp_path):
    found = read_text(tmp_path, b"data_x\n_journal_name_full 'Zeitschrift f\xfcr'\n" + b"# \xb0\n" * 40_000)
    assert len(found[0]["_raw"].encode()) <= 64 * 1024
    named = read_text(tmp_path, SALT.encode() + b"_journal_name_full 'Zeitschrift f\xfcr'\n", "journal_name_full")
    assert named[0]["journal_name_full"] == "Zeitschrift für"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.cif", b""),
        ("x.cif", b"##fileformat=VCFv4.2\n#CHROM\tPOS\n22\t1\n"),
        ("x.cif.gz", gzip.compress(SALT.encode(), mtime=0)[:-9]),
        ("x.zip", zipped({"README.md": "no CIF here"})),
        ("x.zip", zipped({"a.cif": SALT})[:-30]),
        ("x.tgz", tarred({"a.cif": SALT * 1000}, "w:gz")[:-200]),
        ("x.tar", tarred({"a.cif": SALT * 1000}, "w")[:3000]),
    ],
)
def test_a_source_that_is_no_cif_is_refused_by_name(tmp_path, name, content):
    with pytest.raises(SourceError, match=r"x\.|file:test") as caught:
        rows(snapshot(written(tmp_path, name, content)))
    assert caught.value.remedy


def test_a_folder_without_cif_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no CIF"):
        rows(snapshot(written(tmp_path, "a.txt", "x"), written(tmp_path, "b.md", "y")))


def test_a_misspelt_column_is_named_with_the_one_meant(tmp_path):
    with pytest.raises(HarmoniseError, match=r"diffrn_ambient_presure.*diffrn_ambient_pressure"):
        read_text(tmp_path, SALT, "diffrn_ambient_presure")


def test_the_reader_is_found_by_its_format_and_batches_are_small():
    read, options = reader("cif")
    batches = list(read(snapshot(SAMPLE), options(), ["diffrn_ambient_pressure"]))
    assert all(batch.num_rows <= cif_texts.LIST for batch in batches)
    found = [row for batch in batches for row in batch.to_pylist()]
    assert len(found) == 28
    assert [row["_record"] for row in found if row["_error"]] == ["1010563"]
    assert {row["_record"]: row["diffrn_ambient_pressure"] for row in found}["9000802"] == 100.0


def test_of_510_real_minerals_all_but_five_are_read():
    if not MINERALS.is_dir():
        pytest.skip(f"real data are not at {MINERALS}")
    paths = sorted(path for path in MINERALS.rglob("*") if path.is_file())
    found = rows(snapshot(*paths, base=MINERALS), "cell_volume", "exptl_crystal_density_diffrn")
    assert len(found) == 510
    assert [row["_source"] for row in found] == list(range(510))
    assert {row["_position"]: row["_error"].partition(": ")[2] for row in found if row["_error"]} == {
        "elements/Er-Erbium.cif": "line 82, column 3: parse error",  # a second, broken atom list
        "elements/Eu-Europium.cif": "line 147, column 0: Wrong number of values in loop _atom_site_*",
        "elements/Se-Selenium.cif": "line 54, column 0: Wrong number of values in loop _atom_site_*",
        "halides/AlCl3.cif data_1010563": "_atom_site_fract_x is missing or all unknown",  # its only atom is "? ? ? ?"
        "sulfides/Bi2S3-Bismuthinite.cif": "line 57, column 0: Wrong number of values in loop _atom_site_*",
    }


def test_a_data_name_that_a_mapping_writes_in_another_case_has_its_values(tmp_path):
    text = SALT + "_chemical_name_mineral Halite\n_exptl_crystal_F_000 112\n"
    (row,) = read_text(tmp_path, text, "Chemical_Name_Mineral", "exptl_crystal_F_000", "Cell_Length_A")
    assert (row["chemical_name_mineral"], row["exptl_crystal_f_000"], row["cell_length_a"]) == ("Halite", 112.0, 5.6402)


REPAIRED = {
    "cif-2.0": '#\\#CIF_2.0\n' + SALT + "_a.list [1 2 'three four' [5]]\n_a.long '''two\nlines'''\n_a.table {'k': 1}\n",
    "control-characters": SALT.replace("Na1", "Na1\x00"),
    "missing-heading": SALT.replace("data_salt\n", ""),
    "unquoted-blanks": SALT.replace("'F m -3 m'", "F m -3 m"),
    "open-quote": SALT.replace("'F m -3 m'", "'F m -3 m"),
    "repeated-name": SALT + "_cell_length_a 5.6402(2)\n",
}  # fmt: skip


def test_every_rule_has_its_case():
    assert set(REPAIRED) == {rule.name for rule in cif_repairs.RULES}
    assert all(rule.habit for rule in cif_repairs.RULES)


@pytest.mark.parametrize("name", sorted(REPAIRED))
def test_a_habit_is_repaired_by_its_rule_and_the_record_says_so(tmp_path, name):
    text = REPAIRED[name]
    (row,) = read_text(tmp_path, text)
    assert row["_error"] is None
    assert row["repairs"] == [name]
    (plain,) = read_text(tmp_path, SALT)
    assert plain["repairs"] == []
    assert row["file_name"] == "x"
    same = set(cif_blocks.STRUCTURE) - {"block", "repairs"}
    assert {key: row[key] for key in same} == {key: plain[key] for key in same}


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "utf-16"), ("latin-1", "latin-1"), ("utf-8-sig", None)])
def test_encodings_are_told_and_read(tmp_path, encoding, name):
    text = SALT + "_journal_name_full 'Zeitschrift für'\n"
    (row,) = read_text(tmp_path, text.encode(encoding), "journal_name_full")
    assert (row["journal_name_full"], row["repairs"]) == ("Zeitschrift für", [name] if name else [])
    assert name is None or name in cif_repairs.ENCODINGS


def test_what_may_be_meant_in_two_ways_is_not_repaired(tmp_path):
    for text, says in {
        SALT + "_cell_length_a 9.9\n": "duplicate tag",
        SALT.replace("Na1 0 0 0", "Na1 0 0"): "Wrong number of values",
        SALT + ";an open text field\n": "unterminated text field",
    }.items():
        (row,) = read_text(tmp_path, text)
        assert says in row["_error"]
        assert row["_raw"]


def test_text_fields_are_left_as_they_are(tmp_path):
    text = SALT.replace("'F m -3 m'", "F m -3 m") + "_publ_section_title\n;\n_not a tag of two words\n;\n"
    assert read_text(tmp_path, text, "publ_section_title")[0]["publ_section_title"] == "_not a tag of two words"


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("_space_group_magn.number_BNS 62.448", "magnetic structure"),
        ("loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_x\nNa1 1.0", "magnetic structure"),
        ("_cell_modulation_dimension 1", "incommensurate structure"),
        ("_space_group_ssg_name 'P2(a0g)'", "incommensurate structure"),
    ],
)
def test_other_kinds_of_symmetry_are_refused_by_name(tmp_path, tag, says):
    (row,) = read_text(tmp_path, f"{SALT}{tag}\n")
    assert says in row["_error"]
    assert read_text(tmp_path, f"{SALT}_cell_modulation_dimension 0\n")[0]["_error"] is None


def test_two_hundred_blocks_in_one_file(tmp_path):
    found = read_text(tmp_path, "".join(SALT.replace("data_salt", f"data_b{n}") for n in range(200)))
    assert [row["_record"] for row in found] == [f"b{n}" for n in range(200)]
    assert [row["_source"] for row in found] == list(range(200))


def test_a_flat_loop_that_never_ends_is_one_record(tmp_path):
    endless = SALT + "loop_\n_refln_index_h\n" + "1 " * 500_000
    assert read_text(tmp_path, endless)[0]["_error"] is None
    (cut,) = read_text(tmp_path, SALT + "loop_\n_a\n_b\n" + "1 " * 500_001)
    assert "Wrong number of values" in cut["_error"]
    assert len(cut["_raw"]) <= 64 * 1024


def test_a_text_that_kills_its_parser_is_lost_alone(tmp_path, monkeypatch):
    """The worker reads the module anew, so that the deadly text must be one that real code dies of: too large a one."""
    monkeypatch.setattr(cif_texts, "LIST_BYTES", 1 << 40)
    monkeypatch.setattr(cif, "read_texts", read_or_die)
    paths = [written(tmp_path, f"{n}.cif", SALT.replace("data_salt", f"data_{n}")) for n in ("a", "deadly", "z")]
    found = rows(snapshot(*paths))
    assert [found[0]["_error"], found[2]["_error"]] == [None, None]
    assert found[1]["_error"] == "the text cannot be parsed: the process that worked on it died (SIGSEGV)"
    assert found[1]["_raw"].startswith("data_deadly")
    assert [row["_source"] for row in found] == [0, 1, 2]


def read_or_die(texts):
    if any(b"data_deadly" in text.content for text, _ in texts):
        ctypes.string_at(0)
    return cif_blocks.read_texts(texts)


def table(folder: Path, kind: str, records: list[dict]) -> Path:
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), folder / "t.parquet")
        return folder / "t.parquet"
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    if kind == "csv.gz":
        return written(folder, "t.csv.gz", gzip.compress(stream.getvalue().encode()))
    return written(folder, "t.csv", stream.getvalue())


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_cif_in_a_column_of_a_table(tmp_path, kind):
    records = [
        {"id": "one", "text": SALT, "gap": 1.5},
        {"id": "two", "text": None if kind == "parquet" else "", "gap": 2.5},
        {"id": "three", "text": "rubbish", "gap": 3.5},
    ]
    options = cif.Options(text_column="text", id_column="id")
    found = cif.read(snapshot(table(tmp_path, kind, records)), options, ["gap", "cell_volume"]).read_all().to_pylist()
    assert [row["_record"] for row in found] == ["one", "two", "three"]
    assert [row["gap"] for row in found] == ["1.5", "2.5", "3.5"]
    assert found[0]["_error"] is None
    assert found[1]["_error"] == "column 'text' is empty; expected a CIF"
    assert "not valid CIF" in found[2]["_error"]
    with pytest.raises(SourceError, match="no column 'cif'; it has id, text, gap"):
        cif.read(snapshot(table(tmp_path, kind, records)), cif.Options(text_column="cif"), [])


def test_a_table_that_is_damaged_or_not_utf8(tmp_path):
    options = cif.Options(text_column="text", id_column="id")
    path = written(tmp_path, "t.csv", b"id,text,note\n\xfc,rubbish,\xff\x00\n")
    (row,) = cif.read(snapshot(path), options, ["note"]).read_all().to_pylist()
    assert (row["_record"], row["note"]) == ("\ufffd", "\ufffd\x00")
    whole = table(tmp_path, "parquet", [{"id": "one", "text": SALT}]).read_bytes()
    with pytest.raises(SourceError, match="cut short or damaged"):
        cif.read(snapshot(written(tmp_path, "cut.parquet", whole[:-20])), options, [])


def test_an_encrypted_archive_is_refused_by_name(tmp_path):
    content = bytearray(zipped({"a.cif": SALT}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption, in both headers
        content[content.index(mark) + at] |= 1
    with pytest.raises(SourceError, match="encrypted"):
        rows(snapshot(written(tmp_path, "a.zip", bytes(content))))


def test_every_perovskite_of_a_real_table_is_read():
    if not PEROVSKITES.is_file():
        pytest.skip(f"real data are not at {PEROVSKITES}")
    options = cif.Options(text_column="cif", id_column="material_id")
    batches = cif.read(snapshot(PEROVSKITES), options, ["heat_all", "formula"])
    found = [row for batch in batches for row in structures.transform(batch).to_pylist()]
    assert len(found) == 3787
    assert {row["_error"] for row in found} == {None}
    assert {row["chemical_formula_anonymous"] for row in found} >= {"A3BC"}
    assert (found[0]["_record"], found[0]["heat_all"]) == ("18517", "2.76")


def test_every_rule_is_in_the_docs():
    page = (Path(__file__).parents[1] / "docs/explanation/crystals.md").read_text()
    listed = re.findall(r"(?m)^\| `([a-z0-9.-]+)` \|", page)
    assert listed == [*(rule.name for rule in cif_repairs.RULES), *cif_repairs.ENCODINGS]
