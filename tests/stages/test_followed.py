"""Local files followed by their content, and read again only when they may have changed."""

import os

import pytest

from llm.files import file_sha256
from stages import followed
from stages.followed import HashIndex, content_hash


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `a b [1]` of two files that were written long ago; hashes are remembered beside it."""
    monkeypatch.setenv("TANDEM_FETCHED", str(tmp_path / "fetched"))
    monkeypatch.setattr(followed, "RACY_NS", 0)
    (tmp_path / "a b [1]" / "more").mkdir(parents=True)
    for name in ("one.txt", "more/two.txt"):
        (tmp_path / "a b [1]" / name).write_text(name, encoding="utf-8")
    return tmp_path / "a b [1]"


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that were read."""
    names = []
    monkeypatch.setattr(followed, "file_sha256", lambda path: names.append(path.name) or file_sha256(path))
    return names


def look(*locations):
    index = HashIndex()
    found = content_hash(locations, index)
    index.save()
    return found


def test_a_file_is_followed_by_its_content_alone(folder):
    file = folder / "one.txt"
    assert look(str(file)) == f"{file_sha256(file)}\n"
    file.rename(folder / "other.txt")
    other = folder / "other.txt"
    assert look(str(other)) == look(other.as_uri()) == f"{file_sha256(other)}\n"


@pytest.mark.parametrize("change", ["content", "name", "new", "gone"])
def test_every_change_in_a_folder_is_noticed(folder, change):
    before, two = look(str(folder)), folder / "more" / "two.txt"
    if change == "content":
        two.write_text("more/TWO.txt", encoding="utf-8")  # as long as before
    elif change == "name":
        two.rename(folder / "more" / "three.txt")
    elif change == "new":
        (folder / "three.txt").touch()
    else:
        two.unlink()
    assert look(str(folder)) != before


def test_what_no_reader_reads_makes_no_difference(folder):
    before = look(str(folder))
    (folder / ".git").mkdir()
    (folder / ".git" / "index").write_text("x", encoding="utf-8")
    (folder / ".hidden").write_text("x", encoding="utf-8")
    (folder / "link").symlink_to(folder)  # in a circle
    (folder / "broken").symlink_to(folder / "nowhere")
    assert look(str(folder)) == before


def test_a_file_is_hashed_once_until_it_changes(folder, hashed):
    for _ in range(3):
        look(str(folder))
    assert sorted(hashed) == ["one.txt", "two.txt"]
    (folder / "one.txt").write_text("ONE.txt", encoding="utf-8")
    look(str(folder))
    assert sorted(hashed) == ["one.txt", "one.txt", "two.txt"]


def test_a_change_that_keeps_size_and_time_is_noticed(folder):
    """As `cp -p` or an unpacked archive make it."""
    file = folder / "one.txt"
    before, times = look(str(file)), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text("ONE.txt", encoding="utf-8")
    os.utime(file, ns=times)
    assert look(str(file)) != before


def test_a_file_just_written_is_not_remembered(folder, hashed, monkeypatch):
    """It may be written to again within the same tick of the file system's clock."""
    monkeypatch.setattr(followed, "RACY_NS", 10**12)
    for _ in range(2):
        look(str(folder / "one.txt"))
    assert hashed == ["one.txt", "one.txt"]


def test_a_damaged_memory_is_no_obstacle(folder):
    before = look(str(folder))
    HashIndex().path.write_text("{", encoding="utf-8")
    assert look(str(folder)) == before


@pytest.mark.parametrize(
    "location", [None, "https://example.org/a.csv", "owner/name", "s3://bucket/a", "./nowhere.txt"]
)
def test_what_is_not_on_this_machine_is_a_dash(folder, location):
    assert look(location) == "-\n"


def test_each_location_has_a_line(folder):
    assert look(None, str(folder / "one.txt")) == f"-\n{file_sha256(folder / 'one.txt')}\n"
    assert look() == "-\n"
