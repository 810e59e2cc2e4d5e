"""A small DVC pipeline of its own, whose outputs are other names of the objects in the cache."""

import random
import subprocess
import sys

import pytest

from stages.dvc_cache import drop_damaged_objects
from tests.chaos.damage import damage

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
PIPELINE = """
stages:
  count:
    cmd: mkdir -p out && seq 1000 > out/numbers
    deps: [start]
    outs: [out]
"""


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """The output of a pipeline that has run here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    (tmp_path / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "start").write_text("1", encoding="utf-8")
    dvc("init", "--no-scm", "-q")
    dvc("config", "cache.type", "hardlink,copy")
    dvc("repro", "-q")
    return tmp_path / "out/numbers"


def dvc(*words):
    return subprocess.run([sys.executable, "-m", "dvc", *words], check=True, capture_output=True, text=True).stdout


def test_whole_objects_stay(numbers):
    before = numbers.stat()
    assert drop_damaged_objects() == []
    after = numbers.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 2)


def test_what_another_dvc_is_copying_there_stays(numbers):
    half = numbers.parent.parent / ".dvc/cache/files/md5/ab/.half.tmp"
    half.parent.mkdir()
    half.write_bytes(b"half")
    assert drop_damaged_objects() == [] and half.exists()


@pytest.mark.parametrize("way", ["cut short", "with a bit turned"])
def test_a_damaged_object_is_dropped_and_its_stage_runs_again(numbers, caplog, way):
    whole = numbers.read_bytes()
    damage(numbers, way, random.Random(1), in_place=True)
    assert len(drop_damaged_objects()) == 1
    assert "of DVC's cache is damaged: it is removed, and its stage runs again" in caplog.text
    assert "Running stage 'count'" in dvc("repro")
    assert numbers.read_bytes() == whole


def test_without_that_dvc_gives_the_damaged_object_out(numbers):
    """The reason for it all: once this fails, DVC looks by itself."""
    numbers.chmod(0o644)
    numbers.write_bytes(b"1\n")
    numbers.chmod(0o444)
    numbers.unlink()
    assert "is cached - skipping run, checking out outputs" in dvc("repro")
    assert numbers.read_bytes() == b"1\n"


def test_an_object_that_cannot_be_read_is_named(numbers, tmp_path, caplog):
    folder = tmp_path / ".dvc/cache/files/md5/00"
    folder.mkdir()
    (folder / ("0" * 30)).symlink_to("nowhere")
    assert drop_damaged_objects() == []
    assert f"object {'0' * 32} of DVC's cache cannot be read (No such file or directory)" in caplog.text


def test_outside_a_repository_there_is_nothing_to_look_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert drop_damaged_objects() == []
