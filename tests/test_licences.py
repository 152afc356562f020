"""Licences: every expression means what SPDX says it means, and what is not understood is unknown."""

from __future__ import annotations

import csv
import io
import re
import time
import zipfile
from pathlib import Path

import pytest
from license_expression import get_spdx_licensing

from catalog.errors import ContractError
from catalog.rights.licences import (
    TEXTS,
    UnknownLicenceError,
    known,
    licence_text,
    load_licences,
    normalise,
    obligations,
)

GBIF = Path("../shared/data/biodiversity/gbif_download_3_licences/gbif_download.zip")


def asked(expression: str) -> list[set[str]]:
    return [{str(each) for each in alternative.obligations} for alternative in obligations(expression)]


def test_every_id_is_spdx_or_a_licence_ref() -> None:
    spdx = get_spdx_licensing().known_symbols
    for name in load_licences():
        assert name.startswith("LicenseRef-") or spdx[name].key == name, name


def test_the_families_of_share_alike_are_these() -> None:
    families = {name: licence.family for name, licence in load_licences().items() if licence.family}
    assert families == {
        "CC-BY-SA-2.0": "CC-BY-SA",
        "CC-BY-SA-2.5": "CC-BY-SA",
        "CC-BY-SA-3.0": "CC-BY-SA",
        "CC-BY-SA-3.0-IGO": "CC-BY-SA",
        "CC-BY-SA-4.0": "CC-BY-SA",
        "CC-BY-NC-SA-2.0": "CC-BY-NC-SA",
        "CC-BY-NC-SA-2.5": "CC-BY-NC-SA",
        "CC-BY-NC-SA-3.0": "CC-BY-NC-SA",
        "CC-BY-NC-SA-3.0-IGO": "CC-BY-NC-SA",
        "CC-BY-NC-SA-4.0": "CC-BY-NC-SA",
        "ODbL-1.0": "ODbL",
    }


def test_and_stacks_and_or_gives_alternatives() -> None:
    assert asked("MIT AND ODC-By-1.0") == [{"ATTRIBUTION", "DATABASE_RIGHT"}]
    assert asked("LicenseRef-no-redistribution OR MIT OR CC0-1.0") == [
        set(),
        {"ATTRIBUTION"},
        {"NO_REDISTRIBUTION"},
    ]


def test_and_binds_tighter_than_or() -> None:
    bare = obligations("MIT OR Apache-2.0 AND BSD-3-Clause")
    assert [set(each.licences) for each in bare] == [{"MIT"}, {"Apache-2.0", "BSD-3-Clause"}]
    nested = obligations("(MIT OR Apache-2.0) AND BSD-3-Clause")
    assert [set(each.licences) for each in nested] == [
        {"BSD-3-Clause", "MIT"},
        {"Apache-2.0", "BSD-3-Clause"},
    ]


def test_alternatives_do_not_depend_on_the_order_of_writing() -> None:
    one = "CC-BY-4.0 OR CC-BY-3.0 OR (MIT AND CC0-1.0)"
    other = "(CC0-1.0 AND MIT) OR CC-BY-3.0 OR CC-BY-4.0"
    assert obligations(one) == obligations(other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "NOASSERTION",
        "NONE",
        "none",
        "CC0-1.0 AND NOASSERTION",
        "CC0-1.0 OR NOASSERTION",
        "CC0-1.0 OR NONE",
        "CC0-1.0 OR Nonsense-1.0",
        "CC-BY-4.0+",
        "MIT WITH CC0-1.0",
        "CC0-1.0 OR (Apache-2.0 WITH LLVM-exception)",
        "GPL-3.0-only",
        "CC-BY-3.0-US",
        "CC BY",
        "CC-BY",
        "MIT CC0-1.0",
        "MIT,CC0-1.0",
        "MIT AND",
        "()",
        "(MIT",
        "MIT)",
        "NOT MIT",
        "MIT\x00",
        "\uff2d\uff29\uff34",
        "public domain",
        "LicenseRef-",
        "Creative Commons",
        "CC BY 4.0, CC BY-NC 4.0",
        "CC BY 4.0 (https://creativecommons.org/licenses/by-nc/4.0/)",
        "Creative Commons Attribution (CC-BY-NC) 4.0 License",
        "not licensed under CC BY 4.0",
        "CC BY-NC or CC BY 4.0",
        "CC BY 3.0 US",
        "CC BY 3.0 International",
        "Creative Commons Attribution 3.0 Germany License",
        "CC BY-ND-SA 4.0",
        "CC0 BY 4.0",
        "https://creativecommons.org/licenses/by/",
        "https://opendatacommons.org/licenses/dbcl/1-0/",
        "LicenseRef-somebody-terms",
        "https://creativecommons.org/licenses/by/3.0/us/",
        "https://creativecommons.org/licenses/by/5.0/",
        "https://creativecommons.org.example.net/licenses/by/4.0/",
        "https://example.org/?https://creativecommons.org/licenses/by/4.0/",
        "CC BY 4.0 for members",
        "MIT AND " * 200 + "MIT",
        "(" * 400 + "MIT",
    ],
)
def test_what_is_not_understood_is_unknown(text: str) -> None:
    with pytest.raises(UnknownLicenceError):
        obligations(text)


