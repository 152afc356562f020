"""Snapshots of files that lie where a test has put them."""

from __future__ import annotations

from pathlib import Path

from catalog.records import Snapshot, SourceFile, utc_now


def snapshot(*paths: Path) -> Snapshot:
    """What a fetch of these files would give; nothing is copied."""
    files = tuple(SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64) for path in paths)
    return Snapshot(
        dataset="science/made",
        uri="file:///made",
        origin="source",
        sha256="0" * 64,
        validator="",
        size=0,
        fetched_at=utc_now(),
        files=files,
    )
