"""Canonical rows in, verdict out. Never writes a table."""
