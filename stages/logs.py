"""Logging of a stage, and how it ends: exit code 0, 1 for a refusal in one line, 130 for an interruption."""

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

LOGS = Path("logs")
OURS = ("__main__", "llm", "stages")  # loggers heard from INFO on; libraries from WARNING on
INTERRUPTED = 130  # 128 + SIGINT: DVC must not take a half-made output for a finished one

logger = logging.getLogger(__name__)


def set_up_logging(name: str, folder: Path = LOGS) -> None:
    """Nothing; the console has short lines, `<folder>/<name>.log` is appended to with dates.

    Of several processes that torchrun started, the first logs; the others tell errors only.
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


def run_stage(name: str, main: Callable[[], None]) -> None:
    """Nothing when the stage succeeds; else SystemExit 1 after a line saying what to do, 130 when interrupted.

    An error that no user can mend keeps its traceback; that of the others stands in the log file only.
    """
    set_up_logging(name)
    started = time.monotonic()
    try:
        with logging_redirect_tqdm():
            main()
    except KeyboardInterrupt:
        logger.warning("%s interrupted: run the same command again to go on", name)
        raise SystemExit(INTERRUPTED) from None
    except (ValueError, OSError) as error:
        logger.debug("where it happened", exc_info=True)
        logger.error("%s failed: %s", name, " ".join(str(error).split()))
        raise SystemExit(1) from None
    logger.info("%s done in %.1f s", name, time.monotonic() - started)
