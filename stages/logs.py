"""Logging of a stage, and how it ends: exit code 0, 1 for a refusal in one line, 130 for an interruption."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout
from tqdm.contrib.logging import logging_redirect_tqdm

from llm.files import file_lock

LOGS = Path("logs")
OURS = ("__main__", "llm", "stages")  # loggers heard from INFO on; libraries from WARNING on
INTERRUPTED = 130  # 128 + SIGINT: DVC must not take a half-made output for a finished one

logger = logging.getLogger(__name__)


def set_up_logging(name: str, folder: Path = LOGS) -> None:
    """Log short lines to the console, and lines with dates to the end of `<folder>/<name>.log`.

    Of several processes that torchrun started, the first logs; the others log errors only.
    """
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        logging.basicConfig(level=logging.ERROR, format=f"process {rank}: %(message)s", force=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    console, file = logging.StreamHandler(sys.stderr), logging.FileHandler(folder / f"{name}.log", encoding="utf-8")
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[console, file], force=True)
    for ours in OURS:
        logging.getLogger(ours).setLevel(logging.DEBUG)


@contextmanager
def stage_lock(name: str, folder: Path = LOGS) -> Iterator[None]:
    """Hold the lock of the stage in this folder; of the processes that torchrun started, only the first takes it.

    Raises OSError when another process holds it: DVC, when it is killed, leaves its stage running, and two would mix
    their outputs.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    try:
        held = file_lock(folder / f"{name}.lock").acquire(blocking=False)
    except Timeout:
        raise OSError("another process runs this stage here: wait for it or end it, then run again") from None
    with held:
        yield


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM, by which Slurm and other programs end a process, raise KeyboardInterrupt as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_stage(name: str, main: Callable[[], None]) -> None:
    """Run a stage; raise SystemExit 1 after a line saying what to do when it fails, 130 when it is interrupted.

    An error that no user can mend keeps its traceback; that of the others stands in the log file only.
    """
    set_up_logging(name)
    started = time.monotonic()
    try:
        with stage_lock(name), sigterm_interrupts(), logging_redirect_tqdm():
            main()
    except KeyboardInterrupt as interruption:
        logger.warning("%s interrupted: %s", name, str(interruption) or "run the same command again")
        raise SystemExit(INTERRUPTED) from None
    except (ValueError, OSError) as error:
        logger.debug("where it happened", exc_info=True)
        logger.error("%s failed: %s", name, " ".join(str(error).split()))
        raise SystemExit(1) from None
    logger.info("%s done in %.1f s", name, time.monotonic() - started)
