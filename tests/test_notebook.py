"""The notebook as it is committed; .ci/run executes it where the preset `smoke` has run."""

import ast
import json
import re
from pathlib import Path

import pytest

TOUR = Path("notebooks/tour.ipynb")


@pytest.fixture
def cells(repository):
    """The cells of the tour."""
    return json.loads((repository / TOUR).read_text(encoding="utf-8"))["cells"]


def text(cell):
    return "".join(cell["source"])


def test_no_output_is_committed(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert all(cell["metadata"] == {} for cell in cells)


def test_a_word_to_the_reader_stands_before_the_code(cells):
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds[0] == "markdown" and kinds.count("markdown") >= kinds.count("code")


def test_the_cell_for_hosted_notebooks_says_that_nobody_tried_it(cells):
    hosted = next(i for i, cell in enumerate(cells) if "HOSTED, REPOSITORY = False" in text(cell))
    assert "nobody has tried that yet" in text(cells[hosted - 1])


def test_the_code_is_python_and_the_files_it_names_are_there(cells, repository):
    pages = re.findall(r"`((?:docs|notebooks)/[\w.]+)`", "\n".join(map(text, cells)))
    assert pages and all((repository / page).is_file() for page in pages)
    for cell in cells:
        if cell["cell_type"] == "code":
            ast.parse(text(cell))


def test_ci_executes_it(repository):
    assert f"jupyter execute {TOUR}" in (repository / ".ci/run").read_text(encoding="utf-8")
