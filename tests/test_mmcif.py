"""The mmCIF reader: entries and residues as gemmi's own structure reader counts them, and what is said of bad ones."""

import gzip
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import gemmi
import pyarrow as pa
import pytest

from assets.readers import mmcif
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

DATASETS = Path(__file__).parents[1] / "assets/datasets/proteins"
ALPHAFOLD = Path(__file__).parents[2] / "shared/data/proteins/AF-P29373-F1-model_v4.cif.gz"
SITES = """loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.label_atom_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_entity_id
_atom_site.label_seq_id
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_ins_code
_atom_site.B_iso_or_equiv
_atom_site.pdbx_PDB_model_num
"""
ATOMS = """ATOM   1 N   MSE A 1 1 -3 X A 10.0 1
ATOM   2 CA  MSE A 1 1 -3 X A 20.0 1
ATOM   3 CA  GLY A 1 2 -2 X . 30.0 1
ATOM   4 CA  ALA A 1 2 -2 X . 40.0 1
HETATM 5 ZN  ZN  B 2 . 90 X . 99.0 1
ATOM   6 CA  MSE A 1 1 -3 X A 70.0 2
"""
ENTRY = f"data_1ABC\n_entry.id 1ABC\n_exptl.method 'SOLUTION NMR'\n{SITES}{ATOMS}"


def snapshot(*paths: Path) -> Snapshot:
    files = tuple(SourceFile(name=p.name, path=p, size=p.stat().st_size, sha256="0" * 64) for p in paths)
    return Snapshot(
        dataset="proteins/test", uri="file:test", origin="override", sha256="0" * 64, validator="", size=0,
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC), files=files,
    )  # fmt: skip


def rows(*paths: Path, columns=(), **options) -> list[dict]:
    batches = list(mmcif.read(snapshot(*paths), mmcif.Options(**options), columns))
    found = pa.Table.from_batches(batches).to_pylist() if batches else []
    assert [row["_source"] for row in found] == list(range(len(found)))
    return found


