"""The project's own items, and what is refused in them."""

import json
import re

import pytest

from llm.sources.curated import read_curated

GOOD = {"id": "a-001", "topic": "training", "turns": ["What is a loss?", "A number that says how wrong it was."]}


def write(path, *items):
    path.write_text("\n".join(json.dumps(item) for item in items) + "\n", encoding="utf-8")
    return path


def test_an_item_is_a_dialogue_and_its_own_group(tmp_path):
    longer = {**GOOD, "id": "a-002", "turns": ["a?", "b.", "c?", "d."]}
    corpus = read_curated(write(tmp_path / "eli5.jsonl", GOOD, longer), "eli5")
    assert [d.id for d in corpus.dialogues] == [d.group for d in corpus.dialogues] == ["curated-a-001", "curated-a-002"]
    assert corpus.dialogues[1].turns == ("a?", "b.", "c?", "d.")
    assert corpus.dialogues[0].source == "eli5"
    assert corpus.location == "eli5.jsonl"
    assert corpus.counts == {"rows": 2}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"id": "x", "turns": ["a", "b"]}, 'an item is {"id", "topic", "turns"}'),
        ({**GOOD, "note": "x"}, 'an item is {"id", "topic", "turns"}'),
        (["a", "b"], 'an item is {"id", "topic", "turns"}'),
        ({**GOOD, "id": ""}, "id and topic are texts"),
        ({**GOOD, "topic": 3}, "id and topic are texts"),
        ({**GOOD, "turns": "a"}, "is a list of texts"),
        ({**GOOD, "turns": ["a", " "]}, "none of them empty"),
        ({**GOOD, "turns": ["a"]}, "has 1 turns"),
        ({**GOOD, "turns": ["a", "b", "c"]}, "the assistant comes last"),
    ],
)
def test_an_item_that_breaks_the_form_is_named_by_file_and_line(tmp_path, item, said):
    with pytest.raises(ValueError, match=rf"eli5\.jsonl, line 2: .*{re.escape(said)}"):
        read_curated(write(tmp_path / "eli5.jsonl", {**GOOD, "id": "other"}, item), "eli5")


def test_a_line_that_is_no_json_is_named(tmp_path):
    (tmp_path / "eli5.jsonl").write_text('{"id": "a"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        read_curated(tmp_path / "eli5.jsonl", "eli5")


def test_an_id_that_occurs_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="line 2: the id a-001 stands in line 1 too"):
        read_curated(write(tmp_path / "eli5.jsonl", GOOD, GOOD), "eli5")


@pytest.mark.parametrize("source", ["eli5", "technical"])
def test_the_committed_items_hold_the_form(repository, source):
    corpus = read_curated(repository / "data" / "curated" / f"{source}.jsonl", source)
    assert len(corpus.dialogues) >= 300
