"""Any data set of the hub, in each of the known forms."""

import json

import pytest

from llm.sources.hub import HubConfig, read_hub
from tests.sources.hub_sets import write_rows

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
MESSAGES += [{"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"}]
MESSAGES += [{"role": "assistant", "content": "That."}]
SHARED = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
ALPACA = {"instruction": "Add.", "input": "1, 2", "output": "3"}


def config(**changes):
    settings = {"location": "ann/talk", "config": None, "revision": "main", "split": "train", "columns": None}
    return HubConfig(**settings | {"licence": "MIT"} | changes)


@pytest.mark.parametrize(
    ("row", "columns", "turns"),
    [
        ({"q": "Why?", "a": "So."}, {"prompt": "q", "reply": "a"}, ("Why?", "So.")),
        ({"messages": MESSAGES}, None, ("Why?", "So.", "And?", "That.")),
        ({"chat": SHARED, "id": 1}, {"messages": "chat"}, ("Why?", "So.")),
        (ALPACA, None, ("Add.\n\n1, 2", "3")),
        ({"text": "A page."}, None, ("A page.",)),
    ],
)
def test_a_row_of_each_form_becomes_a_dialogue_or_document(hub, row, columns, turns):
    write_rows(hub.folder / "ann/talk" / "data" / "train-00000-of-00001.parquet", [row, row])
    corpus = read_hub(config(columns=columns), "mine", 100)
    assert [dialogue.turns for dialogue in corpus.dialogues] == [turns] * 2
    section = "#0001" if len(turns) == 1 else ""
    assert [dialogue.id for dialogue in corpus.dialogues] == [f"mine-0{section}", f"mine-1{section}"]
    assert {dialogue.kind for dialogue in corpus.dialogues} == {"document" if len(turns) == 1 else "dialogue"}
    assert (corpus.location, corpus.licence, corpus.counts["rows"]) == ("ann/talk", "MIT", 2)


def test_a_long_document_is_read_in_sections_of_one_group(hub):
    write_rows(hub.folder / "ann/talk" / "train.parquet", [{"text": "A sentence of six words. " * 400}, {"text": "B."}])
    *sections, last = read_hub(config(), "mine", 9).dialogues
    assert [section.id for section in sections] == ["mine-0#0001", "mine-0#0002", "mine-0#0003"]
    assert {section.group for section in sections} == {"mine-0"}
    assert all(len(section.turns[0]) <= 4000 for section in sections)
    assert (last.id, last.group) == ("mine-1#0001", "mine-1")


def test_a_system_turn_is_kept(hub):
    write_rows(hub.folder / "ann/talk" / "train.parquet", [{"messages": MESSAGES}])
    assert read_hub(config(), "mine", 9).dialogues[0].system == "Be brief."


def test_json_lines_are_read_too(hub):
    (hub.folder / "ann/talk").mkdir(parents=True)
    (hub.folder / "ann/talk" / "train.jsonl").write_text(json.dumps(ALPACA) + "\n", encoding="utf-8")
    assert read_hub(config(), "mine", 9).dialogues[0].turns[1] == "3"


def test_the_split_named_is_read_and_no_other(hub):
    for split in ("train", "test"):
        write_rows(hub.folder / "ann/talk" / f"{split}.parquet", [{"question": split, "answer": "So."}])
    assert read_hub(config(split="test"), "mine", 9).dialogues[0].turns[0] == "test"
    local = config(location=str(hub.folder / "ann/talk"), split="test")
    assert read_hub(local, "mine", 9).dialogues[0].turns[0] == "test"


def test_rows_are_read_until_they_hold_the_limits_exchanges(hub):  # three exchanges a row
    write_rows(hub.folder / "ann/talk" / "train.parquet", [{"messages": MESSAGES}] * 50)
    assert read_hub(config(), "mine", 7).counts["rows"] == 3


def test_rows_of_one_value_in_the_group_column_are_one_group(hub):
    rows = [{"question": "Why?", "answer": "So.", "topic": topic} for topic in ("a", "b", "a")]
    write_rows(hub.folder / "ann/talk" / "train.parquet", rows)
    groups = [dialogue.group for dialogue in read_hub(config(columns={"group": "topic"}), "mine", 9).dialogues]
    assert groups == ["mine-a", "mine-b", "mine-a"]


def test_a_renamed_column_names_those_there_are(hub):
    write_rows(hub.folder / "ann/talk" / "train.parquet", [{"query": "Why?", "answer": "So."}])
    with pytest.raises(ValueError, match="no column question for prompt, only answer, query"):
        read_hub(config(columns={"prompt": "question", "reply": "answer"}), "mine", 9)


def test_an_unknown_use_of_a_column_is_refused():
    with pytest.raises(ValueError, match="columns names promt, allowed: prompt, reply"):
        config(columns={"promt": "question"})


def test_a_data_set_without_rows_is_refused(hub):
    (hub.folder / "ann/talk").mkdir(parents=True)
    (hub.folder / "ann/talk" / "train.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="ann/talk has no rows"):
        read_hub(config(), "mine", 9)
