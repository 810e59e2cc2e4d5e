"""Fixtures that more than one test module needs."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


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
