"""Fixtures that more than one test module needs."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

import llm  # noqa: F401  before a test imports torch: it says how threads wait

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several that share the processors
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.clone import AUTHOR
from tests.machines.doubles import MACHINES, Machine, pretended

os.environ |= AUTHOR  # a new machine's git knows nobody, and DVC makes no experiment for nobody

NUMBERS = count()
REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file comes first, so that one worker runs it while the others run the rest."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


@pytest.fixture(autouse=True)
def nothing_fetched_before(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a test fetches, it fetches itself, and keeps where no other test looks."""
    monkeypatch.setenv("TANDEM_FETCHED", str(tmp_path_factory.getbasetemp() / f"fetched{next(NUMBERS)}"))


@pytest.fixture(params=MACHINES, ids=str)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Each row of the table of kernels, machines that are not in it, and another device."""
    with pretended(request.param) as machine:
        yield machine


@pytest.fixture
def repository() -> Path:
    """The checkout the tests run in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped where the environment names none."""
    folder = os.environ.get("TANDEM_TEST_DATA")
    if not folder:
        pytest.skip("TANDEM_TEST_DATA names no folder of real data")
    return Path(folder)
