"""The fetch stage against real servers on loopback: ill-mannered HTTP, S3, and full disks."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import snapshot as module
from assets.snapshot import Address, fetch, probe, prune
from catalog.errors import ChecksumMismatchError, SourceError, StorageError

NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
BODY = bytes(range(256)) * 4096  # 1 MiB
DATASET = "genomics/clinvar"


class Web:
    """One file behind a server whose manners the test sets."""

    def __init__(self) -> None:
        self.body = BODY
        self.headers: dict[str, str] = {"ETag": '"a"'}
        self.ranges = True
        self.says_length = True
        self.statuses: list[int] = []
        self.drops: list[int] = []
        self.sent = 0
        self.requests: Counter[str] = Counter()
        self.asked: list[str] = []
        self.on_get = lambda: None
        self.is_patient = False
        self.seen = 0
        self.uri = ""

    def answer(self, handler: BaseHTTPRequestHandler, with_body: bool) -> None:
        self.requests[handler.command] += 1
        status = self.statuses.pop(0) if self.statuses else 200
        body, start = self.body, 0
        ranged = handler.headers.get("Range") if with_body else None
        if ranged:
            self.asked.append(ranged)
        if status == 200 and ranged and self.ranges:
            condition = handler.headers.get("If-Range")
            if condition is None or condition in self.headers.values():
                start = int(ranged.removeprefix("bytes=").rstrip("-"))
                status = 206 if start < len(body) else 416
        handler.send_response(status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:] if status < 400 else b""
        if self.says_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if with_body and status < 400:
            part = body[: self.drops.pop(0)] if self.drops else body
            self.sent += len(part)
            handler.wfile.write(part)
            self.on_get()
            self.wait_for(start + len(part))
        handler.close_connection = True

    def saw(self, done: int, total: int | None) -> None:
        self.seen = done

    def wait_for(self, count: int) -> None:
        """Do not close before the client has read all: a drop may cost it what it had only buffered."""
        until = time.monotonic() + 5
        while self.is_patient and self.seen < count and time.monotonic() < until:
            time.sleep(0.001)


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            served.answer(self, with_body=False)

        def do_GET(self) -> None:
            served.answer(self, with_body=True)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        served.uri = f"http://127.0.0.1:{http.server_port}/data/clinvar.vcf.gz"
        yield served
        http.shutdown()


@pytest.fixture
def web(server: Web) -> Web:
    uri = server.uri
    server.__init__()
    server.uri = uri
    return server


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def bring(uri: object, raw: Path, previous=None, **options):
    slept = options.pop("slept", [])
    progress = options.pop("progress", lambda done, total: None)
    address = Address(str(uri), "source", **options)
    return fetch(DATASET, address, raw, previous, NOW, progress, sleep=slept.append)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def partials(raw: Path) -> list[Path]:
    return sorted((raw / "partial").iterdir())


def stored(raw: Path) -> list[str]:
    return sorted(path.name for path in raw.glob("??/*"))


# One file over HTTP


def test_one_file_lies_under_its_sha256_and_keeps_its_name(web, raw):
    seen = []
    found = bring(web.uri, raw, progress=lambda done, total: seen.append((done, total)))
    (file,) = found.files
    assert (found.dataset, found.uri, found.origin, found.fetched_at) == (DATASET, web.uri, "source", NOW)
    assert file.path == raw / sha(BODY)[:2] / sha(BODY)
    assert file.path.read_bytes() == BODY
    assert (file.name, file.size, file.sha256) == ("clinvar.vcf.gz", len(BODY), sha(BODY))
    assert (found.sha256, found.size) == (sha(BODY), len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)
    assert partials(raw) == []


def test_an_unchanged_source_is_not_downloaded_again(web, raw):
    first = bring(web.uri, raw)
    web.requests.clear()
    assert bring(web.uri, raw, first) is first
    assert web.requests == {"HEAD": 1}
    assert probe(Address(web.uri, "source")) == first.validator


@pytest.mark.parametrize("change", ["etag", "bytes gone", "bytes cut", "other uri"])
def test_a_change_is_downloaded(web, raw, change):
    first = bring(web.uri, raw)
    web.body, uri = BODY[::-1], web.uri
    if change == "etag":
        web.headers = {"ETag": '"b"'}
    elif change == "bytes gone":
        first.files[0].path.unlink()
    elif change == "bytes cut":
        first.files[0].path.write_bytes(BODY[:-1])
    else:
        uri += "?release=2"
    found = bring(uri, raw, first)
    assert found.sha256 == sha(BODY[::-1])
    assert found.files[0].path.read_bytes() == BODY[::-1]
    assert found.files[0].name == "clinvar.vcf.gz"


def test_a_time_of_change_serves_where_there_is_no_etag(web, raw):
    web.headers = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    first = bring(web.uri, raw)
    assert bring(web.uri, raw, first) is first
    web.headers = {"Last-Modified": "Tue, 02 Jan 2024 00:00:00 GMT"}
    assert bring(web.uri, raw, first) is not first


@pytest.mark.parametrize("says_length", [True, False])
def test_a_source_without_etag_and_time_is_always_downloaded(web, raw, says_length):
    web.headers, web.says_length = {}, says_length
    first = bring(web.uri, raw)
    second = bring(web.uri, raw, first)
    assert second is not first
    assert second.validator != first.validator
    assert second.sha256 == first.sha256 == sha(BODY)
    assert partials(raw) == []


def test_compressed_bytes_are_kept_as_they_are_sent(web, raw):
    web.body = b"\x1f\x8b not unpacked"
    web.headers = {"ETag": '"z"', "Content-Encoding": "gzip"}
    assert bring(web.uri, raw).files[0].path.read_bytes() == web.body


# Interruptions


def test_a_dropped_connection_goes_on_where_it_stopped(web, raw):
    web.drops, web.is_patient = [400_000, 300_000], True
    slept: list[float] = []
    assert bring(web.uri, raw, slept=slept, progress=web.saw).sha256 == sha(BODY)
    assert web.sent == len(BODY)
    assert web.asked == ["bytes=400000-", "bytes=700000-"]
    assert slept == [2.0, 4.0]


def test_a_server_without_ranges_is_read_from_the_start(web, raw):
    web.ranges, web.drops = False, [400_000]
    assert bring(web.uri, raw).files[0].path.read_bytes() == BODY
    assert web.sent == 400_000 + len(BODY)


def test_a_server_that_always_stops_short_makes_no_snapshot(web, raw):
    web.ranges, web.drops, web.is_patient = False, [1000, 2000, 3000], True
    with pytest.raises(SourceError, match=r"genomics/clinvar: http.* was cut short each time"):
        bring(web.uri, raw, progress=web.saw)
    assert web.requests["GET"] == 3
    assert stored(raw) == []
    assert [path.stat().st_size for path in partials(raw)] == [3000]


def test_a_short_answer_of_unstated_length_is_noticed(web, raw, monkeypatch):
    """HEAD tells the length, GET does not, and the connection closes early: only the count can tell."""
    web.drops = [1000, 1000, 1000]
    web.ranges = False
    plain = web.answer

    def answer(handler, with_body):
        web.says_length = not with_body
        plain(handler, with_body)

    monkeypatch.setattr(web, "answer", answer)
    with pytest.raises(SourceError, match=f"1000 of {len(BODY)} bytes"):
        bring(web.uri, raw)


def test_long_downloads_may_drop_often_if_they_advance(web, raw, monkeypatch):
    monkeypatch.setattr("assets.source.PIECE", 100_000)
    web.drops, web.is_patient = [150_000] * 6, True
    assert bring(web.uri, raw, progress=web.saw).sha256 == sha(BODY)


def test_an_interrupt_leaves_a_partial_that_resumes(web, raw):
    web.body = BODY * 3  # more than is read at once

    def interrupt(done, total):
        if done > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(web.uri, raw, progress=interrupt)
    (partial,) = partials(raw)
    arrived = partial.stat().st_size
    assert web.body[:arrived] == partial.read_bytes() != b""
    seen: list[int] = []
    assert bring(web.uri, raw, progress=lambda done, total: seen.append(done)).sha256 == sha(web.body)
    assert web.asked == [f"bytes={arrived}-"]
    assert min(seen) > arrived
    assert partials(raw) == []


def test_a_partial_of_an_earlier_state_is_not_resumed(web, raw):
    web.drops, web.is_patient = [5000, 0, 0], True
    with pytest.raises(SourceError):
        bring(web.uri, raw, progress=web.saw)
    web.headers, web.body = {"ETag": '"b"'}, BODY[::-1]
    assert bring(web.uri, raw).sha256 == sha(BODY[::-1])
    assert web.asked == ["bytes=5000-"] * 2


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 60_000), cuts=st.lists(st.integers(0, 60_000), max_size=4), ranges=st.booleans())
def test_resumed_bytes_are_the_original(server, tmp_path_factory, size, cuts, ranges):
    uri = server.uri
    server.__init__()
    server.uri = uri
    server.body = os.urandom(size)
    server.headers["ETag"] = f'"{sha(server.body)}"'
    server.ranges, server.drops = ranges, [min(cut, size - 1) for cut in cuts]
    raw = tmp_path_factory.mktemp("raw")
    for _ in range(3):
        with suppress(SourceError):
            found = bring(uri, raw)
            break
    assert found.files[0].path.read_bytes() == server.body
    assert found.sha256 == sha(server.body)


# Refusals


@pytest.mark.parametrize(
    ("status", "tries", "words", "remedy"),
    [
        (404, 1, "is not there", "source.uri"),
        (410, 1, "is not there", "--source"),
        (403, 1, "may not be read", "access"),
        (401, 1, "may not be read", "credentials"),
        (503, 3, "answers 503", "wait"),
        (429, 3, "answers 429", "wait"),
        (418, 1, "cannot be fetched", "source.storage_options"),
    ],
)
def test_a_server_that_refuses_is_told_with_a_remedy(web, raw, status, tries, words, remedy):
    web.statuses = [status] * 99
    with pytest.raises(SourceError, match=words) as caught:
        bring(web.uri, raw)
    assert DATASET in caught.value.problem
    assert web.uri in caught.value.problem
    assert remedy in caught.value.remedy
    assert web.requests == {"HEAD": tries, "GET": tries}


def test_a_passing_failure_of_the_server_is_waited_out(web, raw):
    web.statuses = [200, 503, 500]
    assert bring(web.uri, raw).sha256 == sha(BODY)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/x.csv", "http://no-such-host.invalid/x.csv"])
def test_an_unreachable_host_is_told_with_a_remedy(raw, uri):
    slept: list[float] = []
    with pytest.raises(SourceError, match=r"cannot be reached") as caught:
        bring(uri, raw, slept=slept)
    assert "network" in caught.value.remedy
    assert len(slept) == 2


def test_a_password_in_the_uri_is_not_told(raw):
    with pytest.raises(SourceError) as caught:
        bring("http://ada:lovelace@127.0.0.1:9/x.csv", raw)
    assert "lovelace" not in str(caught.value)


def test_a_source_that_changes_meanwhile_makes_no_snapshot(web, raw):
    web.on_get = lambda: web.headers.update(ETag='"b"')
    with pytest.raises(SourceError, match="changed while it was fetched") as caught:
        bring(web.uri, raw)
    assert "run again" in caught.value.remedy
    assert stored(raw) == []
    assert partials(raw) == []
    assert bring(web.uri, raw).sha256 == sha(BODY)


def test_a_source_that_changes_between_tries_is_not_joined(web, raw):
    def change():
        web.headers, web.body = {"ETag": '"b"'}, BODY[::-1]

    web.drops, web.on_get, web.is_patient = [5000], change, True
    with pytest.raises(SourceError, match="changed while it was fetched"):
        bring(web.uri, raw, progress=web.saw)
    assert web.sent == 5000 + len(BODY)  # the second try was sent the whole, not the rest
    assert partials(raw) == []


def test_an_empty_file_is_refused(web, raw):
    web.body = b""
    with pytest.raises(SourceError, match="is empty"):
        bring(web.uri, raw)
    assert stored(raw) == partials(raw) == []


def test_an_unknown_protocol_is_told_which_work(raw):
    with pytest.raises(SourceError, match="ftp://") as caught:
        bring("ftp://ftp.example.org/x.vcf", raw)
    assert all(f"{name}://" in caught.value.remedy for name in ("http", "https", "s3", "gs", "file"))


@pytest.mark.parametrize(("protocol", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_package_is_named(raw, monkeypatch, protocol, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(
        sys.modules["fsspec.registry"]._registry, protocol, raising=False
    )  # where another test has loaded it
    with pytest.raises(SourceError, match=package) as caught:
        bring(f"{protocol}://bucket/x.csv", raw)
    assert "pip install" in caught.value.remedy


def test_a_pin_is_kept(web, raw):
    first = bring(web.uri, raw, sha256=sha(BODY).upper())
    assert bring(web.uri, raw, first, sha256=sha(BODY)) is first
    with pytest.raises(ChecksumMismatchError):
        bring(web.uri, raw, first, sha256="0" * 64)
    assert stored(raw) == [sha(BODY)]


def test_bytes_that_are_not_what_is_pinned_do_not_stay(web, raw):
    with pytest.raises(ChecksumMismatchError) as caught:
        bring(web.uri, raw, sha256="0" * 64)
    assert all(word in caught.value.problem for word in (DATASET, web.uri, "0" * 64, sha(BODY)))
    assert "update source.sha256" in caught.value.remedy
    assert stored(raw) == partials(raw) == []


# Local files and folders


def test_a_local_file_is_copied(tmp_path, raw):
    path = tmp_path / "shot 1.json"
    path.write_bytes(b"{}")
    found = bring(path, raw)
    path.write_bytes(b"[]")
    assert found.files[0].path.read_bytes() == b"{}"
    assert found.files[0].name == "shot 1.json"
    assert bring(f"file://{path}", raw, found).sha256 == sha(b"[]")


def test_an_untouched_local_file_is_not_copied_again(tmp_path, raw, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(b"a")
    first = bring("a.csv", raw)
    assert bring("a.csv", raw, first) is first
    os.utime("a.csv", ns=(1, 1))
    assert bring("a.csv", raw, first) is not first


def test_a_folder_stands_for_the_files_below_it(tmp_path, raw):
    folder = tmp_path / "cifs"
    (folder / "1" / ".git").mkdir(parents=True)
    for name in ("b.cif", "1/a.cif", "1/empty.cif", ".hidden", "1/.git/config"):
        (folder / name).write_text("" if "empty" in name else name)
    (folder / "link.cif").symlink_to(folder / "b.cif")
    (folder / "1" / "loop").symlink_to(folder)
    found = bring(folder, raw)
    assert [file.name for file in found.files] == ["1/a.cif", "1/empty.cif", "b.cif", "link.cif"]
    assert [file.path.read_text() for file in found.files] == ["1/a.cif", "", "b.cif", "b.cif"]
    listed = subprocess.run(
        ["sha256sum", *(file.name for file in found.files)], cwd=folder, capture_output=True, check=True
    )
    assert found.sha256 == sha(listed.stdout)
    assert found.size == 17
    assert bring(folder, raw, found) is found


@pytest.mark.parametrize("change", ["rename", "edit", "add", "remove"])
def test_every_change_of_a_folder_is_a_new_snapshot(tmp_path, raw, change):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "b").write_text("b")
    first = bring(folder, raw)
    if change == "rename":
        (folder / "a").rename(folder / "c")
    elif change == "remove":
        (folder / "a").unlink()
    else:
        (folder / ("a" if change == "edit" else "c")).write_text("more")
    second = bring(folder, raw, first)
    assert second.sha256 != first.sha256
    assert second.validator != first.validator


def test_an_interrupted_folder_keeps_its_finished_files(tmp_path, raw):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name * 10)

    def interrupt(done, total):
        assert total == 30
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(folder, raw, progress=interrupt)
    seen = []
    found = bring(folder, raw, progress=lambda done, total: seen.append(done))
    assert [file.path.read_text() for file in found.files] == ["a" * 10, "b" * 10, "c" * 10]
    assert seen == []  # all three had arrived
    assert partials(raw) == []


@pytest.mark.parametrize("name", ["gone.csv", "gone/", "empty"])
def test_what_is_not_there_is_told_with_a_remedy(tmp_path, raw, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"genomics/clinvar: .*(is not there|without files)") as caught:
        bring(f"{tmp_path}/{name}", raw)
    assert "--source" in caught.value.remedy


def test_a_pipe_is_not_waited_for(tmp_path, raw):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        bring(tmp_path / "pipe", raw)


# S3


@pytest.fixture
def bucket(s3, request) -> Iterator[str]:
    s3fs = pytest.importorskip("s3fs")
    store = s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True, use_listings_cache=False)
    name = "snap-" + sha(request.node.name.encode())[:12]
    store.mkdir(name)
    for key, value in {"cod/2.cif": "two", "cod/sub/1.cif": "one", "codex": "no", "cod/.x": "no"}.items():
        store.pipe_file(f"{name}/{key}", value.encode())
    yield name
    store.rm(name, recursive=True)


def test_one_object(bucket, raw):
    first = bring(f"s3://{bucket}/cod/2.cif", raw)
    assert (first.files[0].name, first.sha256) == ("2.cif", sha(b"two"))
    assert bring(f"s3://{bucket}/cod/2.cif", raw, first) is first


@pytest.mark.parametrize("ending", ["cod/", "cod"])
def test_a_prefix_is_a_folder(bucket, raw, ending):
    found = bring(f"s3://{bucket}/{ending}", raw)
    assert {file.name: file.path.read_text() for file in found.files} == {"2.cif": "two", "sub/1.cif": "one"}


def test_a_changed_object_is_seen_in_the_same_process(bucket, raw, s3):
    import s3fs

    first = bring(f"s3://{bucket}/cod/", raw)
    one = Address(f"s3://{bucket}/cod/2.cif", "source")
    before = probe(one)
    s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True).pipe_file(f"{bucket}/cod/2.cif", b"TWO")
    assert probe(one) != before
    second = bring(f"s3://{bucket}/cod/", raw, first)
    assert second.files[0].sha256 == sha(b"TWO")


def test_a_large_object_comes_in_pieces_and_resumes(bucket, raw, s3, monkeypatch):
    import s3fs

    monkeypatch.setattr("assets.source.PIECE", 300_000)
    s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True).pipe_file(f"{bucket}/big", BODY)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(f"s3://{bucket}/big", raw, progress=interrupt)
    seen: list[int] = []
    found = bring(f"s3://{bucket}/big", raw, progress=lambda done, total: seen.append(done))
    assert found.sha256 == sha(BODY)
    assert seen == [600_000, 900_000, len(BODY)]


@pytest.mark.parametrize("name", ["gone.cif", "gone/", "../no-such-bucket-here/x"])
def test_an_object_that_is_not_there_is_told_with_a_remedy(bucket, raw, name):
    uri = f"s3://{bucket}/{name}" if ".." not in name else "s3://no-such-bucket-here/x"
    with pytest.raises(SourceError, match=r"genomics/clinvar: s3://.* is not there") as caught:
        bring(uri, raw)
    assert "source.uri" in caught.value.remedy


def test_requests_are_signed_only_with_keys(bucket, raw, s3, monkeypatch, tmp_path):
    import s3fs

    from assets.source import Source

    uri = f"s3://{bucket}/cod/2.cif"
    s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True).chmod(uri, "public-read")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    signed = [Source("", Address(uri, "source", storage_options=options)) for options in ({}, {"anon": True})]
    assert [source._fs.anon for source in signed] == [False, True]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    keyed = Source("", Address(uri, "source", storage_options={"key": "k", "secret": "s"}))
    assert keyed._fs.anon is False
    assert Source("", Address(uri, "source"))._fs.anon is True
    assert bring(uri, raw).sha256 == sha(b"two")
    for private, options in ((f"s3://{bucket}/codex", {}), (uri, {"anon": False})):
        with pytest.raises(SourceError, match="may not be read") as caught:
            bring(private, raw, storage_options=options)
        assert "credentials" in caught.value.remedy


def test_an_s3_endpoint_out_of_reach_is_told_with_a_remedy(raw):
    with pytest.raises(SourceError, match="cannot be reached"):
        bring("s3://b/k", raw, storage_options={"anon": True, "endpoint_url": "http://127.0.0.1:9"})


# The store


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(path)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here, so no disk can be filled")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("says_length", [True, False])
def test_a_full_disk_is_told_with_the_bytes_needed(web, tmp_path, says_length):
    web.says_length = says_length
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(StorageError, match=r"is full: .*needed, \d+ are free") as caught:
            bring(web.uri, disk / "raw")
        assert not says_length or f"{len(BODY)} more bytes" in caught.value.problem
        assert "vacuum" in caught.value.remedy
        assert partials(disk / "raw") == stored(disk / "raw") == []
        assert web.requests["GET"] == (0 if says_length else 2)  # a HEAD without length asks a GET for it


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_finds_no_room_is_not_tried_again(web, raw, monkeypatch, code):
    def write(out, piece):
        raise OSError(code, "no room")

    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(StorageError, match=f"{len(BODY)} more bytes are needed"):
        bring(web.uri, raw)
    assert web.requests["GET"] == 1
    assert partials(raw) == []


def test_a_store_that_cannot_be_made_is_told_with_a_remedy(web, tmp_path):
    (tmp_path / "raw").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        bring(web.uri, tmp_path / "raw")


def test_fetches_at_the_same_time_do_not_meet(web, raw):
    inside = threading.Barrier(4, timeout=10)
    waited = threading.local()

    def wait(done, total):
        if not getattr(waited, "done", False):
            waited.done = True
            inside.wait()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: bring(web.uri, raw, progress=wait), range(4)))
    assert {each.sha256 for each in found} == {sha(BODY)}
    assert found[0].files[0].path.read_bytes() == BODY
    assert stored(raw) == [sha(BODY)]
    assert partials(raw) == []


def test_prune_removes_what_nothing_refers_to(web, raw):
    kept = bring(web.uri, raw)
    web.headers, web.body = {"ETag": '"b"'}, b"unwanted"
    unwanted = bring(web.uri, raw)
    old, new, own = (raw / "partial" / name for name in ("old", "new", "own"))
    own.mkdir()
    for path in (old, new, own / "x"):
        path.write_text("x")
    for path in (old, own):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert prune(raw, {kept.sha256}) == sorted([unwanted.files[0].path, old, own])
    assert stored(raw) == [kept.sha256]
    assert partials(raw) == [new]
    assert prune(raw / "nowhere", set()) == []


def test_memory_does_not_grow_with_the_source(tmp_path, raw):
    import tracemalloc

    peaks = []
    for index, size in enumerate((20_000_000, 200_000_000)):
        path = tmp_path / f"{index}.bin"
        with path.open("wb") as file:
            file.truncate(size)
        tracemalloc.start()
        bring(path, raw)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize("name", [b"caf\xe9.vcf", b"two\nlines.vcf", b"bell\x07.vcf", b"\xff"])
def test_a_file_name_that_is_no_text_is_told(tmp_path, raw, name):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "good.vcf").write_bytes(BODY)
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(BODY)
    with pytest.raises(SourceError, match="has characters that are not text; rename it") as caught:
        bring(folder, raw)
    str(caught.value).encode()  # as it is shown and written down


def test_a_file_name_may_have_letters_and_spaces_of_any_script(tmp_path, raw):
    folder = tmp_path / "source"
    folder.mkdir()
    names = ["café.vcf", "変異\u3000一.vcf", "no\u00a0break.vcf"]
    for name in names:
        (folder / name).write_bytes(BODY)
    assert {file.name for file in bring(folder, raw).files} == set(names)
