"""Logging of a stage, what it cost, and how it ends: exit code 0, 1 after a failure in one line, 130 interrupted."""

import hashlib
import json
import logging
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import Timeout
from tqdm.contrib.logging import logging_redirect_tqdm

from llm.failures import PlainFormatter, describe_error
from llm.files import file_sha256, hold_lock, lasting_folder
from stages import LOGS
from stages.recorded import advise

OURS = ("__main__", "llm", "stages")  # loggers heard from INFO on; libraries from WARNING on
INTERRUPTED = 130  # 128 + SIGINT: DVC must not take a half-made output for a finished one
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which the system counts a process's memory
COMPUTING = (  # packages that an environment names by version
    *("datasets", "ftfy", "matplotlib", "numpy", "peft", "pyarrow", "regex", "sacrebleu", "scipy", "tokenizers"),
    *("torch", "transformers"),
)
UNNOTICED = "two runs of this stage at once are not noticed here"

logger = logging.getLogger(__name__)


class LogFile(logging.FileHandler):
    """The end of a log file. Where it cannot be written, or not any more, the run goes on without it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.path, self.lost = path, False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, unless one before it could not be written."""
        if self.lost:
            return
        try:
            super().emit(record)
        except OSError:  # of opening; what writing raises comes to handleError by itself
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say so once on the console; logging itself would print a traceback for every line."""
        if not isinstance(error := sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        self.lost = True
        with suppress(OSError):
            self.close()
        logger.warning("%s cannot be written (%s): the log is on the console only", self.path, error.strerror)


def set_up_logging(name: str, folder: Path = LOGS) -> None:
    """Log short lines to the console, and lines with dates to the end of `<folder>/<name>.log`.

    Of several processes that torchrun started, the first logs; the others log errors only, with their tracebacks in
    files of their own.
    """
    rank, console = os.environ.get("RANK", "0"), logging.StreamHandler(sys.stderr)
    if rank == "0":
        file = LogFile(folder / f"{name}.log")
        console.setLevel(logging.INFO)
        console.setFormatter(PlainFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    else:
        file = LogFile(folder / f"{name}.process{rank}.log")
        file.addFilter(lambda record: record.exc_info is not None)
        console.setLevel(logging.ERROR)
        console.setFormatter(PlainFormatter(f"process {rank}: %(message)s"))
    file.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[console, file], force=True)
    for ours in OURS:
        logging.getLogger(ours).setLevel(logging.DEBUG)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it advises at length where HOME cannot be written
    with suppress(OSError):  # the file's first line tells
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def stage_lock(name: str, folder: Path = LOGS) -> Iterator[None]:
    """Hold the lock of the stage in this folder; of the processes that torchrun started, only the first takes it.

    Raises OSError when another process holds it: DVC, when it is killed, leaves its stage running, and two would mix
    their outputs.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    path = folder / f"{name}.lock"
    try:
        held = hold_lock(path)
    except Timeout:
        raise OSError("another process runs this stage here: wait for it or end it, then run again") from None
    except PermissionError as error:  # the folder is another user's
        logger.warning("%s cannot be locked (%s): %s", path, error.strerror, UNNOTICED)
        held = nullcontext()
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


def lines_above_bars() -> AbstractContextManager[None]:
    """Print log lines above bars meanwhile; only the first of several processes shows any, and tqdm forgets levels."""
    return logging_redirect_tqdm() if os.environ.get("RANK", "0") == "0" else nullcontext()


def metrics_to_restore() -> str:
    """How to get tracked metrics back, which DVC deletes before it runs a stage; "" where none is missing."""
    command = ["git", "ls-files", "--deleted", "--", "metrics"]
    try:
        missing = subprocess.run(command, capture_output=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):  # no git here
        missing = b""
    return "; `dvc repro` writes the missing metrics, `git checkout metrics` restores the old ones" if missing else ""