def test_an_expression_made_to_explode_is_refused_at_once() -> None:
    pairs = [f"({a} OR {b})" for a, b in zip(list(load_licences())[0:20:2], list(load_licences())[1:20:2], strict=True)]
    began = time.perf_counter()
    with pytest.raises(UnknownLicenceError, match="more than 64 alternatives"):
        obligations(" AND ".join(pairs))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("CC0_1_0", "CC0-1.0"),
        ("CC_BY_4_0", "CC-BY-4.0"),
        ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("cc by-nc-sa 4.0", "CC-BY-NC-SA-4.0"),
        ("CC BY-ND 3.0", "CC-BY-ND-3.0"),
        ("CC BY 3.0 IGO", "CC-BY-3.0-IGO"),
        ("CC0 1.0", "CC0-1.0"),
        ("http://creativecommons.org/licenses/by/4.0/legalcode", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by/4.0", "CC-BY-4.0"),
        ("https://www.creativecommons.org/licenses/by-nc-nd/3.0/igo/legalcode", "CC-BY-NC-ND-3.0-IGO"),
        ("https://creativecommons.org/licenses/by-sa/4.0/deed.en", "CC-BY-SA-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("Creative Commons 4.0 BY-SA", "CC-BY-SA-4.0"),
        ("CC-BY 4.0", "CC-BY-4.0"),
        ("CC BY NC 4.0", "CC-BY-NC-4.0"),
        ("CC BY-NC-SA 4.0 license", "CC-BY-NC-SA-4.0"),
        ("CC BY-NC 4.0 (International)", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution 2.5 Generic", "CC-BY-2.5"),
        ("Creative Commons Attribution 4.0 International", "CC-BY-4.0"),
        ("Creative Commons Attribution (CC-BY) 4.0 License", "CC-BY-4.0"),
        ("Creative Commons Attribution Non Commercial (CC-BY-NC) 4.0 License", "CC-BY-NC-4.0"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0)", "CC-BY-NC-SA-4.0"),
        ("This work is licensed under a Creative Commons Attribution (CC-BY) 4.0 License.", "CC-BY-4.0"),
        ("CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)", "CC-BY-4.0"),
        ("Public Domain (CC0 1.0)", "CC0-1.0"),
        ("Creative Commons Zero v1.0 Universal", "CC0-1.0"),
        ("All rights reserved", "LicenseRef-all-rights-reserved"),
        ("http://opendatacommons.org/licenses/odbl/1.0/", "ODbL-1.0"),
        ("https://opendatacommons.org/licenses/by/1-0", "ODC-By-1.0"),
        ("http://www.opendatacommons.org/licenses/pddl/", "PDDL-1.0"),
        ("ODbL v1.0", "ODbL-1.0"),
        ("OGL v3.0", "OGL-UK-3.0"),
        ("Open Government Licence v3.0", "OGL-UK-3.0"),
        ("http://www.nationalarchives.gov.uk/doc/open-government-licence/version/3", "OGL-UK-3.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("http://www.apache.org/licenses/LICENSE-2.0.txt", "Apache-2.0"),
        ("MIT License", "MIT"),
        ("https://spdx.org/licenses/MIT.html", "MIT"),
        ("spdx.org/licenses/CC-BY-NC-4.0", "CC-BY-NC-4.0"),
        ("https://opensource.org/license/bsd-3-clause", "BSD-3-Clause"),
    ],
)
def test_spellings_met_in_sources_are_the_spdx_ids_they_mean(text: str, spdx: str) -> None:
    assert normalise(f" {text} ") == spdx
    assert obligations(text) == obligations(spdx)
    assert spdx in (known(text) or ""), "a contract is told what to write"


def test_other_text_is_left_alone() -> None:
    for text in (
        "CC BY",
        "CC BY 5.0",
        "MIT",
        "MIT OR CC0-1.0",
        "https://creativecommons.org/licenses/by/3.0/us/",
    ):
        assert normalise(text) == text


def test_every_licence_is_known_and_its_address_and_names_mean_it() -> None:
    for spdx, licence in load_licences().items():
        assert known(spdx) is None
        if not spdx.startswith("LicenseRef-"):
            for name in (licence.url, licence.url.replace("https://", "http://"), licence.name, *licence.aliases):
                assert normalise(name) == spdx, name


def test_a_contract_may_say_that_it_does_not_know() -> None:
    assert known("NOASSERTION") is None
    assert known("NONE") is None
    assert known("cc-by-4.0 or mit") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CC-BY-4", "did you mean 'CC-BY-4.0'"),
        ("MIT OR LicenseRef-gnomad-term", "did you mean 'LicenseRef-gnomAD-terms'"),
        ("CC BY-NC 4.0 (Intl)", "did you mean 'CC-BY-NC-4.0'"),
        ("GPL-3.0-only", "not written in catalog/rights/licences.yaml"),
        ("", "no licence is given"),
        ("MIT WITH LLVM-exception", "WITH"),
    ],
)
def test_a_contract_is_told_what_is_wrong_with_its_licence(text: str, said: str) -> None:
    assert said in (known(text) or "")


