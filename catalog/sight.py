"""Sight: which relations there are, in which version, and what the policy lets one reader see of each today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Literal

from catalog.dataset import Dataset
from catalog.ledger import Ledger
from catalog.records import Decision, Profile, RowTerms, Version, VersionTable
from catalog.rights.policy import Terms, decide, effective
from catalog.table import Table, View, load_table, table_names
from catalog.warehouse import table_name

Access = Literal["permitted", "partly", "withheld"]


@dataclass(frozen=True)
class Relation:
    """Something that a query can name: a dataset's table, a canonical table, or a view on one."""

    table: Table
    dataset: str | None = None
    view: View | None = None


class Sight:
    """What one reader under one profile may see today."""

    def __init__(
        self,
        ledger: Ledger,
        datasets: Iterable[Dataset],
        profile: Profile,
        today: date,
        at: Mapping[str, int] | None = None,
    ) -> None:
        self.ledger = ledger
        self.datasets = {dataset.name: dataset for dataset in datasets}
        self.profile = profile
        self._today = today
        self.versions = {name: self._version(name, (at or {}).get(name)) for name in self.datasets}

    def _version(self, dataset: str, number: int | None) -> Version | None:
        return self.ledger.current(dataset) if number is None else self.ledger.version(dataset, number)

    def decision(self, dataset: str) -> Decision:
        """What the policy says of a dataset's rows that say nothing of themselves."""
        return decide(effective(self.datasets[dataset].terms, None, None), self.profile, self._today)

    def judged(self, dataset: str, part: VersionTable) -> list[tuple[RowTerms, Terms, Decision]]:
        """What rows of a version's table say of themselves, the terms in force for them, and the policy's word."""
        found = []
        for said in part.row_terms:
            terms = effective(self.datasets[dataset].terms, said.licence, said.embargo_until)
            found.append((said, terms, decide(terms, self.profile, self._today)))
        return found

    def access(self, version: Version) -> Access:
        """How much of a version may be seen."""
        words = {d.allowed for part in version.tables for _, _, d in self.judged(version.dataset, part)}
        if not words:
            words = {self.decision(version.dataset).allowed}
        return "partly" if len(words) == 2 else "permitted" if words.pop() else "withheld"

    def tells_of(self, dataset: str) -> bool:
        """Whether what is known of all rows together (counts, extremes, refused records) may be told.

        Not if any row may have terms of its own: a sum over withheld rows tells of them.
        """
        if self.profile == "internal":
            return True
        terms = self.datasets[dataset].terms
        if terms.row_licence or (terms.embargo and terms.embargo.column) or not self.decision(dataset).allowed:
            return False
        said = [row for version in self.ledger.versions(dataset) for part in version.tables for row in part.row_terms]
        said += [row for stage in self.ledger.stages(dataset) for part in stage.tables for row in part.row_terms]
        return all(row.licence is None and row.embargo_until is None for row in said)

    @cached_property
    def relations(self) -> dict[str, Relation]:
        """All that a query can name, but the ``catalog`` schema."""
        found: dict[str, Relation] = {}
        for name in table_names():
            table = load_table(name)
            found[name] = Relation(table)
            for dataset in self.datasets.values():
                if name in dataset.feeds:
                    found[".".join(table_name(dataset.name, name))] = Relation(table, dataset.name)
            found |= {view.name: Relation(table, view=view) for view in table.views}
        return found
