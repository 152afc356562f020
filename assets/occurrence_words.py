"""The words of occurrence records: each spelling of a basis, status, rank, country or datum to its one form.

The one form is GBIF's enumeration for basis of record, status and rank, so that what is curated here and what GBIF
interpreted stand side by side; ISO 3166-1 alpha-2 for countries; a geographic EPSG code for datums.
What is not known is None, never a guess.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

_BASES = {
    "PRESERVED_SPECIMEN": "specimen, preserved, voucher, herbarium sheet, museum specimen, pinned specimen, S",
    "FOSSIL_SPECIMEN": "fossil",
    "LIVING_SPECIMEN": "living, living organism, L",
    "OBSERVATION": "O",
    "HUMAN_OBSERVATION": "observed, sighting, field observation, HO, PersonalObservation",
    "MACHINE_OBSERVATION": "camera trap, sound recording, MO",
    "MATERIAL_SAMPLE": "sample, tissue, DNA sample, environmental sample, material entity",
    "MATERIAL_CITATION": "",
    "LITERATURE": "literature reference, publication",
    "OCCURRENCE": "",
    "UNKNOWN": "",
}
_STATUSES = {
    "PRESENT": "presence, common, rare, irregular, doubtful, p, yes, y, 1, true, found, observed",
    "ABSENT": "absence, not present, a, no, n, 0, false, not found, not observed, excluded, extirpated",
}
_RANKS = (
    "DOMAIN", "SUPERKINGDOM", "KINGDOM", "SUBKINGDOM", "INFRAKINGDOM", "SUPERPHYLUM", "PHYLUM", "SUBPHYLUM",
    "INFRAPHYLUM", "SUPERCLASS", "CLASS", "SUBCLASS", "INFRACLASS", "PARVCLASS", "SUPERLEGION", "LEGION", "SUBLEGION",
    "INFRALEGION", "SUPERCOHORT", "COHORT", "SUBCOHORT", "INFRACOHORT", "MAGNORDER", "SUPERORDER", "GRANDORDER",
    "ORDER", "SUBORDER", "INFRAORDER", "PARVORDER", "SUPERFAMILY", "FAMILY", "SUBFAMILY", "INFRAFAMILY", "SUPERTRIBE",
    "TRIBE", "SUBTRIBE", "INFRATRIBE", "SUPRAGENERIC_NAME", "GENUS", "SUBGENUS", "INFRAGENUS", "SUPERSECTION",
    "SECTION", "SUBSECTION", "SUPERSERIES", "SERIES", "SUBSERIES", "INFRAGENERIC_NAME", "SPECIES_AGGREGATE", "SPECIES",
    "INFRASPECIFIC_NAME", "GREX", "SUBSPECIES", "CULTIVAR_GROUP", "CONVARIETY", "INFRASUBSPECIFIC_NAME", "PROLES",
    "RACE", "NATIO", "ABERRATION", "MORPH", "VARIETY", "SUBVARIETY", "FORM", "SUBFORM", "PATHOVAR", "BIOVAR",
    "CHEMOVAR", "MORPHOVAR", "PHAGOVAR", "SEROVAR", "CHEMOFORM", "FORMA_SPECIALIS", "CULTIVAR", "STRAIN", "OTHER",
    "UNRANKED",
)  # fmt: skip
_MORE_RANKS = {
    "SPECIES": "sp, spec, spp",
    "SUBSPECIES": "subsp, ssp, subspec",
    "VARIETY": "var, varietas, v",
    "FORM": "f, fo, forma",
    "GENUS": "gen, g",
    "FAMILY": "fam",
    "ORDER": "ord",
    "CLASS": "cl, classis",
    "PHYLUM": "division, divisio, phyl",
    "KINGDOM": "regnum",
    "SECTION": "sect",
    "SUBGENUS": "subgen, subg",
    "SUBVARIETY": "subvar",
    "SUBFORM": "subf, subforma",
    "CULTIVAR": "cv",
    "SPECIES_AGGREGATE": "agg, aggregate, species group, aggr",
    "INFRASPECIFIC_NAME": "infraspecies, infraspecific",
    "UNRANKED": "no rank, clade",
}


def _folded(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _spellings(words: dict[str, str]) -> dict[str, str]:
    """Folded spelling -> the one form; the form is among its own spellings."""
    return {_folded(one): form for form, more in words.items() for one in (form, *more.split(",")) if one.strip()}


_BASIS = _spellings(_BASES)
_STATUS = _spellings(_STATUSES)
_RANK = _spellings({rank: _MORE_RANKS.get(rank, "") for rank in _RANKS})


def basis(text: str) -> str | None:
    """``specimen``, ``PreservedSpecimen`` and ``preserved specimen`` are PRESERVED_SPECIMEN."""
    return _BASIS.get(_folded(re.sub(r"^.*[:/#]", "", text)))


def status(text: str) -> str | None:
    """PRESENT or ABSENT."""
    return _STATUS.get(_folded(text))


def rank(text: str) -> str | None:
    """``subsp.`` and ``Subspecies`` are SUBSPECIES."""
    return _RANK.get(_folded(text))


# --- rank by the form of a name ----------------------------------------

_MARKED = re.compile(r"\s(subsp|ssp|var|subvar|f|fo|forma|subf|cv)\.?\s+(?=[a-z×-])", re.IGNORECASE)
_UNNAMED = re.compile(r"^(\S+)\s+(?:\(\w+\)\s+)?(sp|spp|spec|indet)\b\.?", re.IGNORECASE)
_AGGREGATE = re.compile(r"\sagg(r|regate)?\b\.?|\ssp(ecies)? group\b")
_EPITHET = r"(?:[xX×]\s?)?[a-zß-ÿ][a-zß-ÿ-]{1,}"
_GENUS = r"(?:[×xX]\s?)?[A-Z][a-zß-ÿë-]+"
_WITHIN_GENUS = re.compile(rf"{_GENUS}\s(subgenus|subgen|subg|section|sect|series)\b")
_AUTHOR_WORDS = frozenset(["de", "da", "del", "della", "den", "der", "di", "dos", "du", "et", "ex", "in", "la", "le"])
_AUTHOR_WORDS |= {"van", "von", "zu", "non", "nec", "and", "f", "fil", "auct", "sensu", "emend", "cf", "aff", "nr"}
_BINOMIAL = re.compile(rf"{_GENUS}(?:\s\({_GENUS}\))?\s(?:cf\.?\s|aff\.?\s)?({_EPITHET})(?:\s({_EPITHET}))?(?![a-z.])")
_UNINOMIAL = re.compile(rf"({_GENUS})(\s+(\(|[A-Z]|(de|van|von|du|la|le|d')\b).*)?")


@lru_cache(maxsize=50_000)
def rank_of_name(name: str, kingdom: str | None, genus: str | None) -> str | None:
    """The rank that the form of a scientific name shows; None where it shows none.

    A third epithet without a mark is a subspecies in zoology only, which has no other rank below the species.
    """
    name = " ".join(name.split())
    if unnamed := _UNNAMED.match(name):
        return _rank_of_one_word(unnamed[1], kingdom, genus) or "GENUS"
    if within := _WITHIN_GENUS.match(name):
        return rank(within[1])
    binomial = _BINOMIAL.match(name)
    if binomial and binomial[1] not in _AUTHOR_WORDS:
        marks = _MARKED.findall(name)
        if marks:
            return rank(marks[-1])
        if _AGGREGATE.search(name):
            return "SPECIES_AGGREGATE"
        if binomial[2] and binomial[2] not in _AUTHOR_WORDS:
            return "SUBSPECIES" if (kingdom or "").lower() == "animalia" else "INFRASPECIFIC_NAME"
        return "SPECIES"
    return _rank_of_one_word(name, kingdom, genus)


def _rank_of_one_word(name: str, kingdom: str | None, genus: str | None) -> str | None:
    found = _UNINOMIAL.fullmatch(name)
    if found is None:
        return None
    word, animal = found[1], (kingdom or "").lower() == "animalia"
    if word == genus:
        return "GENUS"
    if word == kingdom:
        return "KINGDOM"
    if word.endswith("aceae") or (animal and word.endswith("idae")):
        return "FAMILY"
    if animal and word.endswith("inae"):
        return "SUBFAMILY"
    return "ORDER" if not animal and word.endswith("ales") else None


# --- countries -----------------------------------------------------------

_COUNTRY_NAMES = {
    "GB": "UK, U.K., Great Britain, England, Scotland, Wales, Northern Ireland, Britain",
    "US": "USA, U.S.A., U.S., United States of America, EEUU, Estados Unidos, Etats-Unis",
    "TR": "Turkey, Türkiye, Turkiye",
    "RU": "Russia",
    "CZ": "Czech Republic",
    "CI": "Ivory Coast, Cote d'Ivoire",
    "CV": "Cape Verde",
    "CD": "Democratic Republic of the Congo, DR Congo, DRC, Zaire, Congo-Kinshasa",
    "CG": "Republic of the Congo, Congo-Brazzaville, Congo",
    "KR": "South Korea, Republic of Korea, Korea Republic",
    "KP": "North Korea",
    "LA": "Laos",
    "MM": "Burma",
    "MK": "Macedonia, FYROM",
    "SZ": "Swaziland",
    "TL": "East Timor",
    "NL": "The Netherlands, Holland, Nederland",
    "DE": "Deutschland, Allemagne, Alemania",
    "AT": "Österreich",
    "CH": "Schweiz, Suisse, Svizzera",
    "BE": "Belgique, België, Belgie, Belgien",
    "ES": "España, Espana",
    "IT": "Italia",
    "BR": "Brasil",
    "MX": "México",
    "PE": "Perú",
    "PA": "Panamá",
    "NO": "Norge",
    "SE": "Sverige",
    "DK": "Danmark",
    "FI": "Suomi",
    "PL": "Polska",
    "JP": "Nippon",
    "VA": "Vatican, Vatican City",
    "PS": "Palestine",
    "FM": "Micronesia",
    "BN": "Brunei",
    "SH": "Saint Helena, St Helena, St. Helena",
    "VG": "British Virgin Islands",
    "VI": "US Virgin Islands, U.S. Virgin Islands",
    "FK": "Falkland Islands",
    "RE": "Reunion",
    "XK": "Kosovo",
    "XZ": "High seas, International waters, XZ",
    "ZZ": "ZZ",
}


def _plain(text: str) -> str:
    return re.sub(r"[\s.,'’()-]+", " ", text.lower().replace("&", "and")).strip()


@cache
def _countries() -> dict[str, str]:
    """Every name and code of a country -> its ISO 3166-1 alpha-2 code."""
    import pycountry

    known: dict[str, str] = {}
    for one in pycountry.countries:
        names = (one.alpha_2, one.alpha_3, one.name, getattr(one, "official_name", ""), getattr(one, "common_name", ""))
        known |= {_plain(name): one.alpha_2 for name in names if name}
    # Ours last: "Congo" and "Turkey" have come to mean what they say here, not what a code list calls official.
    known |= {_plain(name): code for code, names in _COUNTRY_NAMES.items() for name in (code, *names.split(","))}
    return known


def country(text: str) -> str | None:
    """The alpha-2 code of a country's code or name: ``Turkey``, ``Türkiye``, ``TUR`` and ``tr`` are TR."""
    return _countries().get(_plain(text))


