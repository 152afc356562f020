"""Wiring: Dagster definitions and the command line. Decides nothing about data."""
