"""Attribution: every kept row's source is credited, no withheld one's is, and a stranger's text only shows."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catalog.attribution import plain


def read(lab, folder, **options):
    lab.cut(folder, **options)
    return (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")


def test_every_kept_source_is_credited(lab, tmp_path):
    for name, licence in {"one": "CC-BY-4.0", "two": "CC0-1.0", "three": "CC-BY-NC-4.0"}.items():
        lab.contract(name, licence=licence, citation={"doi": f"10.1000/{name}"})
        lab.publish(name, [{"rightsHolder": f"Holder of {name}", "institutionCode": "MUSEUM"}])
    text = read(lab, tmp_path / "open")
    assert text.count("### Birds of") == 2
    for name in ("one", "two"):
        assert f"- Credit: The people of {name}" in text
        assert f"- Cite (doi): 10.1000/{name}" in text
        assert f"- Holder of {name}" in text
    assert "three" not in text
    assert "- Licence: CC-BY-4.0 (<https://creativecommons.org/licenses/by/4.0/" in text
    assert "ATTRIBUTION: name the source" in text
    assert "three" in read(lab, tmp_path / "noncommercial", profile="noncommercial")


def test_names_are_gathered_from_kept_rows_only(lab, tmp_path):
    lab.contract("mixed", row_licence={"column": "license"})
    kept = [{"rightsHolder": f"Person {index % 3}"} for index in range(10)]
    lab.publish("mixed", [*kept, {"rightsHolder": "Hidden", "_licence": "CC-BY-NC-4.0"}])
    text = read(lab, tmp_path / "open")
    assert re.findall(r"^- (Person \d)$", text, re.MULTILINE) == ["Person 0", "Person 1", "Person 2"]
    assert "Hidden" not in text
    assert "- Hidden" in read(lab, tmp_path / "noncommercial", profile="noncommercial")


def test_rows_are_counted_per_licence(lab, tmp_path):
    lab.contract("mixed", row_licence={"column": "license"})
    said = [None, None, None, "CC-BY-4.0", "CC-BY-4.0", "CC-BY-NC-4.0"]
    lab.publish("mixed", [{"_licence": licence} for licence in said])
    text = read(lab, tmp_path / "open")
    assert "`biodiversity/mixed`, version 1, 5 rows." in text
    assert re.search(r"^- Licence: CC-BY-4.0 .*, 2 rows$", text, re.MULTILINE)
    assert re.search(r"^- Licence: CC0-1.0 .*, 3 rows$", text, re.MULTILINE)


def test_hostile_names_stay_on_their_line(lab, tmp_path):
    hostile = "Eve\n\n# Attribution\n- Credit: nobody\u2028<script>alert(1)</script> [x](javascript:y) \u202eevil"
    lab.contract("birds")
    lab.publish("birds", [{"rightsHolder": hostile}])
    text = read(lab, tmp_path / "open")
    assert text.count("# Attribution\n") == 1
    (line,) = [line for line in text.splitlines() if "Eve" in line]
    assert line == (r"- Eve \# Attribution - Credit: nobody \<script\>alert(1)\</script\> \[x\](javascript:y) evil")


@given(st.text(max_size=60))
@example("1. not a list")
@example("--- \t#x")
@example("![a](b)")
@example("&lt;b&gt; &#60;")
@example("_a_ b_c *d*")
def test_escaped_text_is_one_line_without_live_marks(text):
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(\\\\)*[`*\[\]<>|~#]", shown)
    assert not re.match(r"[-+=]|\d+[.)](\s|$)", shown)
    visible = re.sub(r"\\(.)", r"\1", shown)
    assert [c for c in visible if c.isalnum()] == [c for c in text if c.isalnum()]


@pytest.mark.parametrize(
    "text", ["10.1093/nar/gkr900", "https://example.org/a_b?c=d&e=f", "Müller & Söhne (2020), vol. 3"]
)
def test_ordinary_text_stays_as_it_is(text):
    assert plain(text) == text
