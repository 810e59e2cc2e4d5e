import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.dialogue import Dialogue, Example
from llm.evaluation.items import (
    GONE,
    EvaluateConfig,
    Sampling,
    SamplingConfig,
    continued_prompt,
    cut_history,
    draw_continued,
    draw_examples,
    draw_prompts,
    evenly_spaced,
    example_digest,
    text_digest,
)
from tests.measured_runs import ALIKE

CONFIG = EvaluateConfig(
    dialogues=3,
    max_replies=2,
    history_chars=40,
    generations=4,
    sampled=2,
    sampling=ALIKE,
    max_reply_bytes=4,
    truth_questions=2,
    truthfulqa_questions=None,
    literacy_questions=None,
    quiz=False,
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


def test_the_system_turn_stays_whole_however_short_the_history():
    told = [dataclasses.replace(dialogue, system="Answer kindly. " * 9) for dialogue in DIALOGUES]
    plain, found = (draw_examples(dialogues, CONFIG, seed=1) for dialogues in (DIALOGUES, told))
    assert [example.system for example in found] == ["Answer kindly. " * 9] * len(plain)
    assert [example.history for example in found] == [example.history for example in plain]


BOOKS = [
    Dialogue(f"{book}{i}", book, f"{book}{i % 2}", (f"section {i} of {book} " * 9,), kind="document")
    for book in ("book", "novel")
    for i in range(4)
]


def test_a_document_is_asked_whole_and_without_a_history():
    examples = draw_examples(BOOKS, CONFIG, seed=1)
    assert [example.source for example in examples] == ["book"] * 3 + ["novel"] * 3
    texts = {(book.id, book.turns[0]) for book in BOOKS}
    assert {(e.id.removesuffix("/0"), e.reply) for e in examples} < texts and {e.history for e in examples} == {()}


def test_prompts_are_drawn_from_dialogues_and_continuations_from_documents():
    examples = draw_examples([*DIALOGUES, *BOOKS], CONFIG, seed=1)
    assert {prompt.source for prompt in draw_prompts(examples, 100, seed=1)} == {"dialogue", "eli5"}
    sections = draw_continued(examples, 2, seed=1)
    assert [section.source for section in sections] == ["book", "novel"] * 2
    assert draw_prompts(draw_examples(BOOKS, CONFIG, seed=1), 4, seed=1) == []
    assert draw_continued(draw_examples(DIALOGUES, CONFIG, seed=1), 2, seed=1) == []


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("word " * 100, "word " * 39 + "word"),  # 200 characters end behind a word
        ("words " * 100, "words " * 32 + "words"),
        ("It was a dark and stormy night.", "It was a dark"),  # half of it
        ("a" * 900, "a" * 200),
        ("\u96ea" * 9, "\u96ea" * 5),
    ],
)
def test_a_continuation_begins_with_whole_words_and_leaves_something_over(text, opening):
    prompt = continued_prompt(Example("b/0", "book", "b", (), text))
    assert (prompt.opening.rstrip(), prompt.history) == (opening, ())
    assert text.startswith(prompt.opening) and len(prompt.opening) < len(text)


def test_a_digest_changes_with_the_system_turn_and_is_the_former_one_without():
    example = Example("d/1", "eli5", "g", ("Hi",), "Hello")
    assert example_digest(example) == text_digest("Hi", "Hello") == "bb1fbca751f342cb"
    assert example_digest(dataclasses.replace(example, system="Be kind")) == text_digest("Be kind", "Hi", "Hello")


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
    ("name", "value"), [("dialogues", 0), ("max_replies", 0), ("generations", 0), ("bootstrap", 1)]
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}, allowed"):
        dataclasses.replace(CONFIG, **{name: value})


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.0), ("top_p", 0.0)])
def test_a_sampling_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}, allowed"):
        dataclasses.replace(ALIKE.base, **{name: value})


def test_each_model_draws_its_own_way_and_what_is_not_trained_draws_like_scratch():
    config = dataclasses.replace(CONFIG, sampling=SamplingConfig(Sampling(1.0, 0.9), Sampling(0.7, 0.8), ALIKE.base))
    drawn = {name: config.drawn(name, seed=1) for name in ("scratch", "untrained", "mistral", "base")}
    assert {name: (how.temperature, how.top_p) for name, how in drawn.items()} == {
        "scratch": (1.0, 0.9), "untrained": (1.0, 0.9), "mistral": (0.7, 0.8), "base": (0.8, 0.95),
    }  # fmt: skip


TURNS = st.text("ab \n\u2603", min_size=1).filter(lambda text: text.strip() == text)
HISTORIES = st.lists(TURNS, min_size=1, max_size=7).filter(lambda turns: len(turns) % 2 == 1).map(tuple)


@given(HISTORIES, st.integers(1, 30))
def test_a_cut_history_fits_ends_alike_and_starts_with_the_user(history, max_chars):
    found = cut_history(history, max_chars)
    assert 1 <= sum(map(len, found)) <= max_chars
    assert len(found) % 2 == 1
    whole = history[len(history) - len(found) :]
    if found[0] == GONE and len(found) > 1:
        assert found[2:] == whole[2:] and whole[1].rstrip().endswith(found[1])
    else:
        assert found[1:] == whole[1:] and whole[0].rstrip().endswith(found[0].rstrip())


LAST = "What is a token?"  # 16 characters


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (("a long question " * 40 + "about words", "A short reply", LAST), ("about words", "A short reply", LAST)),
        (("Why?", "a long reply " * 40 + "about words", LAST), ("…", "a long reply about words", LAST)),
        (("Why?", "x" * 99, LAST), (LAST,)),  # a part of a word says nothing
        (("x" * 99, "A short reply", LAST), ("…", "A short reply", LAST)),
        (("Hm", "Well", "Why?", "So.", LAST), ("Hm", "Well", "Why?", "So.", LAST)),
        (("Hm", "Well, well, I think so", "Why?", "So.", LAST), ("…", "well, I think so", "Why?", "So.", LAST)),
    ],
)
def test_a_history_keeps_the_end_of_the_first_turn_that_does_not_fit(history, expected):
    assert cut_history(history, 42) == expected


@given(HISTORIES)
def test_a_history_that_fits_is_left_alone(history):
    assert cut_history(history, sum(map(len, history))) == history


def test_there_is_nothing_to_cut_before_a_document():
    assert cut_history((), 10) == ()


@pytest.mark.parametrize(
    ("max_chars", "expected"),
    [(100, "the cat sat"), (7, "cat sat"), (6, "sat"), (8, "cat sat"), (3, "sat"), (2, "at")],
)
def test_a_long_turn_is_cut_at_a_word(max_chars, expected):
    assert cut_history(("the cat sat",), max_chars) == (expected,)
