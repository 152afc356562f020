"""The rules of the house that a machine can check: imports go one way, pins are plain, modules say their purpose."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINS = (ROOT / "constraints.txt").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements():
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]
    return sorted({re.split(r"[\[>=<]", name)[0].lower().replace("_", "-") for name in wanted} - {"winnow"})


def test_imports_go_one_way():
    pytest.importorskip("importlinter")
    # A process of its own: it sets up logging so that all other loggers fall silent.
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_constraints_are_plain_pins():
    assert PINS
    assert [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


@pytest.mark.parametrize("name", requirements())
def test_every_dependency_is_pinned(name):
    assert name in {line.partition("==")[0].lower().replace("_", "-") for line in PINS}


@pytest.mark.parametrize("folder", ["catalog", "assets", "validations", "dagster_project"])
def test_every_module_says_what_it_is_for(folder):
    silent = [str(path) for path in (ROOT / folder).rglob("*.py") if not path.read_text().startswith('"""')]
    assert silent == []
