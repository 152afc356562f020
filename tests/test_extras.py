"""Commands and definitions load with no extra installed; a format that lacks its library says which."""

import subprocess
import sys

import pytest

EXTRAS = ("numba", "gemmi", "orjson", "s3fs", "psycopg")

SCRIPT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
{code}
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(blocked=EXTRAS, code=code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


def test_definitions_and_commands_load_without_any_extra():
    done = run("import dagster_project.cli, dagster_project.definitions; print('loaded')")
    assert done.stdout.strip() == "loaded", done.stderr


@pytest.mark.parametrize(
    ("name", "package"), [("vcf", "numba"), ("cif", "gemmi"), ("imas", "orjson"), ("darwin_core", "numba")]
)
def test_a_format_without_its_library_names_it_and_the_remedy(name, package):
    done = run(
        "from assets.readers import reader\n"
        "from catalog.errors import SourceError\n"
        f"try:\n    reader({name!r})\nexcept SourceError as error:\n    print(error)"
    )
    assert package in done.stdout, done.stderr
    assert "make setup" in done.stdout
