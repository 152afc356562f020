"""Licence words in the bytes: seen where a file states its terms, in whatever wrapping, and not in its data."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.licence_words import HEAD, LIMIT, MOST, licence_words
from catalog.records import Found, SourceFile

DATA = Path("../shared/data")
LINE = "# Licensed under CC BY-NC-SA 4.0 license"
META = '<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="about.xml"/>'


def eml(rights: str) -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<eml:eml xmlns:eml="eml://ecoinformatics.org/eml-2.1.1"><dataset>
<abstract><para>His thesis, all rights reserved, was about CC BY-NC 4.0.</para></abstract>
{rights}
</dataset></eml:eml>"""


def source(path: Path, name: str = "") -> SourceFile:
    return SourceFile(name=name or path.name, path=path, size=path.stat().st_size, sha256="0" * 64)


def write(folder: Path, **files: bytes | str) -> list[SourceFile]:
    """``a__b_xml`` is the file ``a/b.xml``."""
    written = []
    for key, content in files.items():
        name = key.replace("__", "/").replace("_", ".")
        path = folder / key
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        written.append(source(path, name))
    return written


def zipped(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in files.items():
            archive.writestr(key.replace("__", "/").replace("_", "."), content)
    return out.getvalue()


def said(found: list[Found]) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.place, each.means) for each in found]


def need(path: str) -> Path:
    if not (DATA / path).exists():
        pytest.skip(f"{DATA / path} is not here")
    return DATA / path


TABLE = f"# A title\n#\n{LINE}\nid\tvalue\n# All rights reserved\n1\tCC0\n"


@pytest.mark.parametrize(
    "wrapped",
    [
        TABLE.encode(),
        TABLE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + TABLE.encode(),
        gzip.compress(TABLE.encode(), mtime=0),
        gzip.compress(TABLE[:20].encode(), mtime=0) + gzip.compress(TABLE[20:].encode(), mtime=0),
        gzip.compress(TABLE.encode() * 4000, mtime=0)[:2000],
        TABLE.encode() + b"\xff\xfe\x00" * 100,
    ],
)
def test_comments_before_the_data_are_read_in_any_wrapping(tmp_path: Path, wrapped: bytes) -> None:
    assert licence_words(write(tmp_path, a_tsv=wrapped)) == [
        Found(file="a.tsv", place="line 3", words=LINE, means=("CC-BY-NC-SA-4.0",))
    ]


def test_a_table_in_a_zip_says_where(tmp_path: Path) -> None:
    found = licence_words(write(tmp_path, a_zip=zipped(deep__a_tsv=TABLE)))
    assert [(each.file, each.place, each.words) for each in found] == [("a.zip", "deep/a.tsv, line 3", LINE)]


