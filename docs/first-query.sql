/* One fact from each of the five sciences. */
SELECT 'genomics' AS science, count(*) AS "rows",
       'of these, pathogenic by expert panel or guideline: '
       || count(*) FILTER (review_stars >= 3 AND list_contains(clinical_significance, 'Pathogenic')) AS fact
FROM genomics.clinical_significance
UNION ALL
SELECT 'crystals', count(*),
       'largest unit cell: ' || arg_max(coalesce(_winnow_mineral_name, chemical_formula_reduced) || ', ' || nsites || ' sites', nsites)
FROM crystals.structures
UNION ALL
SELECT 'proteins', count(*),
       'finest resolution: ' || arg_min(entry_id || ', ' || resolution || ' angstrom', resolution)
FROM proteins.structures
UNION ALL
SELECT 'fusion', count(*),
       'highest plasma current: ' || arg_max(device || ' ' || pulse || ', ' || round(abs(ip) / 1000, 1) || ' kA', abs(ip))
FROM fusion.equilibria
UNION ALL
SELECT 'biodiversity', count(*),
       'of these, free of any condition: ' || count(*) FILTER (_licence = 'CC0-1.0') || '; most recent: '
       || arg_max(scientificName || ', ' || _winnow_event_start, _winnow_event_start)
FROM biodiversity.occurrences
