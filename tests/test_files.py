import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest
from filelock import Timeout

from llm.files import (
    code_hash,
    copy_file,
    hold_lock,
    lasting_folder,
    working_folder,
    write_bytes,
    write_together,
    write_whole,
)


@pytest.fixture
def old(tmp_path):
    """Three files of an earlier run, the last of them the seal."""
    paths = [tmp_path / name for name in ("a.json", "in/b.json", "in/seal.json")]
    for path in paths:
        write_bytes(path, b"old")
    return paths


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_the_new_ones_and_nothing_is_left_beside_them(old, tmp_path):
    write_together(dict.fromkeys(old, b"new"), old[2])
    assert contents(tmp_path) == dict.fromkeys(("a.json", "b.json", "seal.json"), b"new")


def test_an_end_between_two_files_leaves_no_seal(old, monkeypatch):
    rename = Path.replace

    def stop(self, target):
        if target == old[1]:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_together(dict.fromkeys(old, b"new"), old[2])
    assert (old[0].read_bytes(), old[1].read_bytes()) == (b"new", b"old")
    assert not old[2].exists()


def test_a_disk_that_fills_halfway_changes_no_file(old, tmp_path, monkeypatch):
    sync = os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_size > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"b\.json cannot be written \(No space left on device, 5 bytes\): make room"):
        write_together({old[0]: b"new", old[1]: b"large", old[2]: b"new"}, old[2])
    assert contents(tmp_path) == dict.fromkeys(("a.json", "b.json", "seal.json"), b"old")


def test_a_folder_that_may_not_be_written_to_needs_no_room(tmp_path, monkeypatch):
    def forbidden(descriptor):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", forbidden)
    with pytest.raises(OSError, match=r"\(Read-only file system, 3 bytes\): see to its permissions"):
        write_bytes(tmp_path / "a", b"new")


def test_a_file_whose_size_nobody_knows_beforehand_is_whole_or_not_there(tmp_path):
    with write_whole(tmp_path / "in" / "a") as file:
        file.write(b"half")
        assert not (tmp_path / "in/a").exists()
        file.write(b" and half")
    assert contents(tmp_path) == {"a": b"half and half"}


def test_a_disk_that_fills_while_a_file_is_written_leaves_the_old_one(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with (
        pytest.raises(OSError, match=r"a cannot be written \(No space left on device\): make room"),
        write_whole(tmp_path / "a") as file,
    ):
        file.write(b"new")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert contents(tmp_path) == {"a": b"old"}


def test_a_copy_has_the_bytes_of_its_source(tmp_path):
    data = os.urandom(100_000)
    (tmp_path / "a").write_bytes(data)
    copy_file(tmp_path / "a", tmp_path / "in" / "b")
    assert (tmp_path / "in/b").read_bytes() == data
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["b"]


def test_comments_and_docstrings_do_not_change_the_code_hash(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    bodies = {
        "plain": "def f(x):\n    return x + 1\n",
        "told": '"""Module."""\n\ndef f(x):\n    """Sum."""  # why\n    return x + 1\n',
        "other": "def f(x):\n    return x + 2\n",
    }
    for name, body in bodies.items():
        (tmp_path / f"hashed_{name}.py").write_text(body, encoding="utf-8")
    plain, told, other = (code_hash([f"hashed_{name}"]) for name in bodies)
    assert plain == told != other


def test_a_lasting_folder_of_a_dvc_experiment_is_the_repository_s_own(tmp_path, monkeypatch):
    monkeypatch.delenv("TANDEM_STATE", raising=False)
    experiment = tmp_path / ".dvc" / "tmp" / "exps" / "tmp1234"
    experiment.mkdir(parents=True)
    for folder in (experiment, tmp_path):
        monkeypatch.chdir(folder)
        assert lasting_folder(".train_state", "TANDEM_STATE") == tmp_path / ".train_state"
    monkeypatch.setenv("TANDEM_STATE", str(tmp_path / "elsewhere"))
    assert lasting_folder(".train_state", "TANDEM_STATE") == tmp_path / "elsewhere"


def fail(reason):
    raise OSError(reason, os.strerror(reason))


def fail_to_sync_folders(monkeypatch, reason):
    sync = os.fsync

    def sync_files_only(number):
        fail(reason) if stat.S_ISDIR(os.fstat(number).st_mode) else sync(number)

    monkeypatch.setattr(os, "fsync", sync_files_only)


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_syncs_no_folders_ends_no_run(old, tmp_path, monkeypatch, reason):
    """As SMB and some of FUSE."""
    fail_to_sync_folders(monkeypatch, reason)
    write_together(dict.fromkeys(old, b"new"), old[2])
    assert contents(tmp_path) == dict.fromkeys(("a.json", "b.json", "seal.json"), b"new")


def test_a_folder_that_cannot_be_synced_for_another_reason_is_an_error(old, monkeypatch):
    fail_to_sync_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write_together(dict.fromkeys(old, b"new"), old[2])


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.parametrize("wait", [True, False])
def test_a_file_system_without_locks_is_told_in_a_line_and_ends_no_run(tmp_path, monkeypatch, caplog, reason, wait):
    """As Lustre without its option flock, and NFS without lockd."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: fail(reason))
    with hold_lock(tmp_path / "lock", wait), hold_lock(tmp_path / "lock", wait):
        pass
    (first, _) = caplog.messages
    assert first == f"{tmp_path}/lock: no locks here ({os.strerror(reason)}): two runs at once are not noticed"


def test_a_lock_that_cannot_be_taken_for_another_reason_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        hold_lock(tmp_path / "lock")


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    with hold_lock(tmp_path / "lock"), pytest.raises(Timeout):
        hold_lock(tmp_path / "lock")
    with hold_lock(tmp_path / "lock"):
        pass


def test_a_working_folder_is_empty_and_goes_also_after_a_killed_process_or_an_error(tmp_path):
    left = tmp_path / "room/half.bin"
    left.parent.mkdir()
    left.write_bytes(b"half")
    with working_folder(left.parent) as room:
        assert list(room.iterdir()) == []
        (room / "new.bin").write_bytes(b"new")
    with pytest.raises(OSError, match="wrong"), working_folder(tmp_path / "deep/room"):
        raise OSError("wrong")
    assert list(tmp_path.rglob("*")) == [tmp_path / "deep"]
