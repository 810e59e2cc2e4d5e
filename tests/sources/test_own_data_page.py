"""What docs/own_data.md shows is read as it says, and its example is as large as it says."""

import re
from pathlib import Path

import pytest

from llm.sources.local import Found, LocalConfig, local_data, local_dialogues, read_local
from llm.sources.masking import RULES
from tests.conftest import REPOSITORY
from tests.sources.broken_inputs import HTTP

PAGE = (REPOSITORY / "docs/own_data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^\*\*(\w+)\*\*:.*?^```(json|csv)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def config(location: Path) -> LocalConfig:
    return LocalConfig(str(location), None, None, "own", tuple(RULES))


@pytest.mark.parametrize(("form", "kind", "block"), BLOCKS, ids=[form for form, _, _ in BLOCKS])
def test_each_form_is_read_as_shown(form: str, kind: str, block: str, tmp_path: Path) -> None:
    file = tmp_path / {"json": "own.jsonl", "csv": "own.csv"}[kind]
    file.write_text(block, encoding="utf-8")
    found = Found()
    dialogues = list(local_dialogues(local_data(config(file), HTTP), config(file), "own", found))
    n_rows = len(block.splitlines()) - (kind == "csv")
    assert {met.name for met in found.forms.values()} == {form}
    assert (len(dialogues), found.counts["rows"]) == (n_rows, n_rows)


def test_every_form_is_shown() -> None:
    assert [form for form, _, _ in BLOCKS] == ["messages", "instruction", "pairs", "text"]


def test_the_example_is_whole() -> None:
    corpus = read_local(config(REPOSITORY / "docs/example"), "own", 100_000, HTTP)
    kinds = [dialogue.kind for dialogue in corpus.dialogues]
    assert (kinds.count("dialogue"), kinds.count("document")) == (156, 12)
    assert corpus.counts == {"rows": 157, "masked_email": 4}
