"""Bytes in, canonical rows out. Knows no Dagster, no gates and no warehouse."""
