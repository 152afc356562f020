"""Mentions: licence words are seen wherever they stand in prose, and nowhere else."""

from __future__ import annotations

import gzip
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.rights.licences import Obligation, load_licences
from catalog.rights.mentions import QUOTE, is_unstated, located, mentions, stated

DATA = Path("../shared/data")


def meanings(text: str) -> list[frozenset[str]]:
    return [mention.means for mention in mentions(text)]


def need(path: str) -> Path:
    if not (DATA / path).exists():
        pytest.skip(f"{DATA / path} is not here")
    return DATA / path


@pytest.mark.parametrize("spdx", [spdx for spdx in load_licences() if not spdx.startswith("LicenseRef-")])
@pytest.mark.parametrize("form", ["The data are licensed under {}.", "# {}, see below\n# Contact: x@y.org"])
def test_every_licence_is_seen_by_its_name_and_by_its_address(spdx: str, form: str) -> None:
    licence = load_licences()[spdx]
    assert meanings(form.format(licence.url)) == [{spdx}]
    assert meanings(form.format(licence.name)) == [{spdx}]


@pytest.mark.parametrize("spdx", [spdx for spdx in load_licences() if spdx.startswith(("CC", "LicenseRef-"))])
def test_every_licence_is_seen_by_its_id(spdx: str) -> None:
    assert meanings(f"Terms: {spdx}.") == [{spdx}]


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("Licensed under CC BY-NC-SA 4.0 license", "CC-BY-NC-SA-4.0"),
        ("Rights: CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("under a Creative Commons Attribution Non Commercial (CC-BY-NC) 4.0 License.", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution (CC BY 4.0)", "CC-BY-4.0"),
        ("Public Domain (CC0 1.0)", "CC0-1.0"),
        ("Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("IT IS AVAILABLE UNDER CC-BY 4.0 LICENCE.", "CC-BY-4.0"),
        ("licensed under the\n# Apache License, Version 2.0", "Apache-2.0"),
        ("License: MIT", "MIT"),
        ("SPDX-License-Identifier: BSD-3-Clause", "BSD-3-Clause"),
        ("All rights\n# reserved.", "LicenseRef-all-rights-reserved"),
        ("Not for redistribution!", "LicenseRef-no-redistribution"),
        ("may not be repackaged, resold, or redistributed in any form without consent", "LicenseRef-no-redistribution"),
    ],
)
def test_words_of_one_licence_mean_it(text: str, spdx: str) -> None:
    assert meanings(text) == [{spdx}]


@pytest.mark.parametrize(
    "text",
    [
        "for academic use only",
        "This is not in the public domain.",
        "https://creativecommons.org/licenses/by/3.0/us/",
        "CC-BY-3.0-US",
        "Creative Commons Attribution 3.0 Germany License",
        "Creative Commons Attribution 1.0",
        "licence: see the file LICENSE.txt",
        "SPDX-License-Identifier: GPL-3.0-only",
        "under the GNU General Public License",
        "LicenseRef-nobody-knows",
        "The GBIF Data Use Agreement is applied.",
    ],
)
def test_words_of_a_licence_that_nobody_knows_mean_none(text: str) -> None:
    assert meanings(text) == [frozenset()]


def test_a_name_without_its_version_may_mean_every_version() -> None:
    assert meanings("CC BY") == [
        {spdx for spdx in load_licences() if spdx.startswith(("CC-BY-2", "CC-BY-3", "CC-BY-4"))}
    ]
    assert meanings("CC BY-SA IGO") == [{"CC-BY-SA-3.0-IGO"}]
    (anything,) = meanings("under a Creative Commons licence by its authors")
    assert {"CC0-1.0", "CC-BY-4.0", "CC-BY-NC-ND-4.0"} < anything


def test_public_domain_may_mean_every_way_to_be_in_it() -> None:
    (means,) = meanings("All data have been placed in the public domain by the contributors.")
    assert {"CC0-1.0", "PDDL-1.0", "LicenseRef-COD-public-domain", "LicenseRef-NCBI-public-domain"} <= means
    assert all(load_licences()[spdx].obligations <= {Obligation.ATTRIBUTION} for spdx in means)