def written(folder: Path, text: str, name: str = "entry.cif") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_entries_and_residues_of_the_bundled_samples_are_those_that_gemmi_counts(tmp_path):
    with tarfile.open(DATASETS / "pdb/sample.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    entries = {row["entry_id"]: row for row in rows(DATASETS / "pdb/sample.tar.xz")}
    residues = rows(DATASETS / "pdb/sample.tar.xz", records="residues")
    assert sorted(entries) == ["1PFE", "3JQH", "5I55"]
    for name, entry in entries.items():
        structure = gemmi.read_structure(str(tmp_path / f"{name.lower()}.cif"))
        assert entry["nmodels"] == len(structure)
        assert entry["natoms"] == structure[0].count_atom_sites()
        assert entry["resolution"] == structure.resolution
        polymers = [residue for chain in structure[0] for residue in chain if residue.label_seq is not None]
        mine = [row for row in residues if row["entry_id"] == name]
        assert [(r.subchain, r.label_seq, r.name, len(r)) for r in polymers] == [
            (row["label_asym_id"], row["label_seq_id"], row["label_comp_id"], row["natoms"]) for row in mine
        ]
        for residue, row in zip(polymers, mine, strict=True):
            assert row["b_iso"] == pytest.approx(sum(atom.b_iso for atom in residue) / len(residue))
            assert row["auth_seq_id"] == residue.seqid.num
            assert row["plddt"] is None


def test_an_alphafold_file_has_its_confidence_and_no_b_factor():
    if not ALPHAFOLD.exists():
        pytest.skip(f"{ALPHAFOLD} is not here")
    (entry,) = rows(ALPHAFOLD, columns=["entity_pdbx_description"])
    assert entry["entry_id"] == "AF-P29373-F1"
    assert entry["is_model"]
    assert entry["declared_plddt_mean"] == 96.71
    assert entry["entity_pdbx_description"] == "Cellular retinoic acid-binding protein 2"
    assert (entry["initial_release_date"], entry["latest_revision_date"]) == ("2021-07-01", "2022-09-30")
    assert set(entry["uniprot_accessions_of_entities"]) == {"P29373"}
    assert entry["organisms_of_entities"] == [{"scientific_name": "Homo sapiens", "ncbi_taxonomy_id": "9606"}]
    residues = rows(ALPHAFOLD, records="residues")
    assert len(residues) == 138
    assert (residues[0]["label_comp_id"], residues[0]["plddt"], residues[0]["b_iso"]) == ("MET", 71.79, None)


def test_a_molecule_may_be_from_several_organisms_and_sequences(tmp_path):
    sources = "loop_\n_entity_src_gen.entity_id\n_entity_src_gen.pdbx_gene_src_scientific_name\n1 'Homo sapiens'\n1 ?\n"
    nature = "_entity_src_nat.entity_id 2\n_entity_src_nat.pdbx_organism_scientific 'Bos taurus'\n"
    references = (
        "loop_\n_struct_ref.entity_id\n_struct_ref.db_name\n_struct_ref.pdbx_db_accession\n"
        "1 UNP P00001\n1 UNP P00002\n1 PDB 1ABC\n"
    )
    (entry,) = rows(written(tmp_path, ENTRY + sources + nature + references))
    assert [organism["scientific_name"] for organism in entry["organisms_of_entities"]] == [
        "Homo sapiens",
        "Bos taurus",
    ]
    assert entry["uniprot_accessions_of_entities"] == ["P00001", "P00002"]


def test_models_ligands_modified_residues_and_two_residues_in_one_place(tmp_path):
    (entry,) = rows(written(tmp_path, ENTRY))
    assert (entry["nmodels"], entry["natoms"], entry["resolution"]) == (2, 5, None)
    assert entry["exptl_methods"] == ["SOLUTION NMR"]
    chain = {"label_asym_id": "A", "auth_asym_id": "X", "entity_id": "1", "residues": 2}
    assert entry["polymer_chains"] == [chain]
    names = ("label_seq_id", "label_comp_id", "auth_seq_id", "insertion_code", "natoms", "b_iso")
    found = rows(written(tmp_path, ENTRY), records="residues")
    assert [tuple(row[name] for name in names) for row in found] == [
        (1, "MSE", -3, "A", 2, 15.0),
        (2, "GLY", -2, None, 1, 30.0),
        (2, "ALA", -2, None, 1, 40.0),
    ]


def test_items_are_wanted_by_name_and_a_misspelt_one_is_named(tmp_path):
    path = written(tmp_path, f"{ENTRY}_struct.title 'Some protein'\nloop_\n_exptl_crystal.id\n1\n2\n")
    (entry,) = rows(path, columns=["struct_title", "exptl_crystal_id", "refine_ls_d_res_low"])
    assert (entry["struct_title"], entry["exptl_crystal_id"]) == ("Some protein", "1; 2")
    assert entry["refine_ls_d_res_low"] is None
    with pytest.raises(HarmoniseError, match="did you mean 'struct_title'"):
        rows(path, columns=["struct_titles"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ENTRY[:-40], "not valid mmCIF"),
        (f"{ENTRY}ATOM 7 CA\n", "not valid mmCIF"),
        ("data_x\n_entry.id X\n_struct.title 'no atoms'\n", "neither _atom_site nor"),
        (ENTRY.replace("_atom_site.label_seq_id\n", "_atom_site.label_sec_id\n"), "label_seq_id is missing"),
        (ENTRY.replace("A 1 1 -3 X A 10.0", "A 1 one -3 X A 10.0"), "label_seq_id is 'one'; expected a whole number"),
        (ENTRY.replace("A 10.0 1", "A ten 1"), "B_iso_or_equiv is 'ten'; expected a number"),
        (ENTRY.replace("\n_exptl", "\n_refine.ls_d_res_high sharp\n_exptl"), "ls_d_res_high is 'sharp'"),
        ("data_\n", "gives no _entry.id"),
        ("data_a\n", "neither _atom_site nor"),
    ],
)
def test_a_bad_entry_is_one_record_that_says_why(tmp_path, text, problem):
    good = written(tmp_path, ENTRY.replace("1ABC", "2ABC"), "good.cif")
    found = rows(written(tmp_path, text), good)
    assert [row["_error"] is None for row in found] == [False, True]
    assert problem in found[0]["_error"]
    assert found[0]["_position"].startswith("entry.cif")
    assert found[0]["_raw"]


