"""Inputs of every kind, a few of each: read, or refused in a line of the project's own."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import harness
from tests.fuzz.edits import edited
from tests.fuzz.harness import Finding, check
from tests.fuzz.harnesses import NAMES, find_harness
from tests.fuzz.web import close

SLOW = {"gguf": 4, "hub_tokenizer": 6, "hub_config": 6, "hub_weights": 6, "params": 12, "body": 12, "request": 12}
EXAMPLES = 20
SETTINGS = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck], report_multiple_bugs=False
)


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    yield
    close()


@pytest.mark.parametrize("name", NAMES)
def test_whole_inputs_are_read(name: str) -> None:
    harness = find_harness(name)
    assert any(check(harness.read, seed) for seed in harness.seeds())


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_are_read_or_refused_in_a_line_of_the_project(name: str) -> None:
    harness = find_harness(name)
    seeds = harness.seeds()
    changed = st.builds(lambda seed: edited(seeds, random.Random(seed)), st.integers(0, 2**32))

    @settings(SETTINGS, max_examples=SLOW.get(name, EXAMPLES))
    @given(st.one_of(changed, changed, st.binary(max_size=60)))
    def hold(data: bytes) -> None:
        check(harness.read, data)

    hold()


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
        check(lambda _: print(len(bytearray(1 << 31))), b"")


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
