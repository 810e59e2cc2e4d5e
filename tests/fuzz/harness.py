"""What a parser may do with foreign bytes: read them, or refuse them in a line that the project wrote.

Anything else is a finding: an error of a library, of Python or of the machine, more than MAX_SECONDS, more than
MAX_BYTES of memory.
"""

import atexit
import dis
import errno
import faulthandler
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType

from llm.failures import SAYS_ENOUGH, describe_error, is_out_of_memory, printable
from tests.hostile import steering

ROOT = Path(__file__).resolve().parents[2]
OURS = (f"{ROOT}/llm/", f"{ROOT}/stages/")
RAISING = {dis.opmap["RAISE_VARARGS"]}
MAX_SECONDS = 5.0  # of the processor, for inputs of a few kilobytes; a loaded machine counts none of its waiting
HANGS_S = 60  # by the clock
AGAIN_S = 5  # after which a parser that took the alarm for an error of its input gets the next
ENDS_S = 30  # after the alarm, where no Python runs that it could reach, the process ends
MAX_BYTES = 1 << 30  # beside what the process held before; also of a file
OWN_WORDS = 3  # of a refusal, beside what it passes on of other errors

Read = Callable[[bytes], None]


@dataclass(frozen=True)
class Harness:
    """A parser, handed bytes as they would reach it, and whole inputs to begin from."""

    read: Read
    seeds: Callable[[], list[bytes]]


class Finding(AssertionError):
    """What a parser should not have done with its input."""


def check(read: Read, data: bytes) -> bool:
    """Whether the bytes were read; False where they were refused as they should be. Raises Finding."""
    started = processor_seconds()
    try:
        with bounded():
            read(data)
        whole = True
    except Exception as error:
        if isinstance(error, Finding) or not is_told(error):
            raise Finding(f"{where(error)}: {type(error).__name__}: {str(error)[:300]}") from error
        whole = False
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit would end the fuzzing as if nothing were wrong; Rust's PanicException
        raise Finding(f"{where(error)}: {type(error).__name__}: {str(error)[:300]}") from None
    if (seconds := processor_seconds() - started) > MAX_SECONDS:
        raise Finding(f"{getattr(read, '__name__', read)}: {seconds:.0f} s of the processor")
    return whole


def processor_seconds() -> float:
    """What this process and those that it started and waited for have computed."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def is_told(error: BaseException) -> bool:
    """Whether the error is a line for users: raised by a statement of the project, and not because a limit was met."""
    met = any(_meets_limit(one) for one in _chain(error))  # the machine at large has no such limit
    return isinstance(error, SAYS_ENOUGH) and _raised_by_us(error.__traceback__) and not met and _says_why(error)


def in_turn(*reads: Callable[[], object]) -> None:
    """Make every call, also behind one that refused its input as it should; at the end raise the last refusal."""
    refusal = None
    for read in reads:
        try:
            read()
        except Exception as error:
            if not is_told(error):
                raise
            refusal = error
    if refusal is not None:
        raise refusal


def _meets_limit(error: BaseException) -> bool:
    too_big = isinstance(error, OSError) and error.errno == errno.EFBIG
    return isinstance(error, Finding) or is_out_of_memory(error) or too_big


def _says_why(error: BaseException) -> bool:
    """Whether a terminal is shown one line, and more in it than the words of a library."""
    line, own = describe_error(error), printable(str(error))
    for passed_on in [str(one) for one in _chain(error) if not _raised_by_us(one.__traceback__)]:
        own = own.replace(printable(passed_on), " ") if passed_on else own
    return len(re.findall(r"\w+", own)) >= OWN_WORDS and len(line.splitlines()) == 1 and not steering(line)


def _chain(error: BaseException) -> list[BaseException]:
    """The error, those that it was raised from, and those that were being handled, each once."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.append(one)
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
    return found


def _last(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _raised_by_us(traceback: TracebackType | None) -> bool:
    """Whether it comes from a `raise` in the project's own files, and not out of something that they called."""
    last = _last(traceback)
    if last is None:
        return False
    code = last.tb_frame.f_code
    return code.co_filename.startswith(OURS) and code.co_code[last.tb_lasti] in RAISING


def where(error: BaseException) -> str:
    """The project's line that was on the way to the error, nearest to it: what tells findings apart."""
    place, traceback = "?", error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if name.startswith(OURS):
            place = f"{name.removeprefix(f'{ROOT}/')}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


@contextmanager
def bounded() -> Iterator[None]:
    """Let no more memory be taken, and no more time pass, than a small input may cost."""
    rung = []

    def ring(_: int, __: FrameType | None) -> None:
        rung.append(HANGS_S)
        raise Finding(f"still running after {HANGS_S} s")

    kinds = {resource.RLIMIT_DATA: _data_bytes() + MAX_BYTES, resource.RLIMIT_FSIZE: MAX_BYTES}
    limits = {kind: resource.getrlimit(kind) for kind in kinds}
    for kind, most in kinds.items():
        resource.setrlimit(kind, (most if limits[kind][0] < 0 else min(most, limits[kind][0]), limits[kind][1]))
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANGS_S, AGAIN_S)
    faulthandler.dump_traceback_later(HANGS_S + ENDS_S, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
        for kind, limit in limits.items():
            resource.setrlimit(kind, limit)
        if rung:  # whatever the parser made of it
            raise Finding(f"still running after {HANGS_S} s")


def _data_bytes() -> int:
    """What counts towards RLIMIT_DATA."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    return pages * resource.getpagesize()


@cache
def scratch() -> Path:
    """A folder of this process to put inputs into, in memory where there is such a disk; it ends with the process."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz_", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def placed(name: str, data: bytes) -> Path:
    """A file of that name with these bytes."""
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
