from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.dialogue import (
    Dialogue,
    join_speaker_turns,
    n_exchanges,
    read_dialogues,
    read_table,
    scored_replies,
    write_dialogues,
    write_table,
)
from tests.growth import growth

TALK = Dialogue("d1", "dialogue", "film1", ("Hi.", "Hello! é\n", "Bye?", "Bye."))


def test_dialogues_come_back_as_written(tmp_path):
    path = tmp_path / "a" / "d.jsonl"
    write_dialogues(path, [TALK, TALK])
    assert list(read_dialogues(path)) == [TALK, TALK]


def test_tables_come_back_as_written_and_are_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_table(tmp_path / name, [TALK])
    assert list(read_table(tmp_path / "one")) == [TALK]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_empty_table_is_empty(tmp_path):
    write_table(tmp_path / "t", [])
    assert list(read_table(tmp_path / "t")) == []


def test_a_bad_line_is_named(tmp_path):
    path = tmp_path / "d.jsonl"
    write_dialogues(path, [TALK])
    path.write_text(path.read_text(encoding="utf-8") + '{"id": 3}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: not a dialogue"):
        list(read_dialogues(path))


def test_one_turn_is_no_dialogue():
    with pytest.raises(ValueError, match="has 1 turn"):
        Dialogue("d", "eli5", "g", ("Why?",))


def test_scored_replies_are_the_assistants_turns_with_their_history():
    replies = scored_replies(TALK)
    assert [(r.id, r.history, r.reply) for r in replies] == [
        ("d1/1", ("Hi.",), "Hello! é\n"),
        ("d1/3", ("Hi.", "Hello! é\n", "Bye?"), "Bye."),
    ]


def test_a_closing_user_turn_is_not_scored():
    assert len(scored_replies(Dialogue("d", "dialogue", "g", ("a", "b", "c")))) == 1
    assert n_exchanges(Dialogue("d", "dialogue", "g", ("a", "b", "c"))) == 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(st.characters(exclude_characters="\n"), min_size=1))))
def test_joining_turns_loses_no_text_and_alternates(messages):
    turns = join_speaker_turns(messages)
    assert "\n".join(turns) == "\n".join(text for _, text in messages)
    switches = sum(one[0] != two[0] for one, two in pairwise(messages))
    assert len(turns) == (switches + 1 if messages else 0)


def test_the_time_of_joining_grows_as_the_messages_do():
    assert growth(join_speaker_turns, lambda n: [("a", "some words of a message")] * n) <= 8