# --- datums --------------------------------------------------------------

WGS84 = 4326
_DATUMS = {
    WGS84: "WGS84, WGS 84, WGS1984, World Geodetic System 1984, GPS, G_WGS_1984, GCS_WGS_1984, WGS-84 (EPSG:4326)",
    4267: "NAD27, North American Datum 1927",
    4269: "NAD83, North American Datum 1983, NAD 83 (EPSG:4269)",
    4230: "ED50, European Datum 1950",
    4258: "ETRS89, ETRS 89",
    4283: "GDA94, Geocentric Datum of Australia 1994",
    7844: "GDA2020",
    4202: "AGD66, Australian Geodetic Datum 1966",
    4203: "AGD84",
    4167: "NZGD2000",
    4272: "NZGD49, Geodetic Datum 1949",
    4248: "PSAD56",
    4618: "SAD69, South American Datum 1969",
    4674: "SIRGAS2000, SIRGAS 2000",
    4277: "OSGB36, OSGB 1936",
    4314: "DHDN",
    4275: "NTF",
    4301: "Tokyo",
    4612: "JGD2000",
    4322: "WGS72, WGS 72",
    4171: "RGF93",
    4148: "Hartebeesthoek94",
    4222: "Cape",
    4284: "Pulkovo 1942",
}
_DATUM = {_folded(name): code for code, names in _DATUMS.items() for name in names.split(",")}


def datum(text: str) -> int | None:
    """The EPSG code of a geographic coordinate system by its name or code; None where it is not one."""
    code = re.search(r"epsg:+(?:[\d.]*:)?(\d{4,6})\b", text, re.IGNORECASE)
    if code is None:
        return _DATUM.get(_folded(text))
    number = int(code[1])
    return number if number in _DATUMS or _is_geographic(number) else None


@cache
def _is_geographic(code: int) -> bool:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return bool(CRS.from_epsg(code).is_geographic)
    except CRSError:
        return False
