"""Models to talk to, made once for all test modules of this room."""

import pytest

from llm.app.catalogue import find_model
from tests.app.small_project import write_models


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project") / "models"
    write_models(folder)
    return folder


@pytest.fixture(scope="session")
def scratch(models):
    return find_model("scratch", models).load()


@pytest.fixture(scope="session")
def base(models):
    return find_model("base", models).load()
