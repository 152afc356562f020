"""The errors a user of Winnow can meet; each names what is wrong, where, and the remedy.

::

    WinnowError
    ├─ ContractError           a YAML says something that cannot be     (also ValueError)
    ├─ SourceError             the bytes are wrong, cut short, or gone
    │   └─ ChecksumMismatchError
    ├─ HarmoniseError          the bytes are right, their meaning does not fit the table
    ├─ GateError               a quality gate refused; carries the report
    ├─ PolicyError             the terms do not permit it; carries the decision
    ├─ QueryError              the SQL asks for what the query door does not give
    └─ CatalogError            the warehouse or the ledger cannot do as asked
        ├─ UnknownDatasetError (also LookupError)
        ├─ UnknownVersionError (also LookupError)
        ├─ VersionConflictError another run committed in between
        ├─ BusyError           another run holds this dataset now
        ├─ ReleaseError        a release cannot lie there, or what lies there is none
        └─ StorageError        the disk or the object store refused the bytes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalog.records import Decision, GateReport


class WinnowError(Exception):
    """Base of all errors that a user can cause or mend; shown without a traceback."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}\n  remedy: {remedy}" if remedy else problem)


def how_to_install(extra: str) -> str:
    """The remedy for a library that comes with one of the extras in pyproject.toml."""
    return f"in Winnow's folder: `make setup`, or pip install --editable '.[{extra}]'"


class ContractError(WinnowError, ValueError):
    """A dataset's or a table's YAML says something that cannot be."""


class SourceError(WinnowError):
    """The source's bytes are wrong, cut short, or gone."""


class ChecksumMismatchError(SourceError):
    """The fetched bytes do not have the sha256 that the contract pins."""


class HarmoniseError(WinnowError):
    """The bytes are sound, but their columns or units do not fit the canonical table."""


class GateError(WinnowError):
    """A quality gate refused a whole dataset."""

    def __init__(self, problem: str, remedy: str = "", report: GateReport | None = None) -> None:
        self.report = report
        super().__init__(problem, remedy)


class PolicyError(WinnowError):
    """The terms of the data do not permit what was asked."""

    def __init__(self, problem: str, remedy: str = "", decision: Decision | None = None) -> None:
        self.decision = decision
        super().__init__(problem, remedy)


class QueryError(WinnowError):
    """The SQL asks for something that the query door does not give."""


class CatalogError(WinnowError):
    """The warehouse or the ledger cannot do what was asked."""


class UnknownDatasetError(CatalogError, LookupError):
    """No dataset of that name has a contract or a version."""


class UnknownVersionError(CatalogError, LookupError):
    """The dataset has no version of that number."""


class VersionConflictError(CatalogError):
    """Another run committed a version between this run's staging and its commit."""


class BusyError(CatalogError):
    """Another run holds this dataset now."""


class ReleaseError(CatalogError):
    """A release cannot be cut to that address, or what lies there is no sound release."""


class StorageError(CatalogError):
    """The disk or the object store did not take the bytes."""