def test_not_for_commerce_may_mean_every_licence_that_says_so() -> None:
    (means,) = meanings("Free for non-commercial use.")
    assert means == {spdx for spdx, each in load_licences().items() if Obligation.NON_COMMERCIAL in each.obligations}


def test_two_licences_are_two_mentions() -> None:
    assert meanings("CC BY 4.0, CC BY-NC 4.0") == [{"CC-BY-4.0"}, {"CC-BY-NC-4.0"}]
    assert meanings("The code is under the MIT License, the data under CC0.") == [{"MIT"}, {"CC0-1.0"}]


@pytest.mark.parametrize(
    "text",
    [
        "CC BY\u2011NC 4.0",
        "CC BY\u2013NC 4.0",
        "CC BY\u00adNC 4.0",
        "CC BY\u2212NC 4.0",
        "CC BY\ufe63NC 4.0",
        "CC\uff0dBY\uff0dNC 4.0",
        "CC BY\u200bNC 4.0",
        "\uff23\uff23 \uff22\uff39-\uff2e\uff23 4.0",
        "CC\u00a0BY-NC\u00a04.0",
        "CC BYNC 4.0",
        "CC:BY:NC 4.0",
        "by-nc 4.0",
        "CC BY-\n# NC 4.0",
        "Attribution NonCommercial 4.0",
    ],
)
def test_odd_signs_do_not_hide_what_a_licence_forbids(text: str) -> None:
    assert meanings(f"# {text}\n") == [{"CC-BY-NC-4.0"}]


@pytest.mark.parametrize(
    "text",
    [
        "Code: CC BY 4.0. Data licensed under the Acme Restricted Data Licence",
        "Licensed under the Acme Restricted Data Licence, unlike our CC BY 4.0 code.",
        "License: Elsevier user license. Metadata: CC-BY-4.0",
        "CC BY 4.0. Data: license: proprietary",
        "The paper is CC BY 4.0; the data are licensed under the terms of the HGMD agreement",
        "This is not CC BY 4.0.",
        "Not licensed under CC BY 4.0",
        "This is not licensed under https://creativecommons.org/licenses/by/4.0/",
        "no longer available under CC BY 4.0",
        "Unlike other records this is not under CC-BY-4.0, ask the museum",
        "Until 2020 this was CC BY 4.0.",
        "CC BY 4.0 (commercial use excluded)",
        "CC BY 4.0, no commercial exploitation",
        "CC BY 4.0 but only for members",
        "CC BY 4.0 after 2030",
        "CC BY 4.0+NC",
        "CC BY 4.0 (NC)",
        "CC BY 4.0-N\u0421",
        "CC BY 4.0 for non-commercial purposes",
        "CC BY 4.0 for universities",
        "CC BY 4.0 License except where noted",
        "\u2260 https://creativecommons.org/licenses/by/4.0/",
        "Licensed under CC BY 4.0. Subject to the COSMIC licence",
    ],
)
def test_a_licence_does_not_hide_the_restriction_beside_it(text: str) -> None:
    assert not all("CC-BY-4.0" in means for means in meanings(text))


@pytest.mark.parametrize(
    "text",
    [
        "This dataset may not be used for commercial purposes.",
        "not for commercial purposes",
        "Free for non commercial use only.",
        "Non-Commercial",
        "noncommercial research",
        "non-profit use only",
        "Free for non-profit and academic institutions",
        "by-nc-sa",
        "CCBYNC",
        "commercial users must obtain a licence.",
        "Commercial users must contact the authors.",
        "Commercial use requires a license from OMIM.",
        "Do not distribute.",
        "CONFIDENTIAL - do not share",
        "No part may be reproduced.",
        "No part of the data may be copied.",
        "The museum reserves all rights",
        "No derivative works.",
        "Please request permission before use",
        "Permission must be obtained from the data owner before publication",
        "with the permission of the author only",
        "Use of the data is restricted to members of the consortium.",
        "Access is controlled; apply to the Data Access Committee.",
        "dbGaP authorised access",
        "Data are under embargo until 2028-01-01.",
        "Usage Rights: Personal, educational use",
        "Subject to the COSMIC licence",
        "under a COSMIC license agreement",
        "terms and conditions apply",
        "DUA required",
        "EUPL-1.2",
        "Mozilla Public License 2.0",
        "MPL-2.0",
        "GFDL",
        "https://www.elsevier.com/tdm/userlicense/1.0/",
        "http://onlinelibrary.wiley.com/termsAndConditions#vor",
        "Creative Commons Reconocimiento-NoComercial 4.0 Internacional",
        "Creative Commons Namensnennung 4.0",
        "Lizenz: Nur f\u00fcr nicht-kommerzielle Nutzung",
        "Licence: usage non commercial uniquement",
        "pas d'utilisation commerciale",
    ],
)
def test_what_restricts_is_seen_and_means_no_open_licence(text: str) -> None:
    found = meanings(text)
    assert found
    assert not any({"CC-BY-4.0", "CC0-1.0", "MIT"} & means for means in found)