def place_of_traceback() -> str:
    """Where the traceback stands that was logged last; "" where there is no log file."""
    handlers = logging.getLogger().handlers
    places = [handler.path for handler in handlers if isinstance(handler, LogFile) and not handler.lost]
    return "".join(f"; the traceback is in {path}" for path in places)


@dataclass(frozen=True)
class Made:
    """What a stage made: files by whose content its cost is found again."""

    files: Sequence[Path]
    seconds: float = 0.0  # that it took over several processes, where that is known


def content_key(files: Sequence[Path]) -> str | None:
    """Name of the files' content; None where one is missing."""
    if not all(path.is_file() for path in files):
        return None
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()[:16]


def costs_file(stage: str) -> Path:
    """Where a stage's costs stand, a line for each time it ran: `.cost/`, or what TANDEM_COST names."""
    return lasting_folder(".cost", "TANDEM_COST") / f"{stage}.jsonl"


def record_cost(stage: str, seconds: float, made: Made) -> None:
    """Append what the run of a stage took. Where nothing can be written, its cost stays unknown.

    The memory of earlier processes that had a part in the work is not known.
    """
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    line = {
        "key": content_key(made.files),
        "seconds": round(max(seconds, made.seconds), 1),
        "peak_bytes": None if made.seconds > seconds else peak * MAXRSS_UNIT,
        "processor": processor_name(),
        "gpu": gpu_name(),
        "environment": environment(),
    }
    path = costs_file(stage)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        logger.warning("%s cannot be written (%s): what the stage cost is not kept", path, error.strerror)


def read_cost(stage: str, files: Sequence[Path]) -> dict[str, Any] | None:
    """What it took to make these very files: the longest run of all that ended with them; None: not measured here.

    A run that ended with the same bytes sooner answered from what an earlier one had kept.
    """
    key, path = content_key(files), costs_file(stage)
    if key is None or not path.is_file():
        return None
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # a process was killed, or the disk was full, in the middle of the line
            lines.append(json.loads(text))
    return max((line for line in lines if line["key"] == key), key=lambda line: line["seconds"], default=None)


def processor_name() -> str:
    """The processor's name for itself; its kind where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str | None:
    """The GPU that this process has computed on; None without one."""
    torch = sys.modules.get("torch")  # a stage that has not imported it has computed on none
    return torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else None


def environment() -> dict[str, object]:
    """What beside code, data and parameters decides the last digits of what this process computed.

    Of torch and of the packages that compute, only where this process has used them.
    """
    torch, kernels = sys.modules.get("torch"), sys.modules.get("llm.models.kernel_choice")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "capability": torch and torch.backends.cpu.get_cpu_capability(),
        "threads": torch and torch.get_num_threads(),
        "kernels": kernels and kernels.name_kernels(kernels.kernels_in_use()),
        "versions": {name: version(name) for name in COMPUTING if name in sys.modules},
    }


def run_stage(name: str, main: Callable[[], Made | None]) -> None:
    """Run a stage; raise SystemExit 1 after one line saying what to do when it fails, 130 when it is interrupted.

    The traceback stands in the log file only. What it cost is kept where `main` says what it made.
    """
    set_up_logging(name)
    started = time.monotonic()
    try:
        with stage_lock(name), sigterm_interrupts(), lines_above_bars():
            made = main()
    except KeyboardInterrupt as interruption:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C finds the process ending already
        signal.setitimer(signal.ITIMER_REAL, 0)  # so does one that was to come again
        told = str(interruption) or "run the same command again"
        logger.warning("%s interrupted: %s%s", name, told, metrics_to_restore())
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        logger.debug("where it happened", exc_info=True)
        line = describe_error(error), advise(name), place_of_traceback(), metrics_to_restore()
        logger.error("%s failed: %s%s%s%s", name, *line)
        raise SystemExit(1) from None
    seconds = time.monotonic() - started
    if made:
        record_cost(name, seconds, made)
    logger.info("%s done in %.1f s", name, seconds)
