"""How a user would read CIFs and find their symmetry with the libraries there are, in one process.

Runs in an environment of its own (see benchmarks.peers) and thus knows nothing of Winnow:
``python structure_peers.py PEER FOLDER`` goes through a folder of CIFs and prints how many gave a space group.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

TOLERANCE = 0.01


def pymatgen(path: str) -> int:
    """CifParser and SpacegroupAnalyzer."""
    parser = importlib.import_module("pymatgen.io.cif").CifParser(path)
    structure = parser.parse_structures(primitive=False)[0]
    analyzer = importlib.import_module("pymatgen.symmetry.analyzer").SpacegroupAnalyzer
    return int(analyzer(structure, symprec=TOLERANCE).get_space_group_number())


def ase(path: str) -> int:
    """ASE's reader and spglib."""
    atoms = importlib.import_module("ase.io").read(path, format="cif")
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.get_atomic_numbers())
    return int(importlib.import_module("spglib").get_symmetry_dataset(cell, symprec=TOLERANCE).number)


def gemmi(path: str) -> int:
    """gemmi's small structures, expanded to the cell, and moyopy: what Winnow itself stands on, bare."""
    structure = importlib.import_module("gemmi").read_small_structure(path)
    sites = structure.get_all_unit_cell_sites()
    moyopy = importlib.import_module("moyopy")
    numbers = [site.element.atomic_number for site in sites]
    cell = moyopy.Cell(_lattice(structure.cell), [site.fract.tolist() for site in sites], numbers)
    return int(moyopy.MoyoDataset(cell, symprec=TOLERANCE).number)


def _lattice(cell: object) -> list[list[float]]:
    columns = cell.orth.mat.tolist()  # type: ignore[attr-defined]
    return [list(row) for row in zip(*columns, strict=True)]


PEERS: dict[str, Callable[[str], int]] = {"pymatgen": pymatgen, "ase": ase, "gemmi": gemmi}


def main(peer: str, folder: str) -> None:
    """Go through a folder; a file that a library refuses is counted and passed over."""
    warnings.simplefilter("ignore")
    found = refused = 0
    for path in sorted(Path(folder).iterdir()):
        try:
            PEERS[peer](str(path))
            found += 1
        except Exception:  # whatever a peer raises on a file is its answer to it
            refused += 1
    sys.stdout.write(f"{found} {refused}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
