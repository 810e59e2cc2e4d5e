"""The conversations of the package chitchat-dataset."""

import json

from llm.dialogue import n_exchanges
from llm.sources.chitchat import parse_conversations, read_chitchat


def parse(tmp_path, conversations):
    """`conversations`: id -> blocks of (sender, text)."""
    content = {
        key: {"messages": [[{"sender": sender, "text": text} for sender, text in block] for block in blocks]}
        for key, blocks in conversations.items()
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return parse_conversations(tmp_path / "dataset.json", "dialogue")


def test_messages_of_one_speaker_in_a_row_are_one_turn(tmp_path):
    (dialogue,), _ = parse(tmp_path, {"c1": [[("a", "Hi "), ("a", "you there?")], [("b", "yes")], [("b", "hello")]]})
    assert dialogue.turns == ("Hi\nyou there?", "yes\nhello")
    assert (dialogue.id, dialogue.group, dialogue.source) == ("chitchat-c1", "chitchat-c1", "dialogue")


def test_a_turn_with_nothing_in_it_is_left_out_and_counted(tmp_path):
    (dialogue,), counts = parse(tmp_path, {"c1": [[("a", "Fun!")], [("b", " ")], [("a", "haha")], [("b", "ok")]]})
    assert dialogue.turns == ("Fun!", "haha", "ok")
    assert counts["empty_turns"] == 1


def test_tags_by_which_people_mark_words_go_and_other_brackets_stay(tmp_path):
    (dialogue,), _ = parse(tmp_path, {"c1": [[("a", "<em>I</em> think")], [("b", "a<b or List<i32>?")]]})
    assert dialogue.turns == ("I think", "a<b or List<i32>?")


def test_a_conversation_of_one_turn_is_left_out_and_counted(tmp_path):
    dialogues, counts = parse(tmp_path, {"c1": [[("a", "Anyone?")]], "c2": []})
    assert dialogues == []
    assert counts == {"rows": 2, "messages": 1, "empty_turns": 0, "conversations_of_one_turn": 2}


def test_the_package_has_the_conversations_it_is_known_for():  # figures of DESIGN: 4,017 of 258,145 messages
    corpus = read_chitchat("dialogue")
    assert len(corpus.dialogues) == 4_017
    assert sum(map(n_exchanges, corpus.dialogues)) == 131_557
    assert corpus.counts["messages"] == 258_145
    assert corpus.location == "package chitchat-dataset 0.9.0"
    assert corpus.licence == "MIT"
    assert all(turn.strip() for dialogue in corpus.dialogues for turn in dialogue.turns)
