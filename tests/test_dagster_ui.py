"""The real web server and daemon, as `winnow ui` starts them: a run launched through GraphQL, the pages it leaves."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from catalog.ledger import Ledger
from dagster_project.component import GATES
from dagster_project.settings import Settings

T = TypeVar("T")

PATIENCE = 120.0  # seconds, for a machine that is busy with other things
ASSETS = [["raw", "fusion", "vest"], ["staged", "fusion", "vest"], ["published", "fusion", "vest"]]
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def ask(url: str, body: Any = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def until(what: Callable[[], T | None], of: subprocess.Popen[Any], patience: float = PATIENCE) -> T:
    """The first answer that is one, while the process lives."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        assert of.poll() is None, f"{of.args} has ended"
        try:
            found = what()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            found = None
        if found is not None:
            return found
        time.sleep(0.3)
    raise AssertionError(f"nothing within {patience} seconds")


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


@contextmanager
def process(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process and all that it starts; none of them outlives the block."""
    started = subprocess.Popen(list(map(str, command)), start_new_session=True, **options)
    try:
        yield started
    finally:
        for sent in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(started.pid, sent)
                started.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui") / "home"


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`winnow ui`, started in another folder, with a home that is relative to it."""
    port = free_port()
    winnow = Path(sys.executable).with_name("winnow")
    environment = {**os.environ, "WINNOW_HOME": home.name, "DAGSTER_HOME": ""}
    with (
        (home.parent / "ui.log").open("wb") as log,
        process(winnow, "ui", "--port", str(port), cwd=home.parent, env=environment, stdout=log, stderr=log) as started,
    ):
        url = f"http://127.0.0.1:{port}"
        until(lambda: ask(f"{url}/server_info"), started)
        yield url, started


@pytest.fixture(scope="module")
def run_id(server: tuple[str, subprocess.Popen[bytes]]) -> str:
    """A run of fusion/vest on its sample that has succeeded."""
    url, started = server
    params = {
        "selector": {
            "repositoryLocationName": "winnow",
            "repositoryName": "__repository__",
            "jobName": "curate",
            "assetSelection": [{"path": path} for path in ASSETS],
        },
        "runConfigData": {"ops": {"raw__fusion__vest": {"config": {"sample": True}}}},
    }
    launched = ask(f"{url}/graphql", {"query": LAUNCH, "variables": {"params": params}})["data"]
    assert launched["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", launched
    run_id: str = launched["launchPipelineExecution"]["run"]["runId"]

    def ended() -> str | None:
        status: str = ask(f"{url}/graphql", {"query": STATUS, "variables": {"id": run_id}})["data"]["runOrError"][
            "status"
        ]
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert until(ended, started) == "SUCCESS"
    return run_id


class Browser:
    """Headless Chromium, through its driver's HTTP interface."""

    def __init__(self, session: str, driver: subprocess.Popen[bytes]) -> None:
        self._session, self._driver = session, driver

    def text(self, *wanted: str) -> str:
        """What the page says, once it says all that is wanted."""
        said = ""

        def complete() -> str | None:
            nonlocal said
            said = ask(f"{self._session}/execute/sync", {"script": "return document.body.innerText", "args": []})[
                "value"
            ]
            return said if all(word in said for word in wanted) else None

        try:
            return until(complete, self._driver, 45)
        except AssertionError:
            missing = [word for word in wanted if word not in said]
            raise AssertionError(f"the page does not say {missing}, but: {said}") from None

    def open(self, url: str) -> None:
        ask(f"{self._session}/url", {"url": url})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(ask(f"{self._session}/screenshot")["value"]))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or shutil.which("chromedriver") is None:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
    flags += [f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", "--window-size=1700,1200", "--no-proxy-server"]
    options = {"browserName": "chrome", "goog:chromeOptions": {"args": flags, "binary": chromium}}
    port = free_port()
    with process("chromedriver", f"--port={port}", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        url = f"http://127.0.0.1:{port}"
        until(lambda: ask(f"{url}/status"), driver)
        opened = ask(f"{url}/session", {"capabilities": {"alwaysMatch": options}})["value"]
        session = f"{url}/session/{opened['sessionId']}"
        yield Browser(session, driver)
        ask(session, method="DELETE")


def test_a_run_launched_through_graphql_publishes_a_version(run_id: str, home: Path) -> None:
    version = Ledger(Settings.at(home).catalog).version("fusion/vest")
    assert (version.number, version.run_id, version.origin) == (1, run_id, "sample")


def test_the_graph_shows_the_layers_and_their_gates(
    server: tuple[str, Any], run_id: str, browser: Browser, tmp_path: Path
) -> None:
    browser.open(f"{server[0]}/locations/winnow/asset-groups/fusion/lineage")
    browser.text("vest", "raw", "staged", "published", "signals", "shots", "4 / 4 Passed")
    browser.screenshot(tmp_path / "graph.png")


def test_the_page_of_a_published_asset_shows_version_rows_and_terms_of_use(
    server: tuple[str, Any], run_id: str, browser: Browser, tmp_path: Path
) -> None:
    browser.open(f"{server[0]}/assets/published/fusion/vest")
    said = browser.text("fusion/vest@1", "rows_over_versions", "preview_signals", "VEST shot 39915")
    assert "defs.yaml" in said
    assert "Join the Dagster community" not in said
    browser.screenshot(tmp_path / "published.png")


def test_the_page_of_the_checks_shows_every_gate(
    server: tuple[str, Any], run_id: str, browser: Browser, tmp_path: Path
) -> None:
    browser.open(f"{server[0]}/assets/staged/fusion/vest?view=checks")
    browser.text(*GATES, "Checks (4)", "Succeeded", "verdicts")
    browser.screenshot(tmp_path / "checks.png")


def test_ctrl_c_ends_the_server_and_all_that_it_started(server: tuple[str, subprocess.Popen[bytes]]) -> None:
    _, started = server
    started.send_signal(signal.SIGINT)
    started.wait(60)
    end = time.monotonic() + 30
    while alive(started.pid) and time.monotonic() < end:
        time.sleep(0.2)
    assert not alive(started.pid)


def test_the_terminal_shows_no_warning(server: tuple[str, Any], home: Path) -> None:
    log = (home.parent / "ui.log").read_text(encoding="utf-8")
    assert "Serving dagster-webserver" in log
    assert "Warning" not in log
    assert "Traceback" not in log