def test_row_licences_of_a_real_gbif_download_are_all_known() -> None:
    if not GBIF.exists():
        pytest.skip(f"{GBIF} is not here")
    with zipfile.ZipFile(GBIF) as archive:
        text = io.TextIOWrapper(archive.open("occurrence.txt"), encoding="utf-8")
        rows = list(csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert {normalise(row["license"]) for row in rows} == {"CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0"}


def test_reading_a_hostile_licence_text_takes_no_time() -> None:
    began = time.perf_counter()
    for piece in ("cc by ", "creative commons ", "(", "http://creativecommons.org/licenses/", "-", "1_"):
        assert normalise(piece * 100_000) == (piece * 100_000).strip()
        assert normalise((piece * 1000)[:999]) == (piece * 1000)[:999].strip()
    assert time.perf_counter() - began < 5


def test_every_licence_has_a_text_that_names_it() -> None:
    for spdx, licence in load_licences().items():
        text = licence_text(spdx)
        assert text.startswith(f"{licence.name} ({spdx})\n{licence.url}\n")
        assert text.endswith("\n")
        if spdx.startswith("LicenseRef-"):
            assert all(each in text for each in licence.obligations)
            assert licence.obligations or "nothing" in text


def test_the_texts_are_those_of_the_licences_listed() -> None:
    listed = {spdx for spdx in load_licences() if not spdx.startswith("LicenseRef-")}
    assert {path.stem for path in TEXTS.glob("*")} == listed
    for spdx in listed:
        text = (TEXTS / f"{spdx}.txt").read_text(encoding="utf-8")
        assert text.endswith("\n"), spdx
        assert len(text) > 1000, spdx
        # Words of its own, by which one text cannot be another's.
        plain = " ".join(text.lower().split())
        assert ("noncommercial" in plain or "non-commercial" in plain) >= ("-NC-" in spdx), spdx
        assert ("sharealike" in plain) >= ("-SA-" in spdx), spdx
        assert re.search(r"noderiv|no derivative", plain) or "-ND-" not in spdx, spdx


def test_an_unknown_licence_has_no_text() -> None:
    with pytest.raises(UnknownLicenceError, match="GPL"):
        licence_text("GPL-3.0-only")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{name: X, url: 'https://x.org', obligations: [ATRIBUTION]}", "ATTRIBUTION"),
        ("{name: X, url: 'https://x.org'}", "'obligations' is missing"),
        ("{name: X, url: 'https://x.org', obligations: [SHARE_ALIKE]}", "family"),
        ("{name: X, url: 'https://x.org', obligations: [], family: X}", "family"),
        ("{name: X, url: 'https://x.org', obligations: []}\nX: {}", "given twice"),
    ],
)
def test_a_wrong_licence_file_is_refused_with_its_line(tmp_path: Path, entry: str, said: str) -> None:
    path = tmp_path / "licences.yaml"
    path.write_text(f"X: {entry}\n")
    with pytest.raises(ContractError, match=f"(?s)licences.yaml:[12]:.*{said}"):
        load_licences(path)
