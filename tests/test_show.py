"""The bars of a run: what the log of its progress says is what stands beside each dataset."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from dagster_project import show
from dagster_project.progress import PROGRESS, tell
from dagster_project.run import listening

COLUMNS = ("{task.description}", "{task.fields[step]}", "{task.fields[count]}")


@pytest.fixture
def bars():
    """A terminal's Progress on a text, and the handler that draws two datasets on it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    progress = Progress(*map(TextColumn, COLUMNS), console=console, auto_refresh=False)
    with listening(show._Bars(progress, ["lab/a", "lab/b"])):
        yield progress


def drawn(progress):
    """The lines as they stand on the terminal now."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    console.print(progress.get_renderable())
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_datasets_wait_until_something_is_told(bars):
    assert drawn(bars) == ["lab/a waiting", "lab/b waiting"]


def test_what_is_told_stands_beside_its_dataset_alone(bars):
    tell("lab/b", "fetch", 2_500_000, 5_000_000)
    assert drawn(bars) == ["lab/a waiting", "lab/b fetch 2.5 MB"]
    assert [(task.completed, task.total) for task in bars.tasks] == [(0, None), (2_500_000, 5_000_000)]
    tell("lab/b", "stage", 12_345, None)
    tell("lab/a", "commit", 0, None)
    assert drawn(bars) == ["lab/a commit", "lab/b stage 12,345 records"]


def test_a_dataset_that_is_not_shown_changes_nothing(bars):
    tell("lab/c", "fetch", 1, 2)
    assert drawn(bars) == ["lab/a waiting", "lab/b waiting"]


def test_the_terminal_is_redrawn_with_what_is_told(bars):
    with bars:
        tell("lab/a", "stage", 7, None)
        bars.refresh()
    assert re.search(r"lab/a +stage +7 records", bars.console.file.getvalue())


def test_after_the_run_nobody_listens():
    bars = show._Bars(Progress(disable=True), [])
    with listening(bars):
        assert bars in PROGRESS.handlers
    assert bars not in PROGRESS.handlers


def test_without_a_terminal_nothing_is_drawn(capsys):
    with show.progress(["lab/a"]) as handler, listening(handler):
        tell("lab/a", "fetch", 1, None)
    assert capsys.readouterr() == ("", "")
