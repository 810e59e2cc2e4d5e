"""Commands at work in a folder: started, met by signals, waited for, but not for ever."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

DEADLINE_S = 900.0  # the whole DAG takes 40 s on an idle machine
POLL_S = 0.02
STAGE = re.compile(r"-m stages\.(\w+)")


@dataclass(frozen=True)
class Ended:
    """A command and what became of it."""

    command: str
    code: int  # below 0: the signal by which it died
    output: str
    seconds: float
    hung: bool = False  # it had to be ended


def processes_in(folder: Path) -> list[psutil.Process]:
    """Living processes whose working directory is the folder or lies in it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def stages_in(folder: Path) -> list[psutil.Process]:
    """Those of them that are stages, or processes of a training, the oldest first."""
    found = []
    for process in processes_in(folder):
        with suppress(psutil.Error):
            if STAGE.search(" ".join(process.cmdline())) and process.name() != "bash":
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def send(processes: Sequence[psutil.Process], number: int) -> None:
    """Send a signal to those of them that are still there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_for_none(folder: Path) -> bool:
    """Wait until nobody works in the folder; False where the deadline came first, and all of them were ended."""
    end = time.monotonic() + DEADLINE_S
    while left := processes_in(folder):
        if time.monotonic() > end:
            send(left, signal.SIGKILL)
            return False
        time.sleep(0.1)
    return True


class Running:
    """A command that runs in a folder, with its processes in a group of their own."""

    def __init__(self, folder: Path, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.folder, self.command, self.log, self.started = folder, command, log, time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for_stage(self, seconds: float) -> None:
        """Wait until it, or a process of its, is a stage, and then so long; no longer than it runs."""
        while self.process.poll() is None and not stages_in(self.folder):
            time.sleep(POLL_S)
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Wait so long, no longer than it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def signal_group(self, number: int) -> None:
        """Send a signal to it and to all that it started, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def finish(self) -> Ended:
        """Wait for its end, at most until the deadline."""
        hung = False
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            hung = True
            send(processes_in(self.folder), signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        name = " ".join(word for word in self.command if word != sys.executable)
        return Ended(name, self.process.returncode, self.output, time.monotonic() - self.started, hung)
