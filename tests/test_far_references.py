"""References that lie elsewhere: read by range over HTTP and from S3, named in a contract, missed in words."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from assets import fasta
from assets.fasta import Fasta
from catalog.errors import SourceError

PLACE = 200_000
_BASES = "".join(random.Random(5).choices("ACGT", k=300_000))
# A run of CA in which a deletion can be written at any of its places.
GENOME = _BASES[:PLACE] + "G" + "CA" * 20 + "T" + _BASES[PLACE + 42 :]
WIDTH = 60


class Web:
    """Files behind a server that answers requests for a range, or gives all of a file whatever is asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.has_ranges = True
        self.sent: dict[str, int] = {}
        self.root = ""

    def answer(self, handler: BaseHTTPRequestHandler, with_body: bool) -> None:
        name = handler.path.lstrip("/")
        body = self.files.get(name)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", "")) if self.has_ranges else None
        handler.send_response(404 if body is None else 206 if asked else 200)
        whole = len(body or b"")
        if body and asked:
            start, end = int(asked[1]), min(int(asked[2]) + 1, whole)
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{whole}")
            body = body[start:end]
        handler.send_header("Content-Length", str(len(body or b"")))
        handler.end_headers()
        if with_body and body:
            self.sent[name] = self.sent.get(name, 0) + len(body)
            handler.wfile.write(body)


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            web.answer(self, with_body=False)

        def do_GET(self) -> None:
            web.answer(self, with_body=True)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        web.root = f"http://127.0.0.1:{http.server_port}"
        yield web
        http.shutdown()


def reference(name: str = "chr1") -> dict[str, bytes]:
    """A FASTA of one contig and its index, by the ends of their names."""
    lines = "\n".join(GENOME[at : at + WIDTH] for at in range(0, len(GENOME), WIDTH))
    index = f"{name}\t{len(GENOME)}\t{len(name) + 2}\t{WIDTH}\t{WIDTH + 1}\n"
    return {"": f">{name}\n{lines}\n".encode(), ".fai": index.encode()}


@pytest.fixture(params=["http", "s3"])
def far(request: pytest.FixtureRequest) -> str:
    """The address of the reference."""
    files = reference()
    if request.param == "http":
        web = request.getfixturevalue("server")
        web.__dict__.update(has_ranges=True, sent={}, files={f"g.fa{end}": content for end, content in files.items()})
        return f"{web.root}/g.fa"
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    endpoint = request.getfixturevalue("s3")
    store = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False)
    if not store.exists("references"):
        store.mkdir("references")
    for end, content in files.items():
        store.pipe_file(f"references/g.fa{end}", content)
    return "s3://references/g.fa"


def test_ranges_of_a_far_reference_are_what_its_text_holds(far, monkeypatch):
    monkeypatch.setattr(fasta, "FAR_BLOCK", 10_000)
    found = Fasta(far)
    for start, end in [(0, 10), (9_990, 10_010), (PLACE - 5, PLACE + 50), (len(GENOME) - 7, len(GENOME) + 9)]:
        assert found.sequence("1", start, end).decode() == GENOME[start:end]


def test_only_the_blocks_asked_for_come_over_the_network(server, monkeypatch):
    monkeypatch.setattr(fasta, "FAR_BLOCK", 10_000)
    server.__dict__.update(has_ranges=True, sent={}, files={f"g.fa{end}": text for end, text in reference().items()})
    Fasta(f"{server.root}/g.fa").sequence("1", PLACE, PLACE + 100)
    assert 10_000 <= server.sent["g.fa"] < 12_000


def test_a_server_without_ranges_is_told(server):
    server.__dict__.update(has_ranges=False, files={f"g.fa{end}": text for end, text in reference().items()})
    with pytest.raises(SourceError, match="bytes where 14 were asked for") as caught:
        Fasta(f"{server.root}/g.fa")
    assert "requests for a range" in caught.value.remedy


