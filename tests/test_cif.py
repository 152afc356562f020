"""The CIF reader: what is read, from which containers, and what is said of what cannot be read."""

import gzip
import io
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets.readers import cif, reader
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

MINERALS = Path(__file__).parents[2] / "shared/data/crystals/cod_minerals/crystals"
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


def test_a_damaged_file_among_many_is_a_record(tmp_path):
    cut = gzip.compress(SALT.encode())[:-9]
    paths = [written(tmp_path, "a.cif", ""), written(tmp_path, "b.cif.gz", cut), written(tmp_path, "c.cif", SALT)]
    found = rows(snapshot(*paths))
    assert [row["_error"] for row in found] == ["the file is empty", "the gzip file is cut short", None]


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
        ("x.cif.gz", gzip.compress(SALT.encode())[:-9]),
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
    assert all(batch.num_rows <= cif.BATCH for batch in batches)
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
