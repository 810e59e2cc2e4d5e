"""Locks that the system releases when all processes that hold them have ended, however they end."""

import fcntl
import os
from pathlib import Path


class HeldLock:
    """A lock of a file, held by this process and by those that it hands the descriptor `file` to.

    filelock's locks are not handed on. Here a run that outlives its killed worker keeps the worker's locks, so that
    nobody begins the same trial beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, -1

    def take(self, wait: bool = False) -> bool:
        """Whether the lock is held now; False when another process holds it, unless told to wait."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self.file = file
        return True

    def release(self) -> None:
        """Let go of it; a process that it was handed to holds it still."""
        os.close(self.file)
        self.file = -1

    def __enter__(self) -> "HeldLock":
        self.take(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class JournalLock:
    """The lock of Optuna's journal, in the form that Optuna asks for.

    Optuna's own is a marker file, which a killed process leaves behind. A process that is killed while it writes also
    leaves half a line, after which Optuna reads the journal no more; that line is cut off by the next writer.
    """

    def __init__(self, journal: Path) -> None:
        self.journal, self.lock = journal, HeldLock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        """Wait for the lock, and mend the journal; True."""
        self.lock.take(wait=True)
        cut_torn_line(self.journal)
        return True

    def release(self) -> None:
        """Let go of the lock."""
        self.lock.release()


def cut_torn_line(path: Path) -> None:
    """Cut off what stands behind the file's last end of line."""
    with path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            file.seek(end - 1)
            if file.read(1) == b"\n":
                break
            end -= 1
        if end < size:
            file.truncate(end)
