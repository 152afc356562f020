"""The terms in a dataset's contract: licence and its evidence, attribution, embargo, and what rows say themselves."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, Field, model_validator

from catalog.rights.embargo import Day, Embargo


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Part):
    """Dated evidence of a licence: where it was read, when, and the words."""

    url: str | None = None
    file: str | None = None
    read_on: Day
    quote: str = Field(min_length=1)
    licence: str | None = Field(
        None, description="how the reader takes the words, as SPDX, where they do not name a licence themselves"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Finding:
        if (self.url is None) == (self.file is None):
            raise ValueError("give `url` or `file`: the one place where the words were read")
        return self


class Resolution(_Part):
    """A person's word on evidence that contradicts the declared licence."""

    by: str = Field(min_length=1, description="who decided")
    decided_on: Day = Field(description="when; YAML takes a plain `on` for a truth value")
    why: str = Field(min_length=1)
    over: tuple[str, ...] = Field(
        min_length=1, description="what was set aside: SPDX ids, or the words; what is not named here still blocks"
    )


class RowLicence(_Part):
    """The source column that holds each row's own licence."""

    column: str


class Sensitive(_Part):
    """Records whose place must not be told better than to a cell of a grid."""

    when: str = Field(min_length=1, description="SQL condition over source columns; where it is unknown it holds")
    cell: float = Field(gt=0, le=10, description="width of the grid's cells in degrees, such as 0.1")
    reason: str = Field(min_length=1, description="goes into dataGeneralizations")


class DatasetTerms(_Part):
    """On what terms the dataset may be used, and how we know."""

    licence: str
    evidence: tuple[Finding, ...] = Field(min_length=1)
    resolution: Resolution | None = None
    attribution: str
    citation: dict[str, str] = Field(default_factory=dict, description="doi, url or text")
    embargo: Embargo | None = None
    row_licence: RowLicence | None = None
    sensitive: tuple[Sensitive, ...] = ()

    def row_rules(self) -> str:
        """sha256 of all by which single rows get terms of their own; empty if there is nothing of the kind."""
        embargo = [self.embargo.column, self.embargo.months] if self.embargo and self.embargo.column else None
        licence = self.row_licence.column if self.row_licence else None
        if not (embargo or licence or self.sensitive):
            return ""
        rules = [licence, embargo, [rule.model_dump(mode="json") for rule in self.sensitive]]
        return hashlib.sha256(json.dumps(rules).encode()).hexdigest()