def test_an_entry_without_atoms_is_one_if_it_has_a_state_of_release(tmp_path):
    (entry,) = rows(written(tmp_path, "data_9ZZZ\n_entry.id 9ZZZ\n_pdbx_database_status.status_code HPUB\n"))
    assert entry["_error"] is None
    assert (entry["natoms"], entry["polymer_chains"], entry["residue_atoms"]) == (0, [], [])


def test_confidence_is_read_by_its_name_only(tmp_path):
    metric = "loop_\n_ma_qa_metric.id\n_ma_qa_metric.mode\n_ma_qa_metric.type\n"
    local = (
        "loop_\n_ma_qa_metric_local.label_asym_id\n_ma_qa_metric_local.label_seq_id\n"
        "_ma_qa_metric_local.metric_id\n_ma_qa_metric_local.metric_value\nA 1 1 0.5\nA 2 1 0.25\nA 1 2 7\nA 1 1 0.75\n"
    )
    predicted = f"data_M\n_entry.id M\n{SITES}{ATOMS}"
    unit = rows(
        written(tmp_path, f"{predicted}{metric}1 local 'pLDDT in [0,1]'\n2 local energy\n{local}"), records="residues"
    )
    assert [(row["plddt"], row["b_iso"]) for row in unit] == [(50.0, None), (25.0, None), (25.0, None)]
    other = rows(written(tmp_path, f"{predicted}{metric}1 local energy\n{local}"), records="residues")
    assert [(row["plddt"], row["b_iso"]) for row in other] == [(None, None)] * 3


def test_files_archives_and_folders_give_the_same_and_what_is_no_mmcif_is_refused(tmp_path):
    path = written(tmp_path, ENTRY)
    packed = tmp_path / "entry2.cif.gz"
    packed.write_bytes(gzip.compress(ENTRY.encode()))
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(packed, "deep/entry2.cif.gz")
        archive.add(__file__, "readme.py")
    several = [rows(path), rows(packed), rows(tmp_path / "all.tar")]
    assert len({tuple(row["residue_b_iso"]) for (row,) in several}) == 1
    cut = tmp_path / "cut.cif.gz"
    cut.write_bytes(packed.read_bytes()[:-20])
    assert "cut short" in rows(path, cut)[1]["_error"]
    with pytest.raises(SourceError, match="is not a CIF"):
        rows(written(tmp_path, "hello\n", "hello.txt"))
    with pytest.raises(SourceError, match="holds no mmCIF"):
        rows(written(tmp_path, "hello\n", "a.txt"), written(tmp_path, "hello\n", "b.txt"))


def test_a_hundred_thousand_atoms_are_one_entry(tmp_path):
    lines = "".join(f"ATOM {n} CA GLY A 1 {n // 4 + 1} {n // 4 + 1} X . {n % 50}.0 1\n" for n in range(100_000))
    path = written(tmp_path, f"data_BIG\n_entry.id BIG\n{SITES}{lines}")
    (entry,) = rows(path)
    assert (entry["natoms"], len(entry["residue_atoms"])) == (100_000, 25_000)
    assert sum(batch.num_rows for batch in mmcif.read(snapshot(path), mmcif.Options(records="residues"), [])) == 25_000
