"""torchrun, ending as a stage does: in a line at most, without a traceback. Its processes have said what was wrong."""

import logging
import signal
import sys

INTERRUPTED = 130  # exit code of a stage that was interrupted (stages/logs.py)


def main() -> None:
    """Run torchrun with this process's arguments.

    Raises SystemExit 130 when it or one of its processes was interrupted, 1 when one failed; one that was killed, or
    interrupted while it was loaded, could say nothing, so that is said here.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until torchrun is loaded, and catches both itself
    try:
        _run()
    except KeyboardInterrupt:
        _end("torchrun interrupted: run the same command again", INTERRUPTED)


def _run() -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.ERROR)  # it logs the end of each process in many lines
    try:
        torchrun()
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        killed = [-code for code in codes if code < 0 and -code != signal.SIGTERM]  # torchrun itself ends by SIGTERM
        if killed:
            name = signal.Signals(killed[0]).name
            _end(f"a process of the training was ended by {name}: run the same command again", 1)
        raise SystemExit(INTERRUPTED if INTERRUPTED in codes else 1) from None


def _end(told: str, code: int) -> None:
    print(told, file=sys.stderr)
    raise SystemExit(code) from None


if __name__ == "__main__":
    main()
