"""What was fetched is kept: nothing is fetched or hashed twice, and nothing damaged is taken for it."""

import os
import threading

import pytest

import llm.fetching.fetched
import llm.files
from llm.fetching.download import HttpConfig
from llm.fetching.fetched import fetch_once, keep
from tests.fetching.test_download import CONTENT, SHA256, server  # noqa: F401  a fixture

HTTP = HttpConfig(timeout_s=5.0, retries=0, backoff_s=0.0)


class Maker:
    """Writes two files, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "a.bin").write_bytes(b"first")
        (folder / "b.bin").write_bytes(b"second")
        return {"revision": "r1"}


@pytest.fixture
def make():
    return Maker()


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that were read for their hash."""
    names, real = [], llm.fetching.fetched.file_sha256
    for module in (llm.fetching.fetched, llm.files):
        monkeypatch.setattr(module, "file_sha256", lambda path: names.append(path.name) or real(path))
    return names


def test_equal_requests_are_made_and_hashed_once(make, hashed):
    kept = keep({"from": "here"}, make)
    assert keep({"from": "here"}, make) == kept
    assert (make.calls, hashed) == (1, ["a.bin", "b.bin"])
    assert kept.facts == {"revision": "r1"}


def test_another_request_is_another_folder(make):
    assert keep({"from": "here"}, make).folder != keep({"from": "there"}, make).folder
    assert make.calls == 2


def test_what_is_given_is_the_same_bytes_under_a_further_name(make, tmp_path):
    kept = keep({"from": "here"}, make)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.bin").write_bytes(b"of another model")
    kept.link_into(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.bin", "b.bin"}
    assert os.path.samefile(tmp_path / "out" / "a.bin", kept.folder / "a.bin")


def test_where_there_can_be_no_link_a_copy_is_given(make, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    kept = keep({"from": "here"}, make)
    monkeypatch.setattr(os, "link", refuse)
    kept.link_into(tmp_path / "out")
    assert (tmp_path / "out" / "a.bin").read_bytes() == b"first"


def test_a_file_with_another_time_and_the_same_bytes_is_still_what_was_fetched(make, hashed):
    kept = keep({"from": "here"}, make)
    os.utime(kept.folder / "a.bin", ns=(1, 1))
    keep({"from": "here"}, make)
    assert (make.calls, hashed[2:]) == (1, ["a.bin"])


DAMAGES = {
    "other bytes": lambda folder: (folder / "a.bin").write_bytes(b"FIRST"),
    "no file": lambda folder: (folder / "a.bin").unlink(),
    "no record": lambda folder: (folder / llm.fetching.fetched.RECORD).write_text("{", encoding="utf-8"),
    "another record": lambda folder: (folder / llm.fetching.fetched.RECORD).write_text("[]", encoding="utf-8"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_made_anew_and_said(make, caplog, damage):
    damage(keep({"from": "here"}, make).folder)
    kept = keep({"from": "here"}, make)
    assert make.calls == 2 and (kept.folder / "a.bin").read_bytes() == b"first"
    assert "it is fetched again" in caplog.text


def test_what_broke_off_goes_on_where_it_was():
    def half(folder):
        (folder / "model.part").write_bytes(b"half")
        raise OSError("the connection broke off")

    def rest(folder):
        assert (folder / "model.part").read_bytes() == b"half"
        (folder / "model.part").rename(folder / "model")
        return {}

    with pytest.raises(OSError, match="broke off"):
        keep({"from": "here"}, half)
    assert list(keep({"from": "here"}, rest).sha256) == ["model"]


def test_two_at_once_make_it_once():
    started, go_on, kept = threading.Event(), threading.Event(), []

    def slow(folder):
        started.set()
        assert go_on.wait(20)
        (folder / "a.bin").write_bytes(b"first")
        return {}

    def never(folder):
        raise AssertionError("made twice")

    first = threading.Thread(target=lambda: kept.append(keep({"from": "here"}, slow)))
    second = threading.Thread(target=lambda: kept.append(keep({"from": "here"}, never)))
    first.start()
    assert started.wait(20)
    second.start()
    go_on.set()
    first.join(20)
    second.join(20)
    assert len(kept) == 2 and kept[0] == kept[1]


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_of_the_web_is_asked_for_once(server, sha256):  # noqa: F811
    paths = [fetch_once(server.url, sha256, HTTP) for _ in range(2)]
    assert paths[0] == paths[1] and paths[0].read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_local_file_is_used_where_it_lies(tmp_path):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    assert fetch_once(str(tmp_path / "a.zip"), SHA256, HTTP) == tmp_path / "a.zip"


def test_a_secret_in_a_location_is_written_nowhere(server):  # noqa: F811
    url = server.url.replace("//", "//ann:secret@") + "?token=secret"
    path = fetch_once(url, SHA256, HTTP)
    assert all(b"secret" not in file.read_bytes() for file in path.parent.iterdir() if file != path)
    assert "secret" not in str(path) and not list(path.parent.parent.glob("*secret*"))


def test_addresses_that_differ_in_their_query_are_different_files(server):  # noqa: F811
    assert fetch_once(server.url + "?id=1", None, HTTP) != fetch_once(server.url + "?id=2", None, HTTP)
    assert len(server.requests) == 2


def test_a_file_with_the_name_of_the_record_is_kept_beside_it(server, monkeypatch):  # noqa: F811
    monkeypatch.setattr("llm.fetching.fetched.RECORD", "file")  # the name at the end of the server's address
    assert [fetch_once(server.url, None, HTTP).read_bytes() for _ in range(2)] == [CONTENT, CONTENT]
