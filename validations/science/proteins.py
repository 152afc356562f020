"""What must hold for structures of proteins, determined or predicted, and for their residues."""

from __future__ import annotations

import polars as pl

from validations.science import science_check

FRACTIONS = ("very_high", "confident", "low", "very_low")
_BOUNDS = {"very_high": (90.0, 100.0), "confident": (70.0, 90.0), "low": (50.0, 70.0), "very_low": (0.0, 50.0)}

SHARPEST = 0.4  # angstrom; the sharpest structure in the PDB has 0.48 (3NIR)
COARSEST = {"ELECTRON MICROSCOPY": 150.0, "FIBER DIFFRACTION": 20.0}  # angstrom
COARSEST_DIFFRACTION = 15.0  # angstrom

LARGEST_B = 2000.0  # angstrom^2; an atom that is spread over 5 angstrom, of which no map shows anything
MOST_ATOMS = 500  # of one residue, hydrogens and alternative places counted


@science_check
def confidence_is_of_predictions(frame: pl.DataFrame) -> pl.Series:
    """Only a prediction has a pLDDT, and no prediction has a B factor, a resolution or an experimental method."""
    predicted = (pl.col("structure_determination_methodology") == "computational").fill_null(False)
    measured = pl.any_horizontal(pl.col(name).is_not_null() for name in ("b_iso_mean", "resolution", "r_free"))
    tried = (pl.col("exptl_methods").list.len() > 0).fill_null(False)
    confident = pl.any_horizontal(pl.col(name).is_not_null() for name in ("plddt_mean", "declared_plddt_mean"))
    return frame.select(holds=pl.when(predicted).then(~measured & ~tried).otherwise(~confident))["holds"]


@science_check
def confidence_adds_up(frame: pl.DataFrame) -> pl.Series:
    """The four shares of pLDDT must sum to 1 and leave room for its mean, to 10 (one weighs residues, one atoms)."""
    shares = {name: pl.col(f"plddt_fraction_{name}") for name in FRACTIONS}
    least = sum((shares[name] * _BOUNDS[name][0] for name in FRACTIONS), start=pl.lit(0.0))
    most = sum((shares[name] * _BOUNDS[name][1] for name in FRACTIONS), start=pl.lit(0.0))
    whole = (sum(shares.values(), start=pl.lit(0.0)) - 1).abs() <= 1e-9
    return frame.select(holds=whole & pl.col("plddt_mean").is_between(least - 10, most + 10))["holds"]


@science_check
def mean_confidence_is_the_declared_one(frame: pl.DataFrame) -> pl.Series:
    """The mean pLDDT must be the one that the source declares, to 0.5: else residues or their pLDDT are missing."""
    return frame.select(holds=(pl.col("plddt_mean") - pl.col("declared_plddt_mean")).abs() <= 0.5)["holds"]


@science_check
def resolution_fits_the_method(frame: pl.DataFrame) -> pl.Series:
    """Resolution must be 0.4 to 15 angstrom (fibres 20, electron microscopy 150); NMR alone has none."""
    methods = pl.col("exptl_methods").fill_null([])
    coarsest = pl.lit(COARSEST_DIFFRACTION)
    for method, limit in COARSEST.items():
        coarsest = pl.when(methods.list.contains(method)).then(limit).otherwise(coarsest)
    nmr_alone = (methods.list.len() > 0) & methods.list.eval(pl.element().str.ends_with("NMR")).list.all()
    sound = pl.col("resolution").is_between(SHARPEST, coarsest) & ~nmr_alone
    return frame.select(holds=pl.when(pl.col("resolution").is_not_null()).then(sound))["holds"]


@science_check
def dates_are_in_order(frame: pl.DataFrame) -> pl.Series:
    """An entry cannot be released before it was deposited, revised before it was released, or held until before."""
    order = (
        ("deposition_date", "release_date"),
        ("release_date", "revision_date"),
        ("deposition_date", "hold_until"),
    )
    # AlphaFold DB dates an entry's deposition by the release that first had its file.
    experimental = pl.col("structure_determination_methodology") != "computational"
    holds = [(pl.col(first) <= pl.col(then)).fill_null(True) for first, then in order]
    return frame.select(holds=pl.all_horizontal(holds) | ~experimental.fill_null(True))["holds"]


@science_check
def released_entries_have_a_date(frame: pl.DataFrame) -> pl.Series:
    """A released entry must say when it was released, for that is when its embargo ended."""
    released = pl.col("status_code") == "REL"
    return frame.select(holds=~released | pl.col("release_date").is_not_null())["holds"]


@science_check
def chains_are_counted(frame: pl.DataFrame) -> pl.Series:
    """The counts must be those of the chains, and no chain may have more residues than its sequence has letters."""
    residues = pl.element().struct.field("residues")
    # A canonical sequence has one letter for each residue; what it writes in parentheses it has not resolved.
    letters = pl.element().struct.field("sequence")
    fits = (residues <= letters.str.len_chars()) | letters.str.contains("(", literal=True)
    counted = (pl.col("chains").list.len() == pl.col("nchains")) & (
        pl.col("chains").list.eval(residues).list.sum() == pl.col("nresidues")
    )
    return frame.select(holds=counted & pl.col("chains").list.eval(fits.fill_null(True)).list.all())["holds"]


@science_check
def residue_has_one_measure(frame: pl.DataFrame) -> pl.Series:
    """B factor and pLDDT are two quantities in one column of the source: a residue has one of them at most."""
    return frame.select(holds=pl.col("b_iso").is_null() | pl.col("plddt").is_null())["holds"]


@science_check
def b_factor_is_of_an_atom_that_is_seen(frame: pl.DataFrame) -> pl.Series:
    """A B factor must be between 0 and 2000 angstrom^2; what moves more than that leaves no trace in a map."""
    return frame.select(holds=pl.col("b_iso").is_between(0.0, LARGEST_B))["holds"]


@science_check
def residue_is_no_larger_than_residues_are(frame: pl.DataFrame) -> pl.Series:
    """A residue must have at most 500 atoms: more are several residues under one number."""
    return frame.select(holds=pl.col("natoms") <= MOST_ATOMS)["holds"]
