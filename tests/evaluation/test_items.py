import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.dialogue import Dialogue
from llm.evaluation.items import EvaluateConfig, cut_history, draw_examples, draw_prompts, evenly_spaced

CONFIG = EvaluateConfig(
    dialogues=3,
    max_replies=2,
    history_chars=40,
    generations=4,
    sampled=2,
    temperature=0.8,
    top_p=0.95,
    max_new_tokens=4,
    truth_questions=2,
    truthfulqa_questions=None,
    batch_tokens=64,
    bootstrap=100,
)


def make_dialogue(source, number, n_turns=8, group=None):
    turns = tuple(f"turn {i} of {source} {number}" for i in range(n_turns))
    return Dialogue(f"{source}{number}", source, group or f"{source}{number}", turns)


DIALOGUES = [make_dialogue(source, i) for source in ("eli5", "dialogue") for i in range(6)]


def test_each_source_gives_its_dialogues_and_each_dialogue_its_replies():
    examples = draw_examples(DIALOGUES, CONFIG, seed=1)
    assert [e.source for e in examples] == ["dialogue"] * 6 + ["eli5"] * 6
    assert [e.id.split("/")[1] for e in examples] == ["3", "7"] * 6  # of the replies 1, 3, 5, 7: middles of two halves


def test_null_asks_for_everything():
    config = dataclasses.replace(CONFIG, dialogues=None, max_replies=None)
    assert len(draw_examples(DIALOGUES, config, seed=1)) == 12 * 4


def test_one_more_dialogue_replaces_at_most_one():
    before = {e.id for e in draw_examples(DIALOGUES, CONFIG, seed=1)}
    after = {e.id for e in draw_examples([*DIALOGUES, make_dialogue("eli5", 99)], CONFIG, seed=1)}
    assert len(before - after) <= 2  # the two replies of one dialogue


def test_histories_are_cut_to_the_same_text_for_all_models():
    for example in draw_examples(DIALOGUES, CONFIG, seed=1):
        assert sum(map(len, example.history)) <= 40
        assert len(example.history) % 2 == 1


def test_no_test_dialogue_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no test dialogue"):
        draw_examples([], CONFIG, seed=1)


@pytest.mark.parametrize("total", range(1, 9))
@pytest.mark.parametrize("n", range(1, 9))
def test_evenly_spaced_never_takes_one_twice(total, n):
    taken = evenly_spaced(list(range(total)), n)
    assert len(taken) == min(n, total) == len(set(taken))


def test_prompts_come_from_the_sources_in_turn_and_from_different_groups_first():
    dialogues = [make_dialogue("eli5", i, group="one film") for i in range(4)]
    dialogues += [make_dialogue("eli5", 9, group="other"), make_dialogue("dialogue", 1)]
    examples = draw_examples(dialogues, dataclasses.replace(CONFIG, dialogues=None, max_replies=1), seed=1)
    prompts = draw_prompts(examples, 3, seed=1)
    assert [prompt.source for prompt in prompts] == ["dialogue", "eli5", "eli5"]
    assert {prompt.group for prompt in prompts[1:]} == {"one film", "other"}


def test_a_source_that_runs_out_leaves_its_turns_to_the_others():
    examples = draw_examples(DIALOGUES[:7], CONFIG, seed=1)  # 6 of eli5, one of dialogue
    assert len(draw_prompts(examples, 8, seed=1)) == 8


@pytest.mark.parametrize(
    ("name", "value"), [("dialogues", 0), ("max_replies", 0), ("generations", 0), ("bootstrap", 1), ("top_p", 0.0)]
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}, allowed"):
        dataclasses.replace(CONFIG, **{name: value})


TURNS = st.text("ab \n\u2603", min_size=1).filter(lambda text: text.strip() == text)
HISTORIES = st.lists(TURNS, min_size=1, max_size=7).filter(lambda turns: len(turns) % 2 == 1).map(tuple)


@given(HISTORIES, st.integers(1, 30))
def test_a_cut_history_fits_ends_alike_and_starts_with_the_user(history, max_chars):
    found = cut_history(history, max_chars)
    assert 1 <= sum(map(len, found)) <= max_chars
    assert len(found) % 2 == 1
    assert found[1:] == history[len(history) - len(found) + 1 :]
    assert history[len(history) - len(found)].endswith(found[0])


@given(HISTORIES)
def test_a_history_that_fits_is_left_alone(history):
    assert cut_history(history, sum(map(len, history))) == history


@pytest.mark.parametrize(
    ("max_chars", "expected"),
    [(100, "the cat sat"), (7, "cat sat"), (6, "sat"), (8, "cat sat"), (3, "sat"), (2, "at")],
)
def test_a_long_turn_is_cut_at_a_word(max_chars, expected):
    assert cut_history(("the cat sat",), max_chars) == (expected,)
