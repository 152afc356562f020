"""Releases in Dagster: one asset per profile, the checks on overdue reviews, and the daily job that lifts embargoes."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from catalog.dataset import Dataset
from catalog.ledger import Ledger
from catalog.records import Profile, Release
from catalog.rights.embargo import utc_day
from catalog.rights.policy import PERMITTED
from dagster_project.component import asset_key
from dagster_project.privacy import told
from dagster_project.resources import HouseResource
from validations.terms import overdue_review

GROUP = "releases"
REVIEW = "review"
_WORDS = {
    "open": "What anyone may have.",
    "noncommercial": "What anyone may have who does not sell it.",
    "internal": "All rows, whatever their terms: for this house only. Do not pass it on.",
}


def release_assets(datasets: Sequence[Dataset]) -> list[dg.AssetsDefinition]:
    """One asset per profile; materialising it cuts a release of the current versions as of today."""
    return [_release(profile, datasets) for profile in PERMITTED]


def _release(profile: Profile, datasets: Sequence[Dataset]) -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey(["release", profile]),
        deps=[asset_key("published", dataset.name) for dataset in datasets],
        group_name=GROUP,
        kinds={"release", "parquet"},
        description=f"A release for the profile {profile}. {_WORDS[profile]}",
    )
    def release(winnow: HouseResource) -> dg.MaterializeResult[Any]:
        from dagster_project.releases import cut

        house = winnow.house()
        with told():
            # The same day may see it twice: after another version, or after a lapse that a person cut early.
            done = cut(house, profile, force=True, datasets=datasets)
        return dg.MaterializeResult(metadata=_release_metadata(done.release))

    assert isinstance(release, dg.AssetsDefinition)
    return release


def _release_metadata(release: Release) -> dict[str, Any]:
    """What is in a release; of what was withheld from it nothing."""
    return {
        "dagster/row_count": release.rows,
        "bytes": release.bytes,
        "day": str(release.day),
        "versions": dg.MetadataValue.md("\n".join(f"- {version}" for version in release.versions) or "none"),
        "release": _place(release.address),
        "attribution": _place(f"{release.address.rstrip('/')}/ATTRIBUTION.md"),
        "manifest_sha256": release.manifest_sha256,
    }


def _place(address: str) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.url(address) if "://" in address else dg.MetadataValue.path(address)


def review_checks(datasets: Sequence[Dataset]) -> list[dg.AssetChecksDefinition]:
    """For each dataset under embargo until an event: a warning once the date has passed to ask whether it happened."""
    return [_review(dataset) for dataset in datasets if dataset.terms.embargo and dataset.terms.embargo.event]


def _review(dataset: Dataset) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name=REVIEW,
        asset=asset_key("published", dataset.name),
        description="The embargo's review date has not passed. Until a person ends the embargo it holds either way.",
    )
    def review(winnow: HouseResource) -> dg.AssetCheckResult:
        overdue = overdue_review(dataset, utc_day(winnow.house().clock()))
        return dg.AssetCheckResult(
            passed=overdue is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=overdue or f"to be reviewed by {dataset.terms.embargo and dataset.terms.embargo.review_by}",
        )

    return review


def lapsed(ledger: Ledger, today: date) -> list[Profile]:
    """The profiles whose newest release would hold more if it were cut today, as an embargo has lapsed since."""
    newest = {release.profile: release for release in ledger.releases()}
    return [profile for profile, cut in newest.items() if cut.lapses_on is not None and cut.lapses_on <= today]


def embargo_schedule(datasets: Sequence[Dataset]) -> dg.ScheduleDefinition:
    """Every day after midnight UTC: cut anew the releases in which an embargo lapsed, and check overdue reviews.

    On from the start, as nothing else brings lapsed embargoes into releases; where none was ever cut it does nothing.
    """
    reviewed = review_checks(datasets)
    selection: dg.AssetSelection = dg.AssetSelection.groups(GROUP)
    if reviewed:
        selection = selection | dg.AssetSelection.checks(*(key for check in reviewed for key in check.check_keys))

    @dg.schedule(
        name="embargo",
        cron_schedule="5 0 * * *",
        execution_timezone="UTC",
        job=dg.define_asset_job("embargo", selection, description="Cut releases anew; check reviews of embargoes"),
        description="Cut anew the releases in which an embargo has lapsed; tell of embargoes whose review is overdue",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def embargo(
        context: dg.ScheduleEvaluationContext, winnow: HouseResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        house = winnow.house()
        today = utc_day(house.clock())
        profiles = lapsed(house.ledger, today)
        overdue = [dataset for dataset in datasets if overdue_review(dataset, today)]
        for dataset in overdue:
            context.log.warning(overdue_review(dataset, today))
        if not profiles and not overdue:
            yield dg.SkipReason("no embargo has lapsed since the newest releases were cut, and no review is overdue")
            return
        yield dg.RunRequest(
            asset_selection=[dg.AssetKey(["release", profile]) for profile in profiles],
            asset_check_keys=[dg.AssetCheckKey(asset_key("published", dataset.name), REVIEW) for dataset in overdue],
            tags={"winnow/day": str(today)},
        )

    return embargo
