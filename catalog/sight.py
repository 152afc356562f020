"""Sight: which relations there are, in which version, and what the policy lets one reader see of each today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Literal

from catalog.dataset import Dataset
from catalog.derived import Derived, sound_derived
from catalog.ledger import Ledger
from catalog.records import Decision, Found, Profile, RowTerms, Version, VersionTable
from catalog.rights.combination import combine
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
        derived: Iterable[Derived] | None = None,
    ) -> None:
        self.ledger = ledger
        self.datasets = {dataset.name: dataset for dataset in datasets}
        self.profile = profile
        self.today = today
        self._derived = derived
        self.versions = {name: self._version(name, (at or {}).get(name)) for name in self.datasets}

    def _version(self, dataset: str, number: int | None) -> Version | None:
        return self.ledger.current(dataset) if number is None else self.ledger.version(dataset, number)

    def decision(self, dataset: str) -> Decision:
        """What the policy says of a dataset's rows that say nothing of themselves."""
        version = self.versions[dataset]
        terms = (
            self.in_force(dataset, version.found, row_rules=version.row_rules) if version else self.in_force(dataset)
        )
        return decide(terms, self.profile, self.today)

    def in_force(
        self,
        dataset: str,
        found: Sequence[Found] = (),
        licence: str | None = None,
        embargo_until: date | None = None,
        row_rules: str | None = None,
    ) -> Terms:
        """The terms in force for rows of a dataset that say this of themselves, in words that this reader may have.

        Args:
            dataset: the rows' dataset.
            found: the licence words in the bytes that they were read from. Only ``internal`` is told which.
            licence: the rows' ``_licence``.
            embargo_until: the rows' ``_embargo_until``.
            row_rules: the contract's rules for single rows when these were made.
        """
        contract = self.datasets[dataset].terms
        terms = effective(contract, licence, embargo_until, found, row_rules)
        if terms.doubt is None or self.profile == "internal":
            return terms
        known = effective(contract, licence, embargo_until, row_rules=row_rules).doubt
        if known == terms.doubt:
            return terms
        return terms.model_copy(update={"doubt": f"words in the source itself contradict {contract.licence}"})

    def judged(self, version: Version, part: VersionTable) -> list[tuple[RowTerms, Terms, Decision]]:
        """What rows of a version's table say of themselves, the terms in force for them, and the policy's word."""
        found = []
        for said in part.row_terms:
            terms = self.in_force(version.dataset, version.found, said.licence, said.embargo_until, version.row_rules)
            found.append((said, terms, decide(terms, self.profile, self.today)))
        return found

    def permitted_terms(self, tables: Iterable[str]) -> set[tuple[str, str | None]]:
        """The datasets and licences in force of the rows of some canonical tables that may be seen."""
        wanted = frozenset(tables)
        return {
            (version.dataset, terms.licence)
            for version in self.versions.values()
            for part in (version.tables if version else ())
            if version and part.table in wanted
            for _, terms, decision in self.judged(version, part)
            if decision.allowed
        }

    def judged_together(self, held: Iterable[tuple[str, str | None]], until: date | None) -> tuple[Terms, Decision]:
        """The terms of what is made of rows of these datasets under these licences, and the policy's word.

        Args:
            held: each dataset with the licence in force for its rows.
            until: the latest day on which one of the rows may leave.
        """
        combined = combine(licence or "NOASSERTION" for _, licence in held)
        terms = Terms(licence=combined.expression or "NOASSERTION", embargo_until=until, doubt=combined.conflict)
        return terms, decide(terms, self.profile, self.today)

    @cached_property
    def derived(self) -> dict[str, Derived]:
        """The derived tables by name; without those whose contract is wrong, unless they were given."""
        found = sound_derived()[0] if self._derived is None else self._derived
        return {derived.name: derived for derived in found}

    def access(self, version: Version) -> Access:
        """How much of a version may be seen."""
        words = {d.allowed for part in version.tables for _, _, d in self.judged(version, part)}
        if not words:
            words = {self.decision(version.dataset).allowed}
        return "partly" if len(words) == 2 else "permitted" if words.pop() else "withheld"

    def tells_of(self, dataset: str, refused_runs: bool = True) -> bool:
        """Whether what is known of all rows together (counts, extremes, refused records) may be told.

        Not if any row may have terms of its own: a sum over withheld rows tells of them. Without ``refused_runs``
        it is not about bytes that the gates refused for their licence words.
        """
        if self.profile == "internal":
            return True
        if self._has_rows_of_own_terms(dataset) or not self.decision(dataset).allowed:
            return False
        stages = self.ledger.stages(dataset)
        # What the gates refused for its licence words is no version, but its report and its records are there.
        for found in {stage.found for stage in stages if refused_runs}:
            if not decide(self.in_force(dataset, found), self.profile, self.today).allowed:
                return False
        said = [row for version in self.ledger.versions(dataset) for part in version.tables for row in part.row_terms]
        said += [row for stage in stages for part in stage.tables for row in part.row_terms]
        return all(row.licence is None and row.embargo_until is None for row in said)

    def tells_sums_of(self, version: Version) -> bool:
        """Whether a hash over all bytes of a version's source may be told.

        Not if some of them may be withheld: who knows the rest could try what they are.
        """
        if self.profile == "internal":
            return True
        return not self._has_rows_of_own_terms(version.dataset) and self.access(version) == "permitted"

    def _has_rows_of_own_terms(self, dataset: str) -> bool:
        terms = self.datasets[dataset].terms
        return bool(terms.row_licence or terms.sensitive or (terms.embargo and terms.embargo.column))

    @cached_property
    def relations(self) -> dict[str, Relation]:
        """All that a query can name, but derived tables and the ``catalog`` schema."""
        found: dict[str, Relation] = {}
        for name in table_names():
            table = load_table(name)
            found[name] = Relation(table)
            for dataset in self.datasets.values():
                if name in dataset.feeds:
                    found[".".join(table_name(dataset.name, name))] = Relation(table, dataset.name)
            found |= {view.name: Relation(table, view=view) for view in table.views}
        return found