def written(path: Path, *lines: str) -> Path:
    head = "##fileformat=VCFv4.2\n##reference=GRCh38\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    path.write_text(head + "".join(f"{line}\t.\t.\t.\n" for line in lines), encoding="utf-8")
    return path


def contract(**transform: object) -> dict[str, object]:
    """The attributes of a dataset of variants whose transform has these options."""
    source = {"unpublished": "a test's", "format": "vcf"}
    gates = {"min_rows": 1, "max_quarantined": 0.5}
    return {
        "table": "genomics.variants", "source": source, "columns": {"rs_id": "ID"}, "transform": transform,
        "gates": gates,
    }  # fmt: skip


def test_a_contract_aligns_its_alleles_by_a_far_reference(curated, far, tmp_path):
    last = PLACE + 2 + 2 * 19 - 1
    assert GENOME[last - 1 : last + 2] == "ACA"
    other = "C" if GENOME[99] != "C" else "G"
    path = written(
        tmp_path / "x.vcf",
        f"chr1\t50\trs1\t{GENOME[49]}\t{'C' if GENOME[49] != 'C' else 'G'}",
        f"chr1\t{last}\trs2\tACA\tA",
        f"chr1\t{PLACE + 1}\trs3\tG\tGCA",
        f"chr1\t100\trs4\t{other}\tN",
    )
    found = curated("genomics/thousand_genomes", path, **contract(reference=far))
    rows = {row["rs_id"]: row for row in found.rows}
    assert rows.keys() == {"rs1", "rs2", "rs3"}
    assert {row["normalisation"] for row in found.rows} == {"left_aligned"}
    assert [rows["rs2"][name] for name in ("position", "ref", "alt")] == [PLACE + 1, "GCA", "G"]
    assert [rows["rs3"][name] for name in ("position", "ref", "alt")] == [PLACE + 1, "G", "GCA"]
    assert f"REF says '{other}', but the reference has '{GENOME[99]}'" in str(found.refused)


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize(
    ("missing", "setting"),
    [
        ("reference", "transform.reference"),
        ("chain", "transform.lift_over.chain"),
        ("target", "transform.lift_over.reference"),
    ],
)
def test_what_is_missing_is_mended_where_the_contract_names_it(curated, server, tmp_path, scheme, missing, setting):
    names = {"reference": "here.fa", "target": "there.fa", "chain": "a.chain"}
    files = {f"{names[kind]}{end}": text for kind in ("reference", "target") for end, text in reference().items()}
    files[names["chain"]] = b"chain 1 chr1 300000 + 0 300000 chr1 300000 + 0 300000 1\n300000\n"
    del files[names[missing]]
    server.__dict__.update(has_ranges=True, files=files)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    root = server.root if scheme == "http" else str(tmp_path)
    transform = {
        "reference": f"{root}/here.fa",
        "lift_over": {"to": "GRCh37", "chain": f"{root}/a.chain", "reference": f"{root}/there.fa"},
    }
    path = written(tmp_path / "x.vcf", "chr1\t50\trs1\tA\tC")
    with pytest.raises(SourceError, match=f"{names[missing]} is not there") as caught:
        curated("genomics/thousand_genomes", path, **contract(**transform))
    assert caught.value.remedy == f"correct {setting}"


def test_an_index_that_may_not_be_read_is_no_matter_of_making_one(server, monkeypatch):
    server.__dict__.update(has_ranges=True, files={f"g.fa{end}": text for end, text in reference().items()})
    answer = Web.answer

    def forbidden(web: Web, handler: BaseHTTPRequestHandler, with_body: bool) -> None:
        if handler.path.endswith(".fai"):
            handler.send_error(403)
        else:
            answer(web, handler, with_body)

    monkeypatch.setattr(Web, "answer", forbidden)
    with pytest.raises(SourceError, match=r"g\.fa\.fai may not be read") as caught:
        Fasta(f"{server.root}/g.fa")
    assert caught.value.remedy == "ask its owner for access, or give credentials: AWS_* for s3"