def test_data_is_not_searched(tmp_path: Path) -> None:
    late = "# nothing here\nid\tremarks\n" + "1\tcc\n" * (HEAD // 4) + LINE + "\n"
    for content in (late.encode(), gzip.compress(late.encode()), zipped(a_tsv=late)):
        assert licence_words(write(tmp_path, a_tsv=content)) == []


def test_comments_are_read_to_their_end(tmp_path: Path) -> None:
    late = "# nothing here\n" * (HEAD // 10) + LINE + "\nid\n"
    blocks = b"".join(gzip.compress(late[at : at + 5000].encode()) for at in range(0, len(late), 5000))
    for content in (late.encode(), gzip.compress(late.encode()), blocks, zipped(a_tsv=late)):
        (found,) = licence_words(write(tmp_path, a_tsv=content))
        assert (found.words, found.means) == (LINE, ("CC-BY-NC-SA-4.0",))


def test_comments_that_never_end_are_of_a_licence_not_known(tmp_path: Path) -> None:
    (found,) = licence_words(write(tmp_path, a_tsv="# nothing here\n" * (LIMIT // 14)))
    assert (found.place, found.means) == ("beyond", ())


NC = (
    "This work is licensed under a Creative Commons Attribution-NonCommercial 4.0 International License (CC BY-NC 4.0)."
)
LONG = "y" * (2 * HEAD)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("LICENSE", NC),
        ("LICENSE.txt", NC),
        ("LICENCE-data.md", NC),
        ("COPYING", NC),
        ("README.md", f"# Data\n\n{LONG}\n\n{NC}"),
        ("README", NC),
        ("RIGHTS.TXT", NC),
        ("a.csv", f"; {NC}\nid\n"),
        ("a.csv", f"// {NC}\nid\n"),
        ("a.csv", f"% {NC}\nid\n"),
        ("a.csv", f'"# {NC}"\nid\n'),
        ("a.json", json.dumps({"metadata": {"license": NC}, "data": []})),
        ("a.json", json.dumps({"rightsList": [{"lang": "en", "rights": "CC BY\u2011NC 4.0"}]})),
        ("a.json", json.dumps({"dct:license": NC})),
        ("a.json", json.dumps({"license_url": "https://creativecommons.org/licenses/by-nc/4.0/"})),
        ("a.json", json.dumps({"terms_of_use": "CC BY-NC 4.0"})),
        ("a.json", json.dumps({"data": LONG, "license": "CC-BY-NC-4.0"})),
        ("a.xml", f'<r xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:rights>{NC}</dc:rights></r>'),
        ("a.xml", '<r><license href="https://creativecommons.org/licenses/by-nc/4.0/"/></r>'),
        ("a.xml", f"<r><useLimitation>{NC}</useLimitation></r>"),
        ("a.xml", f"<r><abstract>{LONG}</abstract><intellectualRights>{NC}</intellectualRights></r>"),
        ("a.xml", f"<r><additionalInfo><para>Thanks.</para><para>{NC}</para></additionalInfo></r>"),
        ("a.cif", f"data_x\n_audit_copyright\n;\n{NC}\n;\n"),
        ("a.cif", f"data_x\n_publ_section_comment\n;\n{NC}\n;\n"),
    ],
)
def test_every_place_that_states_terms_is_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr(name, content)
    (tmp_path / "all.zip").write_bytes(archive.getvalue())
    utf16 = tmp_path / "utf16"
    utf16.mkdir()
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (utf16 / encoding).write_bytes(content.encode(encoding))
    paths = [tmp_path / name, tmp_path / "all.zip", *utf16.iterdir()]
    for path in paths:
        found = licence_words([source(path, name if path.suffix != ".zip" else "all.zip")])
        assert {each.means for each in found} == {("CC-BY-NC-4.0",)}, path


def test_a_licence_of_its_own_words_is_not_known(tmp_path: Path) -> None:
    (found,) = licence_words(write(tmp_path, LICENSE="You may look at it on Sundays."))
    assert (found.words, found.means) == ("You may look at it on Sundays.", ())
    assert licence_words(write(tmp_path, README="You may look at it on Sundays.")) == []


def test_a_file_of_data_with_such_a_name_is_data(tmp_path: Path) -> None:
    assert licence_words(write(tmp_path, license_tsv="id\tlicense\n1\tCC0\n")) == []


def test_the_last_of_many_members_is_read(tmp_path: Path) -> None:
    found = licence_words(write(tmp_path, a_zip=zipped(**{f"f{n}_txt": "a" for n in range(1200)}, rights_txt="CC0")))
    assert said(found) == [("rights.txt, line 1", ("CC0-1.0",))]


def test_the_header_of_vcf_and_bcf_is_read(tmp_path: Path) -> None:
    header = "##fileformat=VCFv4.2\n##license=CC-BY-4.0\n#CHROM\tPOS\n"
    bcf = gzip.compress(b"BCF\x02\x02\x00\x01\x00\x00" + header.encode() + b"\x00\xff\xfe" * 9)
    for content in (header.encode(), bcf):
        assert said(licence_words(write(tmp_path, a_vcf=content))) == [("line 2", ("CC-BY-4.0",))]


def test_equal_words_are_counted_once_per_file(tmp_path: Path) -> None:
    files = write(tmp_path, a_cif=f"{LINE}\n{LINE}\ndata_a\n", b_cif=f"#\n{LINE}\ndata_b\n", c_cif="# CC0\ndata_c\n")
    found = licence_words(files)
    assert [(each.file, each.place, each.files) for each in found] == [("a.cif", "line 1", 2), ("c.cif", "line 1", 1)]


def test_there_is_a_limit_to_distinct_words_of_one_meaning(tmp_path: Path) -> None:
    many = "".join(f"# licence {n}: CC0\n" for n in range(2 * MOST))
    found = licence_words(write(tmp_path, a_tsv=many + LINE))
    assert len(found) == MOST + 1
    assert found[-1].means == ("CC-BY-NC-SA-4.0",)


def test_items_of_a_cif_that_speak_of_a_licence_are_read(tmp_path: Path) -> None:
    cif = (
        "data_x\n_cell_length_a 1.0\n_journal_title 'All rights reserved'\n_x_license.name\tCC-BY-4.0\n"
        "loop_\n_pdbx_data_usage.id\n_pdbx_data_usage.details\n1\n;\nfor academic\nuse only\n;\n#\n"
        "loop_\n_atom.id\n1 CC0\n"
    )
    assert said(licence_words(write(tmp_path, a_cif=cif))) == [
        ("line 4, _x_license.name", ("CC-BY-4.0",)),
        ("line 6, _pdbx_data_usage.id", ()),
    ]


def test_the_rights_in_a_json_document_are_read(tmp_path: Path) -> None:
    document = {
        "abstract": "CC0",
        "data": [{"license": "CC BY-NC 4.0"}],
        "license": {"name": "x", "url": "https://creativecommons.org/licenses/by/4.0/"},
        "rights": 'ask "us" {first}',
    }
    for text in (json.dumps(document), json.dumps(document, indent=2) + " " * 10):
        assert said(licence_words(write(tmp_path, a_json=text))) == [
            ("key license", ("CC-BY-NC-4.0",)),
            ("key license", ("CC-BY-4.0",)),
            ("key rights", ()),
        ]
    assert licence_words(write(tmp_path, a_json='{"license": null, "rights": "", "x": "CC0"}')) == []


@pytest.mark.parametrize(
    ("rights", "means"),
    [
        (
            '<intellectualRights><para>This work is licensed under a <ulink url="http://creativecommons.org/licenses/'
            'by-nc/4.0/legalcode"><citetitle>Creative Commons Attribution Non Commercial (CC-BY-NC) 4.0 License'
            "</citetitle></ulink>.</para></intellectualRights>",
            {("CC-BY-NC-4.0",)},
        ),
        ("<intellectualRights><para>Public Domain (CC0 1.0)</para></intellectualRights>", {("CC0-1.0",)}),
        ("<intellectualRights><para>Ask Mr Smith first.</para></intellectualRights>", {()}),
        ("<licensed><licenseName>x</licenseName><identifier>CC-BY-4.0</identifier></licensed>", {("CC-BY-4.0",)}),
        (
            "<intellectualRights>CC BY 4.0 for universities. Companies must buy access.</intellectualRights>",
            {()},
        ),
        ("<additionalInfo><para>Ask Mr Smith first.</para></additionalInfo>", set()),
        ("<intellectualRights><para>Not supplied</para></intellectualRights>", set()),
        ("<intellectualRights><para>CC0</para>", {("CC0-1.0",)}),
        ("", set()),
    ],
)
def test_the_rights_of_an_eml_document_are_read(tmp_path: Path, rights: str, means: set[tuple[str, ...]]) -> None:
    text = eml(rights)
    assert {each.means for each in licence_words(write(tmp_path, eml_xml=text))} == means


def test_of_an_archive_only_its_own_metadata_counts(tmp_path: Path) -> None:
    def rights(words: str) -> str:
        return eml(f"<intellectualRights><para>{words}</para></intellectualRights>")

    archive = {
        "meta_xml": META,
        "about_xml": rights("CC BY 4.0"),
        "eml_xml": rights("CC0"),
        "dataset__one_xml": rights("All rights reserved"),
        "rights_txt": "Dataset: one\nRights as supplied: http://creativecommons.org/licenses/by-nc/4.0/legalcode",
        "occurrence_txt": "id\tlicense\n1\tCC BY-SA 4.0\n",
    }
    expected = {("CC-BY-4.0",), ("CC-BY-NC-4.0",)}
    assert {each.means for each in licence_words(write(tmp_path, a_zip=zipped(**archive)))} == expected
    assert {each.means for each in licence_words(write(tmp_path, **archive))} == expected


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "CC0 CC0"><!ENTITY b "&a;&a;&a;&a;">]><x><licensed>&b;</licensed></x>'
    local = f'<!DOCTYPE x [<!ENTITY a SYSTEM "{(tmp_path / "secret").as_uri()}">]><x><licensed>&a;</licensed></x>'
    (tmp_path / "secret").write_text("CC0")
    found = licence_words(write(tmp_path, a_xml=bomb, b_xml=local))
    assert [(each.place, each.means, each.files) for each in found] == [("document type", (), 2)]


def test_broken_files_say_nothing_and_raise_nothing(tmp_path: Path) -> None:
    good = zipped(meta_xml=META, about_xml=eml("<licensed>CC0</licensed>"), a_tsv=TABLE)
    gone = SourceFile(name="gone", path=tmp_path / "gone", size=1, sha256="0" * 64)
    flipped = bytearray(good)
    flipped[45] ^= 0xFF
    files = write(tmp_path, a=b"", b=b"\x1f\x8b", c=good[:-30], d=bytes(flipped), e=b"<a", f=b"{", g=b"\x00" * 99)
    assert {each.file for each in licence_words([gone, *files])} <= {"d"}


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\x1f\x8b\x08", b"<a>", b'{"rights":', b"#", b"data_\n_x_licence "]),
)
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes) -> None:
    folder = tmp_path_factory.mktemp("odd")
    for each in licence_words(write(folder, meta_xml=data, a_txt=start + data)):
        assert each.words