@pytest.mark.parametrize(
    "text",
    [
        "This work is licensed under a CC BY 4.0 license.",
        "The data are made available under the terms of the CC-BY-4.0.",
        'licensed under a <ulink url="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</ulink>.',
        "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). Under the licence you may share.",
        "Except where otherwise noted, these data are CC BY 4.0 for all users.",
    ],
)
def test_a_statement_and_its_licence_are_told_as_one(text: str) -> None:
    assert set(meanings(text)) == {frozenset({"CC-BY-4.0"})}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("This work is licensed under a CC BY 4.0 license.", {"CC-BY-4.0"}),
        ("Public Domain (CC0 1.0)", {"CC0-1.0"}),
        (
            "To the extent possible under law, the publisher has waived all rights to these data and has dedicated "
            "them to the Public Domain (CC0 1.0). Users may copy, modify, distribute and use the work, including for "
            "commercial purposes, without restriction.",
            {"CC0-1.0"},
        ),
        ("CC BY 4.0 for universities. Companies must buy access.", set()),
        ("CC BY 4.0. Fees are due.", set()),
        ("Ask Mr Smith.", set()),
    ],
)
def test_a_field_of_rights_means_only_what_is_wholly_read(text: str, known: set[str]) -> None:
    found = stated(text)
    assert ({spdx for mention in found for spdx in mention.means} == known and all(m.means for m in found)) == bool(
        known
    )


def test_a_field_of_rights_that_says_nothing_states_nothing() -> None:
    assert stated(" Not\nsupplied ") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A driver's licence and the rights of way were public; a domain of proteins by cc.",
        "Sent to Ann, cc by email",
        "xmlns:cc='http://creativecommons.org/ns#'",
        "GPL570 platform, MIT, OGL1 gene, BSD",
        "Rights as supplied: Not supplied",
        "License: unknown",
        "licence: none\nrights: null",
        "Copyright 2023 DeepMind Technologies Limited",
        "##INFO=<ID=ND,Number=1,Type=Integer,Description=\"by nc, sa\">",
    ],
)  # fmt: skip
def test_other_words_are_no_mention(text: str) -> None:
    assert mentions(text) == []


def test_words_are_the_line_as_it_stands() -> None:
    text = "# Copyright 2023 DeepMind\n#\n# Licensed under  CC BY-NC-SA 4.0 license\nuniprot_id\n"
    assert [mention.words for mention in mentions(text)] == ["# Licensed under CC BY-NC-SA 4.0 license"]
    ((offset, _),) = located(text)
    assert text[offset:].startswith("CC BY-NC-SA")
    long = "It was a long day. " * 50 + "Data are CC0. " + "It was a long night. " * 50
    assert [mention.words for mention in mentions(long)] == ["Data are CC0."]


@given(st.text(alphabet="abc \n#.()CBYN-40/", max_size=400))
def test_quotes_are_short_and_folded_and_offsets_lie_in_the_text(text: str) -> None:
    for offset, mention in located(text):
        assert 0 <= offset < len(text)
        assert len(mention.words) <= QUOTE
        assert mention.words == " ".join(mention.words.split()) != ""
        assert mention.means <= load_licences().keys()


