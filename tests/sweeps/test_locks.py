"""Locks that outlive no process, and a journal that outlives a kill."""

import subprocess
import sys

from llm.sweeps.locks import HeldLock, JournalLock, cut_torn_line


def test_a_lock_is_held_until_the_last_process_that_it_was_handed_to_has_ended(tmp_path):
    mine, others = HeldLock(tmp_path / "lock"), HeldLock(tmp_path / "lock")
    assert mine.take()
    run = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[mine.file]
    )
    mine.release()  # as when the worker is killed
    assert not others.take()
    run.communicate(b"\n")
    assert others.take()
    others.release()


def test_a_line_that_a_killed_process_left_half_is_cut_off(tmp_path):
    journal = tmp_path / "journal.log"
    for content, kept in ((b'{"a":1}\n{"b"', b'{"a":1}\n'), (b'{"a"', b""), (b"", b""), (b"1\n", b"1\n")):
        journal.write_bytes(content)
        lock = JournalLock(journal)
        lock.acquire()
        assert journal.read_bytes() == kept
        lock.release()
    cut_torn_line(journal)
    assert journal.read_bytes() == b"1\n"
