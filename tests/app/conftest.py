"""Models to talk to, made once for all test modules of this room."""

import pytest

from llm.app.catalogue import find_model, watch_models
from tests.app.browsing import browser, opened, served, write_three_models
from tests.app.served import serving
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


@pytest.fixture(scope="session")
def static(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "static"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>page</title>", encoding="utf-8")
    (folder / "page.js").write_text("'use strict'", encoding="utf-8")
    (folder.parent / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    return folder


@pytest.fixture(scope="session")
def server(models, static):
    with serving(watch_models(models), static) as (served, port):
        yield served, port


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server[1]}"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_three_models(folder)
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")  # no longer: its event loop is in the way of others
def launched():
    with browser() as launched:
        yield launched


@pytest.fixture
def page(launched, address):
    with opened(launched, address) as page:
        yield page