@pytest.mark.parametrize(
    "piece",
    ["creative commons ", "CC BY ", "\n", " ", "cc-", "licence: ", "public domain ", ". ", "not ", "(CC BY-NC-", "# \n",
     "http://creativecommons.org/licenses/", "attribution-non", "a",
     "licensed under the terms of the ", "not cc by 4.0 ", "under the licence ",
     "commercial use of ", "by-nc-", "no part of ", "subject to a b ", "CC0 for "],
)  # fmt: skip
def test_time_is_linear_in_a_hostile_text(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        took = []
        for _ in range(3):
            began = time.process_time()  # of this process alone, whatever else the machine does
            mentions(text)
            took.append(time.process_time() - began)
        return min(took)

    seconds(1000)
    # Eight times the text would take 64 times as long if time were quadratic.
    assert seconds(64_000) < 20 * max(seconds(8_000), 0.01)


@pytest.mark.parametrize("name", ["clinvar_20230710_grch37_2000", "sample.gnomad.exomes.r2.1.1.sites.chr1",
                                  "sample.gnomad.genomes.r3.0.sites.chr1", "1kg_2020_chrM"])  # fmt: skip
def test_real_vcf_headers_mention_no_licence(name: str) -> None:
    with gzip.open(need(f"genomics/{name}.vcf.gz"), "rt") as stream:
        header = "".join(line for line in stream if line.startswith("#"))
    assert len(header) > 1000
    assert mentions(header) == []


def test_the_vest_manifest_mentions_no_licence() -> None:
    assert mentions(need("fusion/vest/manifest.yaml").read_text()) == []


def test_alphafold_s_model_says_cc_by() -> None:
    with gzip.open(need("proteins/AF-P29373-F1-model_v4.cif.gz"), "rt") as stream:
        assert set(meanings(stream.read())) == {frozenset({"CC-BY-4.0"})}


def test_every_cod_header_may_mean_cod_s_own_terms() -> None:
    files = sorted(need("crystals/cod_minerals/crystals").rglob("*.cif"))[::10]
    stated = 0
    for path in files:
        found = meanings(path.read_text(errors="replace"))
        assert all("LicenseRef-COD-public-domain" in means for means in found), path
        stated += bool(found)
    assert stated > 0.8 * len(files)


def test_real_metadata_of_gbif_datasets_says_what_its_link_says() -> None:
    with zipfile.ZipFile(need("biodiversity/gbif_download_3_licences/gbif_download.zip")) as archive:
        said = {
            name.split("/")[1][:8]: {spdx for means in meanings(archive.read(name).decode()) for spdx in means}
            for name in archive.namelist()
            if name.startswith("dataset/") and name.endswith(".xml")
        }
    assert said == {"ce416850": {"CC-BY-4.0"}, "f29ab192": {"CC-BY-4.0"}, "a307e4d7": {"CC-BY-NC-4.0"}}


def test_older_gbif_metadata_without_a_licence_mentions_restrictions_only() -> None:
    with zipfile.ZipFile(need("biodiversity/gbif-results.zip")) as archive:
        names = [name for name in archive.namelist() if name.startswith("dataset/") and name.endswith(".xml")]
        found = [mention for name in names for mention in mentions(archive.read(name).decode())]
    commercial = {spdx for spdx, each in load_licences().items() if Obligation.NON_COMMERCIAL in each.obligations}
    assert {spdx for mention in found for spdx in mention.means} == {"LicenseRef-no-redistribution", *commercial}
    assert any("not-for-profit use" in mention.words for mention in found)
    assert any("GBIF Data Use Agreement" in mention.words for mention in found)


@pytest.mark.parametrize("text", ["", " ", "Not supplied", "unknown", "None.", "NOASSERTION", "n/a", "?", '"null"'])
def test_a_field_may_say_that_it_says_nothing(text: str) -> None:
    assert is_unstated(text)


@pytest.mark.parametrize("text", ["none of your business", "CC0", "not supplied by us, ask the museum", "unknowns"])
def test_a_field_that_says_something_does_not(text: str) -> None:
    assert not is_unstated(text)
