"""One module per stage of the DAG in dvc.yaml; stages meet only through files."""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import llm  # noqa: F401  before a stage imports torch: it says how threads wait
from llm.failures import describe_error, keep_interruptions, log_traceback

LOCK = Path(__file__).parent.parent / "requirements.lock"
HEAVY = ("torch", "transformers")  # what another environment lacks, or has in a version that computes other numbers
LOGS = Path("logs")

# A stage draws into files. The backend that a notebook names for its own processes may not even be installed here.
os.environ["MPLBACKEND"] = "agg"


def check_interpreter(lock: Path = LOCK) -> None:
    """Raise SystemExit with one line unless this interpreter is the environment of requirements.lock.

    DVC starts `python` from PATH, which is another one unless the environment is activated.
    """
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    for name in HEAVY:
        try:
            found = version(name).partition("+")[0]  # 2.13.0+cpu is 2.13.0
        except PackageNotFoundError:
            found = "none"
        if found != pinned[name]:
            raise SystemExit(
                f"{sys.executable} has {name} {found}, requirements.lock {pinned[name]}: "
                "run `make install`, then `. .venv/bin/activate`"
            )


def end_in_one_line(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """Say how the stage ended where `run_stage` does not: a library that does not load, or Ctrl-C while one does."""
    name = started_stage() or "the stage"
    if issubclass(kind, KeyboardInterrupt):
        print(f"{name} interrupted: run the same command again", file=sys.stderr)
        return
    place = log_traceback(error, LOGS / f"{name}.log")
    print(f"{name} failed: {describe_error(error)}{place}", file=sys.stderr)


def started_stage() -> str | None:
    """The stage that this process is: `clean` of `python -m stages.clean`; None in a program that imports one."""
    started = re.search(r"\0-m\0stages\.(\w+)", "\0".join(sys.orig_argv))
    return started[1] if started else None


if started_stage():
    sys.excepthook = end_in_one_line
    keep_interruptions()
check_interpreter()
