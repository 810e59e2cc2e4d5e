"""Zip files: members found wherever they lie, and one line for whatever is wrong."""

import io
import stat
import zipfile
import zlib
from pathlib import Path

import pytest

from llm.fetching.download import DownloadError
from llm.fetching.zips import read_zip


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_zip_members_are_found_in_any_folder_but_the_macos_one(tmp_path):
    path = make_zip(tmp_path / "z", {"a corpus/lines.txt": b"1", "__MACOSX/a corpus/lines.txt": b"2", "x": b"3"})
    assert read_zip(path, ["lines.txt"]) == {"lines.txt": b"1"}


def test_a_missing_zip_member_is_named_with_what_is_there(tmp_path):
    with pytest.raises(DownloadError, match=r"holds no lines\.txt, only other\.txt"):
        read_zip(make_zip(tmp_path / "z", {"other.txt": b"1"}), ["lines.txt"])


@pytest.mark.parametrize("name", ["../up.txt", "a/../../up.txt", "/etc/up.txt", "C:/up.txt", "a\\..\\..\\up.txt"])
def test_a_zip_member_that_points_outside_is_refused(tmp_path, name):
    with pytest.raises(DownloadError, match="points outside"):
        read_zip(make_zip(tmp_path / "z", {name: b"1"}), ["up.txt"])


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("lines.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match="symbolic link"):
        read_zip(tmp_path / "z", ["lines.txt"])


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(tmp_path):  # 10 MB of zeros pack about 1,000 times
    with pytest.raises(DownloadError, match="zip bomb"):
        read_zip(make_zip(tmp_path / "z", {"lines.txt": bytes(10_000_000)}), ["lines.txt"])


def test_a_damaged_zip_is_refused(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("lines.txt", b"some text " * 100)
    (tmp_path / "z").write_bytes(packed.getvalue().replace(b"some", b"sane", 1))
    with pytest.raises(DownloadError, match="not a whole zip file"):
        read_zip(tmp_path / "z", ["lines.txt"])
    (tmp_path / "z").write_bytes(packed.getvalue()[:500])
    with pytest.raises(DownloadError, match="not a whole zip file"):
        read_zip(tmp_path / "z", ["lines.txt"])


def test_two_members_of_one_name_are_refused(tmp_path):
    path = make_zip(tmp_path / "z", {"a/lines.txt": b"1", "b/lines.txt": b"2", "c/other.txt": b"3"})
    with pytest.raises(
        DownloadError, match=r"2 files named lines\.txt \(a/lines\.txt, b/lines\.txt\): leave the right"
    ):
        read_zip(path, ["lines.txt"])
    assert read_zip(path, ["other.txt"]) == {"other.txt": b"3"}


def test_a_member_written_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "z", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("lines.txt", b"1")
        archive.writestr("lines.txt", b"2")
    with pytest.raises(DownloadError, match="2 files named"):
        read_zip(tmp_path / "z", ["lines.txt"])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_whatever_byte_is_wrong_the_members_are_right_or_it_is_one_line(tmp_path, method):
    content = bytes(range(97, 123)) * 3
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("a/lines.txt", content)
    path, refused = tmp_path / "z", 0
    for position in range(len(packed.getvalue())):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(packed.getvalue())
            damaged[position] ^= flip
            path.write_bytes(damaged)
            try:
                assert read_zip(path, ["lines.txt"]) == {"lines.txt": content}
            except DownloadError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > len(content)


def test_an_unknown_compression_says_what_to_do(tmp_path):
    path = make_zip(tmp_path / "z", {"lines.txt": b"some text " * 9})
    entry, directory = b"PK\x03\x04\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x00\x00"
    packed = path.read_bytes()
    for head in (entry, directory):  # then comes the method: 9 is deflate64
        packed = packed.replace(head + b"\x08\x00", head + b"\x09\x00")
    path.write_bytes(packed)
    with pytest.raises(DownloadError, match=r"unknown compression, or one without bound \(method 9\): .*pack it again"):
        read_zip(path, ["lines.txt"])


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_what_is_no_zip_is_one_line(tmp_path, content):
    (tmp_path / "z").write_bytes(content)
    with pytest.raises(DownloadError, match="not a whole zip file"):
        read_zip(tmp_path / "z", ["lines.txt"])


@pytest.mark.parametrize("name", ["method9.zip", "wrong_byte.zip"])
def test_a_reported_bad_zip_is_one_line(real_data, name):
    with pytest.raises(DownloadError, match=r"not a whole zip file|unknown compression"):
        read_zip(real_data / "reports" / "06-bad-zip" / name, ["movie_lines.txt", "movie_conversations.txt"])


def test_a_member_without_a_name_is_one_line(tmp_path):
    path = make_zip(tmp_path / "z", {"x": b"1", "lines.txt": b"2"})
    packed = path.read_bytes()
    directory = packed.index(b"PK\x01\x02")
    entry = packed[directory : directory + 47]
    nameless = entry[:28] + b"\0\0" + entry[30:46]  # the name is no byte long
    path.write_bytes(
        packed[:directory] + nameless + packed[directory + 47 : -6] + (directory).to_bytes(4, "little") + b"\0\0"
    )
    with pytest.raises(DownloadError, match="not a whole zip file"):
        read_zip(path, ["lines.txt"])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_may_unpack_to_more_than_it_claims_is_refused(tmp_path, method):
    path, claimed, real = tmp_path / "z", bytes(1000), bytes(8 << 20)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("lines.txt", real)
        archive.filelist[0].file_size, archive.filelist[0].CRC = len(claimed), zlib.crc32(claimed)  # in its directory
    with pytest.raises(DownloadError, match=r"packs 'lines\.txt' in an unknown compression, or one without bound"):
        read_zip(path, ["lines.txt"])
