"""What Winnow holds, in which version, on what terms. Knows no Dagster and no file format."""
