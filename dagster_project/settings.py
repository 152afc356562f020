"""Where Winnow keeps things, from the environment; nothing else in the project reads WINNOW_ variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Settings:
    """``home`` is a local folder; ``warehouse`` a folder or ``s3://`` prefix; ``catalog`` a database URL."""

    home: Path
    warehouse: str
    catalog: str

    @classmethod
    def at(cls, home: Path, warehouse: str | None = None, catalog: str | None = None) -> Settings:
        """The settings for a home, with the warehouse and the database inside it unless they are given."""
        home = home.absolute()
        return cls(
            home, warehouse or str(home / "warehouse"), catalog or f"sqlite:///{quote(str(home / 'catalog.db'))}"
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """WINNOW_HOME (default ``.winnow``), WINNOW_WAREHOUSE and WINNOW_CATALOG."""
        home = Path(environment.get("WINNOW_HOME") or ".winnow")
        warehouse, catalog = environment.get("WINNOW_WAREHOUSE"), environment.get("WINNOW_CATALOG")
        if warehouse and "://" not in warehouse:
            warehouse = str(Path(warehouse).absolute())
        return cls.at(
            home, warehouse, catalog and re.sub("^sqlite:///(?=[^/])", f"sqlite:///{quote(str(Path.cwd()))}/", catalog)
        )

    @property
    def raw(self) -> Path:
        """The content-addressed store of fetched bytes; always local and private."""
        return self.home / "raw"

    def private(self, dataset: str) -> Path:
        """Where errors lie that quote records of a dataset which not everybody may see; for the operator only."""
        return self.home / "private" / dataset.replace("/", ".")

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: runs, events, schedules."""
        return self.home / "dagster"
