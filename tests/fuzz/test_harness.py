"""What a harness takes for a finding: errors of others, lines that say nothing, limits that are met."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import harness
from tests.fuzz.harness import Finding, check, in_turn


@pytest.mark.parametrize(
    "raised",
    [
        KeyError("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
        RecursionError("x"),
        MemoryError(),
        OSError(5, "x"),
    ],
)
def test_an_error_that_the_project_did_not_write_is_a_finding(raised: Exception, tmp_path: Path) -> None:
    def read(_: bytes) -> None:
        raise raised

    with pytest.raises(Finding):
        check(read, b"")


def test_endless_memory_is_a_finding() -> None:
    with pytest.raises(Finding, match="MemoryError"):
        check(lambda _: print(len(bytearray(1 << 34))), b"")


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `raise` of this file is one of the project's."""
    monkeypatch.setattr(harness, "OURS", (f"{harness.ROOT}/tests/",))


def test_what_comes_behind_a_refusal_is_looked_at_too(ours: None) -> None:
    refuse, fail = raising(ValueError(WHY)), raising(KeyError("x"))
    with pytest.raises(Finding):
        check(lambda data: in_turn(lambda: refuse(data), lambda: fail(data)), b"")
    assert not check(lambda data: in_turn(lambda: refuse(data), lambda: None), b"")
    assert check(lambda data: in_turn(lambda: None), b"")


def raising(error: BaseException, cause: BaseException | None = None) -> Callable[[bytes], None]:
    """A parser that does so with every input."""

    def read(_: bytes) -> None:
        if cause is None:
            raise error
        try:
            raise cause
        except type(cause):
            raise error from None

    return read


WHY = "corpus.zip is no zip: get it again"


def test_a_line_with_a_cause_is_a_refusal(ours: None) -> None:
    assert not check(raising(ValueError(WHY)), b"")
    assert not check(raising(ValueError(f"{WHY} (offset 5)"), KeyError("offset 5")), b"")


@pytest.mark.parametrize("text", ["", " \n", "\x1b", "invalid", "bad input"])
def test_a_line_without_a_cause_is_a_finding(ours: None, text: str) -> None:
    with pytest.raises(Finding):
        check(raising(ValueError(text)), b"")


@pytest.mark.parametrize("again", [True, False])
def test_an_error_of_python_that_is_raised_again_is_a_finding(ours: None, again: bool) -> None:
    def read(data: bytes) -> None:
        try:
            int(data)
        except ValueError as error:
            if again:
                raise
            raise error

    with pytest.raises(Finding):
        check(read, b"no number, many words")


@pytest.mark.parametrize("own", ["", "error: "])
def test_the_words_of_a_library_alone_are_a_finding(ours: None, own: str) -> None:
    def read(data: bytes) -> None:
        try:
            json.loads(data)
        except ValueError as error:
            raise ValueError(f"{own}{error}") from None

    with pytest.raises(Finding):
        check(read, b'{"an unfinished"')


@pytest.mark.parametrize("text", [f"{WHY}\n{WHY}", f"{WHY} \x1b[2J", f"{WHY} \x9b2J", f"{WHY} \u202e", f"{WHY} \ud800"])
def test_what_a_terminal_is_shown_is_one_line_without_escapes(
    ours: None, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert not check(raising(ValueError(text)), b"")  # `describe_error` makes a line of it
    monkeypatch.setattr(harness, "describe_error", str)
    with pytest.raises(Finding):
        check(raising(ValueError(text)), b"")


@pytest.mark.parametrize("raised", [SystemExit(0), GeneratorExit(), pytest.skip.Exception("x")])
def test_a_parser_that_ends_the_process_is_a_finding(raised: BaseException) -> None:
    with pytest.raises(Finding):
        check(raising(raised), b"")


@pytest.mark.parametrize("met", [MemoryError(), OSError(12, "x"), OSError(27, "x"), RuntimeError("std::bad_alloc")])
def test_a_line_that_any_limit_brought_about_is_a_finding(ours: None, met: BaseException) -> None:
    with pytest.raises(Finding):
        check(raising(ValueError(WHY), met), b"")


def test_a_limit_behind_another_error_is_a_finding(ours: None) -> None:
    def read(_: bytes) -> None:
        try:
            raise MemoryError
        except MemoryError:
            raise ValueError(WHY) from KeyError("x")

    with pytest.raises(Finding):
        check(read, b"")


def test_a_file_without_end_is_a_finding(tmp_path: Path) -> None:
    def read(_: bytes) -> None:
        with (tmp_path / "unpacked").open("wb") as file:
            file.truncate(2 << 30)

    with pytest.raises(Finding):
        check(read, b"")


TAKING = """
from tests.fuzz import harness
harness.check(lambda _: len(bytearray(harness.MAX_BYTES + (64 << 20))), b"")
"""


def test_more_than_the_limit_of_memory_is_a_finding() -> None:
    """In a process of its own: one that has trained keeps what was freed, and may hold as much already."""
    done = subprocess.run([sys.executable, "-c", TAKING], cwd=harness.ROOT, capture_output=True, timeout=100)
    assert done.returncode == 1 and b"Finding: ?: MemoryError" in done.stderr


def test_limits_end_with_the_check() -> None:
    kinds = (harness.resource.RLIMIT_DATA, harness.resource.RLIMIT_FSIZE)
    before = [harness.resource.getrlimit(kind) for kind in kinds]
    check(lambda _: None, b"")
    assert [harness.resource.getrlimit(kind) for kind in kinds] == before
    assert harness.signal.getitimer(harness.signal.ITIMER_REAL) == (0, 0)


def test_a_hang_is_a_finding_whatever_the_parser_makes_of_the_alarm(
    ours: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "HANGS_S", 0.1)
    monkeypatch.setattr(harness, "AGAIN_S", 0.1)

    def swallow(data: bytes) -> None:
        for _ in range(3):  # rows that cannot be read are skipped
            try:
                time.sleep(5)
            except Exception:
                continue
        if data:
            raise ValueError(WHY)

    for data in (b"", b"refused"):
        with pytest.raises(Finding, match="still running"):
            check(swallow, data)


HANGING = """
import hashlib
from llm.app.answers import failure_json
from llm.app.catalogue import find_model
from tests.fuzz import harness, web
harness.HANGS_S = harness.ENDS_S = 0.3
harness.check(lambda _: hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1), b"")
"""


def test_a_hang_in_a_library_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], cwd=harness.ROOT, capture_output=True, timeout=100)
    assert done.returncode == 1 and b"Timeout" in done.stderr


BURNING = "sum(range(20_000_000))"


@pytest.mark.parametrize(
    "burn", [lambda: eval(BURNING), lambda: subprocess.run([sys.executable, "-c", BURNING], check=True)]
)
def test_processor_time_is_limited_in_other_processes_too(
    monkeypatch: pytest.MonkeyPatch, burn: Callable[[], object]
) -> None:
    monkeypatch.setattr(harness, "MAX_SECONDS", 0.1)
    with pytest.raises(Finding, match="of the processor"):
        check(lambda _: print(burn()), b"")


def test_a_line_that_a_limit_brought_about_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "OURS", (f"{harness.ROOT}/tests/",))

    def refuse(data: bytes) -> None:
        try:
            raise MemoryError if data else OSError
        except (MemoryError, OSError) as error:
            raise ValueError("it asks for more memory than there is") from error

    assert not check(refuse, b"")
    with pytest.raises(Finding):
        check(refuse, b"much")
