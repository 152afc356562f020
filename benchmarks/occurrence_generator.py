"""Writes a tab-separated download of species occurrences like GBIF's simple one: same columns, made-up values.

The values follow from the row number alone, so that the same count always gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

_GENERA = [
    *("Accipiter", "Bombus", "Carex", "Drosera", "Erithacus", "Falco", "Galium", "Helianthus", "Iris", "Juniperus"),
    *("Kniphofia", "Lixus", "Mustela", "Nymphaea", "Orchis", "Polydrusus", "Quercus", "Rana", "Sturnus", "Turdus"),
    *("Ulmus", "Vulpes", "Xanthium", "Yucca", "Zostera"),
]
_EPITHETS = [
    *("alba", "borealis", "centralis", "dubia", "elegans", "flava", "grandis", "hirsuta", "incana", "lutea"),
    *("minor", "nigra", "orientalis"),
]
_COUNTRIES = [
    *("AT", "AU", "BE", "BR", "CA", "CH", "CO", "CR", "DE", "DK", "EC", "ES", "FI", "FR", "GB", "IN", "IT", "JP"),
    *("KE", "MX", "NL", "NO", "NZ", "PT", "SE", "TR", "US", "ZA"),
]

_ROWS = """
SELECT
    4000000000 + i AS gbifID,
    format('50c9509d-22c7-4a22-a47d-{:012d}', hash(i, 1) % 400) AS datasetKey,
    format('https://records.example.org/observations/{}', i * 7 + hash(i, 2) % 7) AS occurrenceID,
    'Animalia' AS kingdom, 'Chordata' AS phylum, 'Aves' AS "class", 'Passeriformes' AS "order", 'Turdidae' AS family,
    genus, genus || ' ' || epithet AS species, NULL AS infraspecificEpithet, 'SPECIES' AS taxonRank,
    genus || ' ' || epithet || ' Linnaeus, 1758' AS scientificName, genus || ' ' || epithet AS verbatimScientificName,
    NULL AS verbatimScientificNameAuthorship, country AS countryCode,
    CASE WHEN hash(i, 3) % 3 > 0 THEN format('Near the bridge {}, north bank', hash(i, 4) % 50000) END AS locality,
    format('Province {}', hash(i, 5) % 300) AS stateProvince, 'PRESENT' AS occurrenceStatus,
    CASE WHEN hash(i, 6) % 4 = 0 THEN 1 + hash(i, 7) % 30 END AS individualCount,
    '28eb1a3f-1c15-4a95-931a-4af90ecb574d' AS publishingOrgKey,
    round((hash(i, 8) % 1400000) / 10000.0 - 60, 5) AS decimalLatitude,
    round((hash(i, 9) % 3600000) / 10000.0 - 180, 5) AS decimalLongitude,
    CASE WHEN hash(i, 10) % 2 = 0 THEN (1 + hash(i, 11) % 500)::DOUBLE END AS coordinateUncertaintyInMeters,
    NULL AS coordinatePrecision, CASE WHEN hash(i, 12) % 10 = 0 THEN (hash(i, 13) % 2500)::DOUBLE END AS elevation,
    NULL AS elevationAccuracy, NULL AS depth, NULL AS depthAccuracy,
    CASE WHEN hash(i, 14) % 3 = 0 THEN strftime(day, '%Y-%m-%d')
         ELSE strftime(day + to_seconds(hash(i, 15) % 86400), '%Y-%m-%dT%H:%M:%S') END AS eventDate,
    day(day) AS "day", month(day) AS "month", year(day) AS "year", 2490000 + hash(genus, epithet) % 9999 AS taxonKey,
    2490000 + hash(genus, epithet) % 9999 AS speciesKey,
    CASE WHEN hash(i, 16) % 5 = 0 THEN 'PRESERVED_SPECIMEN' ELSE 'HUMAN_OBSERVATION' END AS basisOfRecord,
    'iNaturalist' AS institutionCode, 'Observations' AS collectionCode, i AS catalogNumber, NULL AS recordNumber,
    format('observer {}', hash(i, 17) % 20000) AS identifiedBy, NULL AS dateIdentified,
    CASE hash(i, 18) % 10 WHEN 0 THEN 'CC0_1_0' WHEN 1 THEN 'CC_BY_4_0' WHEN 2 THEN 'CC_BY_4_0' ELSE 'CC_BY_NC_4_0' END
        AS license,
    format('observer {}', hash(i, 19) % 20000) AS rightsHolder,
    format('observer {}', hash(i, 19) % 20000) AS recordedBy, NULL AS typeStatus, NULL AS establishmentMeans,
    '2021-12-02T11:21:02.961Z' AS lastInterpreted, CASE WHEN hash(i, 20) % 2 = 0 THEN 'StillImage' END AS mediaType,
    CASE WHEN hash(i, 21) % 3 = 0 THEN 'COORDINATE_ROUNDED;GEODETIC_DATUM_ASSUMED_WGS84' ELSE 'COORDINATE_ROUNDED' END
        AS issue
FROM (
    SELECT i, DATE '1995-01-01' + (hash(i, 22) % 9000)::INTEGER AS day,
        {genera}[1 + (hash(i, 23) % len({genera}))::BIGINT] AS genus,
        {epithets}[1 + (hash(i, 24) % len({epithets}))::BIGINT] AS epithet,
        {countries}[1 + (hash(i, 25) % len({countries}))::BIGINT] AS country
    FROM range({rows}) AS numbers(i)
)
"""


def write_occurrences(path: Path, rows: int) -> Path:
    """Write so many rows; a file that is already there is taken as it is."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sql = _ROWS
        for name, values in (("genera", _GENERA), ("epithets", _EPITHETS), ("countries", _COUNTRIES)):
            sql = sql.replace(f"{{{name}}}", repr(values))
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY ({sql.replace('{rows}', str(rows))}) TO '{path}' (DELIMITER '\t', HEADER, QUOTE '')"
            )
    return path
