"""Crystallography that a schema cannot say, for crystals.structures.

What refuses is what makes the row itself wrong. A declared density that differs from the computed one is only
recorded: of 257 real entries that declare one, the one that is far off (tellurium) declares a wrong one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from validations.science import science_check

Floats = npt.NDArray[np.float64]

CLOSEST = 0.45
"""Of the sum of two covalent radii. Of 502 real minerals the shortest sound bond has 0.54 of it (Nb-O in NbO2), and
what is closer has at most 0.36; faulty metal-organic frameworks have less than 0.2."""


def _component(row: int, column: int) -> pl.Expr:
    return pl.col("lattice_vectors").list.get(row).list.get(column)


def _determinant() -> pl.Expr:
    parts = [
        _component(0, i) * (_component(1, j) * _component(2, k) - _component(1, k) * _component(2, j))
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]
    return parts[0] + parts[1] + parts[2]


@science_check
def lattice_is_right_handed_and_sized(frame: pl.DataFrame) -> pl.Series:
    """The lattice vectors must be right-handed and span the stated volume, between 1 and 1,000,000 angstrom^3."""
    volume = _determinant()
    stated = (volume / pl.col("_winnow_volume") - 1).abs() <= 1e-6
    return frame.select(holds=volume.is_between(1.0, 1e6) & stated)["holds"]


@science_check
def lattice_fits_symmetry(frame: pl.DataFrame) -> pl.Series:
    """Every symmetry operation must carry the lattice into itself: cell and space group contradict each other."""
    pairs = zip(frame["lattice_vectors"], frame["space_group_symmetry_operations_xyz"], strict=True)
    return pl.Series(
        [
            None if lattice is None or triplets is None else _fits(lattice.to_list(), tuple(triplets))
            for lattice, triplets in pairs
        ],
        dtype=pl.Boolean,
    )


def _fits(lattice: list[list[float]], triplets: tuple[str, ...]) -> bool:
    vectors = np.array(lattice)
    metric = vectors @ vectors.T
    rotations = _rotations(triplets)
    turned = np.einsum("oki,kl,olj->oij", rotations, metric, rotations)
    # Lengths of vectors of one cell are compared, so 1 % of its longest is lenient for its shortest only.
    return bool((np.abs(turned - metric).max(axis=(1, 2)) <= 0.01 * metric.max()).all())


@lru_cache(maxsize=4096)
def _rotations(triplets: tuple[str, ...]) -> Floats:
    import gemmi

    operations = [gemmi.Op(triplet) for triplet in triplets]
    return np.array([operation.rot for operation in operations]) / gemmi.Op.DEN


@science_check
def volume_is_the_declared_one(frame: pl.DataFrame) -> pl.Series:
    """The volume of the cell must be the one that the source declares, to 1 %: else the cell is mistyped."""
    ratio = pl.col("_winnow_volume") / pl.col("_winnow_declared_volume")
    return frame.select(holds=(ratio - 1).abs() <= 0.01)["holds"]


@science_check
def density_is_of_matter(frame: pl.DataFrame) -> pl.Series:
    """Density must be between 0.02 and 30 g/cm^3; osmium, the densest element, has 22.6."""
    return frame.select(holds=pl.col("_winnow_density").is_between(0.02, 30.0))["holds"]


@science_check
def ratios_sum_to_one(frame: pl.DataFrame) -> pl.Series:
    """There must be one ratio per element, and the ratios must sum to 1."""
    counts = (pl.col("elements").list.len() == pl.col("nelements")) & (
        pl.col("elements_ratios").list.len() == pl.col("nelements")
    )
    return frame.select(holds=counts & ((pl.col("elements_ratios").list.sum() - 1).abs() <= 1e-9))["holds"]


@science_check
def site_lists_have_one_length(frame: pl.DataFrame) -> pl.Series:
    """Positions and species must be given for each of the nsites sites."""
    lists = ("cartesian_site_positions", "fractional_site_positions", "species_at_sites")
    return frame.select(holds=pl.all_horizontal(pl.col(name).list.len() == pl.col("nsites") for name in lists))["holds"]


@science_check
def species_fill_at_most_a_site(frame: pl.DataFrame) -> pl.Series:
    """The concentrations of a species must sum to at most 1 (1.01 with rounded occupancies), and none be negative."""
    shares = pl.element().struct.field("concentration").list
    most = pl.col("species").list.eval(shares.sum()).list.max()
    least = pl.col("species").list.eval(shares.min()).list.min()
    return frame.select(holds=(most <= 1.01) & (least >= 0.0))["holds"]


@science_check
def atoms_keep_apart(frame: pl.DataFrame) -> pl.Series:
    """No two atoms may be closer than 0.45 of the sum of their covalent radii, unless their occupancies alternate."""
    return frame.select(holds=pl.col("_winnow_shortest_contact").fill_null(1.0) >= CLOSEST)["holds"]


@science_check
def composition_matches_sites(frame: pl.DataFrame) -> pl.Series:
    """Elements and their ratios must be those of the species on the sites, attached atoms included."""
    rows = frame.with_row_index("row").filter(~pl.col("structure_features").list.contains("implicit_atoms"))
    stated = rows.select("row", symbol="elements", stated="elements_ratios").explode("symbol", "stated")
    atoms = (
        rows.select("row", name="species_at_sites").explode("name").join(_species_atoms(rows), on=["row", "name"])
        .group_by("row", "symbol").agg(pl.col("atoms").sum()).filter(pl.col("atoms") > 0)
        .with_columns(found=pl.col("atoms") / pl.col("atoms").sum().over("row"))
    )  # fmt: skip
    both = stated.join(atoms, on=["row", "symbol"], how="full", coalesce=True)
    agree = ((pl.col("stated") - pl.col("found")).abs() <= 1e-6).fill_null(False)
    holds = both.group_by("row").agg(holds=agree.all())
    return frame.with_row_index("row").select("row").join(holds, on="row", how="left", maintain_order="left")["holds"]


def _species_atoms(rows: pl.DataFrame) -> pl.DataFrame:
    """How many atoms of each element one site of each species has."""
    species = rows.select("row", "species").explode("species").unnest("species")
    own = species.select("row", "name", symbol="chemical_symbols", atoms="concentration").explode("symbol", "atoms")
    own = own.filter(pl.col("symbol") != "vacancy")
    filled = own.group_by("row", "name").agg(filled=pl.col("atoms").sum())
    attached = (
        species.filter(pl.col("attached").list.len() > 0)
        .select("row", "name", symbol="attached", times="nattached").explode("symbol", "times")
        .join(filled, on=["row", "name"]).select("row", "name", "symbol", atoms=pl.col("times") * pl.col("filled"))
    )  # fmt: skip
    return pl.concat([own, attached])


@science_check
def composition_is_the_declared_one(frame: pl.DataFrame) -> pl.Series:
    """The atoms must make the declared formula: elements to 5 % each, hydrogens at most as many (some go unlocated)."""
    hydrogens = pl.col("_winnow_hydrogen_share").fill_null(1.0) <= 1.05
    return frame.select(holds=(pl.col("_winnow_formula_deviation") <= 0.05) & hydrogens)["holds"]


@science_check
def energies_name_their_functional(frame: pl.DataFrame) -> pl.Series:
    """An energy or a band gap without its functional cannot be compared with any other."""
    named = (
        "energy_per_atom",
        "corrected_energy_per_atom",
        "formation_energy_per_atom",
        "energy_above_hull",
        "band_gap",
    )
    given = pl.any_horizontal(pl.col(f"_winnow_{name}").is_not_null() for name in named)
    return frame.select(holds=~given | pl.col("_winnow_functional").is_not_null())["holds"]


@science_check
def energies_are_of_solids(frame: pl.DataFrame) -> pl.Series:
    """A total energy must be between -100 and 10 eV an atom, and no further than 10 eV from the corrected one."""
    total, corrected = pl.col("_winnow_energy_per_atom"), pl.col("_winnow_corrected_energy_per_atom")
    bounded = total.is_between(-100.0, 10.0).fill_null(True)
    return frame.select(holds=bounded & ((corrected - total).abs() <= 10.0).fill_null(True))["holds"]
