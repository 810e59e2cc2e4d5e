"""What an error says to a person: in one line, without secrets, and fit for a terminal, as all words of strangers.

And where its traceback goes, whether it says that memory ran out, and that no interruption is lost.
"""

import errno
import logging
import re
import signal
import sys
import traceback
import unicodedata
from pathlib import Path

# In torch's RuntimeErrors of CUDA and MPS, of its libraries (cuBLAS, cuDNN, cuSOLVER, cuSPARSE: CUBLAS_STATUS_...), of
# its own allocator on a CPU, of C++ and of oneDNN, which gives no reason; in the ImportErrors of a library's loader.
SIGNS = (
    *("out of memory", "_STATUS_ALLOC_FAILED", "DefaultCPUAllocator", "bad_alloc", "could not create a primitive"),
    *("failed to map segment", "Cannot allocate memory"),
)
# In torch's RuntimeErrors of gloo and NCCL when another process of the same training is gone.
LOST = ("third_party/gloo", "Connection closed by peer", "ncclRemoteError", "NCCL communicator was aborted")
SAYS_ENOUGH = (ValueError, OSError)  # what a user can mend says so itself; of all others the type is told as well
MAX_CHARS = 500  # of another error's message: that of a compiler fills pages
MAX_TOLD = 4000  # of one that says enough: it may name a value of a file, which may be as long as that
MAX_ADVICE = 1000  # of these at the end, where it says what to do
AGAIN_S = 0.05  # until an interruption that was dropped comes again
KEPT = "\n\t"  # of the control characters
# A quotation mark ends a URL where no word follows it: a password may hold one.
_URL = re.compile(r"\w[\w+.-]*://(?:(?!['\"](?:[\s,;:.)\]}]|$))[^\s<>])+")
_LONG = re.compile(r"(\S{100})\S{300,}(\S{20})")  # a name or value of a file without a space in it
_MISTYPED = re.compile(r"[^/?#@]*:(?!\d*[/?#])[^@]*@")  # user and password, the latter with one of /?# as it is


def printable(text: str) -> str:
    r"""The text without control and format characters, so also without the escapes of terminals, and half characters.

    >>> printable("a\x1b[31mb\u202ec\n")
    'a[31mbc\n'
    """
    return "".join(c for c in text if c in KEPT or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))


class PlainFormatter(logging.Formatter):
    """Log lines, tracebacks too, that hold no secret of a URL and nothing that steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return printable(without_secrets(super().format(record)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on whichever device."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in SIGNS)


def is_lost_process(error: BaseException) -> bool:
    """Whether an error means that another process of the same training ended, or cannot be reached."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in LOST)


def without_secrets(text: str) -> str:
    """The text, its URLs without user, password and query: what stands there may open what only its owner may have.

    >>> without_secrets("https://ann:secret@example.org/a.zip?token=secret is away")
    'https://example.org/a.zip?... is away'
    """
    return _URL.sub(lambda url: open_part(url[0]), text)


def open_part(url: str) -> str:
    """What may be shown of one URL.

    >>> open_part("https://ann:se/cr'et@example.org/a.zip?token=secret")
    'https://example.org/a.zip?...'
    """
    scheme, _, rest = url.partition("://")
    rest = rest.rpartition("@")[2] if _MISTYPED.match(rest) else rest
    place, query, _ = re.split(r"([?#])", rest, maxsplit=1) if re.search(r"[?#]", rest) else (rest, "", "")
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{query and query + '...'}"


def describe_error(error: BaseException) -> str:
    """What an error says, in one line that a terminal can show, and without the secrets of URLs."""
    text = _LONG.sub(r"\1...\2", printable(without_secrets(" ".join(str(error).split()))))
    short = _shortened(text, MAX_CHARS)
    named = f"{type(error).__name__}: {short}" if short else type(error).__name__
    if is_out_of_memory(error):
        return f"out of memory ({named}): close other programs, or raise what `ulimit -v` or the container allows"
    if is_lost_process(error):
        return f"another process of this training ended or cannot be reached ({named}): run the same command again"
    return _shortened(text, MAX_TOLD, MAX_ADVICE) if isinstance(error, SAYS_ENOUGH) and text else named


def _shortened(text: str, most: int, last: int = 0) -> str:
    """At most so many characters of the text, the last ones among them, and dots for the others."""
    if len(text) <= most:
        return text
    return f"{text[: most - last]} ... {text[len(text) - last :]}".rstrip()


def log_traceback(error: BaseException, path: Path) -> str:
    """Write the traceback to the end of the log; how a line names its place, "" where it cannot be written."""
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(printable(without_secrets("".join(traceback.format_exception(error)))))
    except OSError:
        return ""
    return f"; the traceback is in {path}"


def keep_interruptions() -> None:
    """Let Ctrl-C and SIGTERM that fall into a destructor, where Python drops what is raised, come again soon after."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _interrupt_again


def _interrupt_again(dropped: "sys.UnraisableHookArgs") -> None:
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    else:
        sys.__unraisablehook__(dropped)
