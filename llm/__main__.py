"""`python -m llm COMMAND`: the commands of llm/commands.py, and how each ends: in one line, whatever happens."""

import os
import sys
import traceback
from pathlib import Path

from llm.command_line import make_parser
from llm.failures import SAYS_ENOUGH, describe_error

LOG = Path("logs/llm.log")
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + the signal that ends other tools


def main(words: list[str] | None = None) -> int:
    """Run the command; its exit code, or 1 after a line that says what is wrong."""
    try:
        arguments = make_parser().parse_args(words)
        from llm.commands import run_command  # here: it imports packages that another environment has not

        code = run_command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # of `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written goes nowhere
        return PIPE_CLOSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        print(f"{sys.executable} has no {error.name}: run `make install`, then `. .venv/bin/activate`", file=sys.stderr)
    except Exception as error:
        print(describe_failure(error), file=sys.stderr)
    return 1


def describe_failure(error: Exception) -> str:
    """One line on what went wrong; of a defect the traceback is written to the log."""
    if isinstance(error, SAYS_ENOUGH):
        return describe_error(error)
    try:
        LOG.parent.mkdir(exist_ok=True)
        with LOG.open("a", encoding="utf-8") as log:
            traceback.print_exception(error, file=log)
        place = f"; the traceback is in {LOG}"
    except OSError:
        place = ""
    return f"{describe_error(error)}{place}"


if __name__ == "__main__":
    sys.exit(main())
