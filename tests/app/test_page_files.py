"""What the files of the page may hold: no request elsewhere, nothing that the server's policy forbids, few lines."""

import re

import pytest

from llm.app.api import STATIC

FILES = sorted(STATIC.iterdir())
NAMESPACE = "http://www.w3.org/2000/svg"  # a name, which nothing fetches


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_of_the_page_names_another_host(path):
    assert "//" not in re.sub(r"(?m)^ *// .*| // .*", "", path.read_text(encoding="utf-8").replace(NAMESPACE, ""))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_page_is_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_text_of_a_model_cannot_become_markup_or_code(path):
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", path.read_text()
    )


def test_the_page_has_no_script_or_style_of_its_own():
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