def test_the_alphamissense_sample_speaks_for_itself() -> None:
    (found,) = licence_words([source(need("genomics/alphamissense_P08243_aa_substitutions.tsv"))])
    assert (found.place, found.words, found.means) == ("line 3", LINE, ("CC-BY-NC-SA-4.0",))


def test_the_alphafold_model_says_cc_by() -> None:
    found = licence_words([source(need("proteins/AF-P29373-F1-model_v4.cif.gz"))])
    assert {each.means for each in found} == {("CC-BY-4.0",)}
    assert all("_pdbx_data_usage" in each.place for each in found)


def test_the_minerals_of_cod_state_its_terms() -> None:
    folder = need("crystals/cod_minerals/crystals")
    found = licence_words([source(path, str(path.relative_to(folder))) for path in sorted(folder.rglob("*.cif"))])
    assert all("LicenseRef-COD-public-domain" in each.means for each in found)
    public = [each.files for each in found if "placed in the public domain" in each.words]
    assert sum(public) == 285 + 197


@pytest.mark.parametrize(
    "pattern", ["genomics/*.vcf.gz", "genomics/*.bcf", "fusion/*/*", "crystals/*/*.gz", "crystals/*.csv"]
)
def test_other_real_files_say_nothing(pattern: str) -> None:
    paths = sorted(DATA.glob(pattern))
    if not paths:
        pytest.skip(f"{DATA / pattern} is not here")
    assert licence_words([source(path) for path in paths if path.is_file()]) == []


def test_a_gbif_download_states_the_rights_of_its_parts() -> None:
    found = licence_words([source(need("biodiversity/gbif_download_3_licences/gbif_download.zip"))])
    assert said(found) == [("rights.txt, line 3", ("CC-BY-NC-4.0",)), ("rights.txt, line 5", ("CC-BY-4.0",))]
