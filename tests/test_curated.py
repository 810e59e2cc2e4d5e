"""The committed teaching texts keep their schema and the rules of their data card.

`python -m tests.test_curated` prints the tables that the data card has to hold.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llm.corpus.dedup import hash_words, ngrams
from llm.corpus.normalise import split_words
from llm.corpus.questions import read_pairs, read_questions
from llm.evaluation.choice import choice_estimates, choice_examples, grade
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scoring import Score
from llm.judge.surface import surface_report
from llm.sources.chitchat import read_chitchat

CURATED = Path(__file__).resolve().parents[1] / "data" / "curated"
AREAS = {"what_ai_is", "what_it_can_do", "how_it_works", "how_it_should_be_used", "how_people_see_it"}
CONVERSATIONS, QUESTIONS = ("eli5", "technical"), ("quiz", "false_premise")
PAIRS_OF_AREA = {
    "what_ai_is": 68, "what_it_can_do": 68, "how_it_works": 70, "how_it_should_be_used": 70, "how_people_see_it": 68,
}  # fmt: skip
SEED = 1  # of the shuffles behind the surface figures


def rows(name):
    return [json.loads(line) for line in (CURATED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def texts(name):
    if name in CONVERSATIONS:
        return [turn for row in rows(name) for turn in row["turns"]]
    return [text for row in rows(name) for text in (row["question"], *row["correct"], *row["incorrect"])]


def openings(prompts):
    """How often prompts begin with the same four words."""
    return Counter(tuple(prompt.lower().split()[:4]) for prompt in prompts)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_have_the_schema_of_the_data_card(name):
    found = rows(name)
    assert len(found) >= 500
    assert len({row["id"] for row in found}) == len(found)
    for row in found:
        assert set(row) == {"id", "topic", "turns"}
        assert len(row["turns"]) % 2 == 0
        assert all(40 <= len(reply.split()) <= 150 for reply in row["turns"][1::2]), row["id"]


@pytest.mark.parametrize(("name", "size"), [("quiz", 200), ("false_premise", 60)])
def test_questions_have_the_schema_of_the_data_card(name, size):
    found = rows(name)
    assert len(found) == len({row["id"] for row in found}) == len(read_questions(CURATED / f"{name}.jsonl")) == size
    for row in found:
        assert set(row) == {"id", "area", "question", "correct", "incorrect", "explanation"}
        assert row["correct"]
        assert len(row["incorrect"]) == 3
        assert row["area"] in AREAS


def test_the_quiz_has_40_questions_in_each_area():
    assert Counter(row["area"] for row in rows("quiz")) == dict.fromkeys(AREAS, 40)


def statements(row):
    return row["true"], row["false"]


def exchanged(row):
    """The words that make a pair's statement true, each with what stands in its place in the false one."""
    words = [statement.lower().replace(",", "").replace(";", "").rstrip(".").split() for statement in statements(row)]
    return [(true, false) for true, false in zip(*words, strict=True) if true != false]


def test_literacy_pairs_have_the_schema_of_the_data_card():
    found = rows("pairs")
    assert [row["id"] for row in found] == [f"pair-{i:03d}" for i in range(1, 345)]
    assert Counter(row["area"] for row in found) == PAIRS_OF_AREA
    assert len({text for row in found for text in statements(row)}) == 2 * 344
    for row in found:
        assert set(row) == {"id", "area", "true", "false", "note"}
        assert 1 <= len(exchanged(row)) <= 3, row["id"]
        assert 8 <= len(row["true"].split()) <= 25, row["id"]
        assert all(text[0].isupper() and text.endswith(".") for text in statements(row)), row["id"]


def test_what_makes_a_statement_true_makes_one_of_its_couple_false():
    found = rows("pairs")
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert exchanged(one) == [(false, true) for true, false in exchanged(other)], one["id"]
        assert one["area"] == other["area"]


def literacy(logprob):
    """Accuracy on the pairs of what gives a text this log-probability, by its words."""
    pairs = read_pairs(CURATED / "pairs.jsonl")
    scores = [Score(logprob(split_words(example.reply)), 0.0, 1) for example in choice_examples(pairs)]
    return choice_estimates("literacy", pairs, grade("literacy", pairs, scores), 1000, SEED)["all"]["accuracy"]


def test_a_liking_for_words_wherever_they_stand_tells_no_pair_apart():
    rng = np.random.default_rng(SEED)
    liked = {word: float(rng.normal()) for row in rows("pairs") for word in split_words(" ".join(statements(row)))}
    found = literacy(lambda words: sum(liked[word] for word in words) - 100)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_5_gram_of_other_people_s_chat_tells_no_pairs_apart():
    """It knows English and nothing of AI: what surface is left would show."""
    texts = [split_words(turn) for dialogue in read_chitchat("dialogue").dialogues for turn in dialogue.turns]
    number = {word: i for i, word in enumerate(dict.fromkeys(word for words in texts for word in words), 1)}
    ids = np.array([number[word] for words in texts for word in words])
    ngram = train_ngram(ids, np.cumsum([0, *map(len, texts)]), len(number) + 1)
    found = literacy(lambda words: float(ngram.token_logprobs([number.get(word, 0) for word in words]).sum()))
    print(f"told apart {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
    assert found.low <= 0.5 <= found.high


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_no_opening_of_four_words_covers_more_than_4_percent(name):
    questions = [turn for row in rows(name) for turn in row["turns"][::2]]
    (_, most), *_ = openings(questions).most_common(1)
    assert most <= 0.04 * len(questions)


def test_the_best_answer_is_neither_mostly_the_longest_nor_mostly_the_shortest():
    found = [*rows("quiz"), *rows("false_premise")]
    longest = sum(len(row["correct"][0]) > max(map(len, row["incorrect"])) for row in found) / len(found)
    shortest = sum(len(row["correct"][0]) < min(map(len, row["incorrect"])) for row in found) / len(found)
    assert 0.2 <= longest <= 0.3
    assert 0.2 <= shortest <= 0.3


def test_no_question_shares_13_words_with_a_training_text():
    learned = ngrams(hash_words(text for name in CONVERSATIONS for text in texts(name)), 13)[0]
    asked = [text for name in QUESTIONS for text in texts(name)]
    held_out = ngrams(hash_words([*asked, *(text for row in rows("pairs") for text in statements(row))]), 13)[0]
    assert not np.isin(held_out, learned).any()


def items_row(name):
    """The line of the data card that describes a set."""
    prompts = [turn for row in rows(name) for turn in (row["turns"][::2] if "turns" in row else [row["question"]])]
    (_, most), *_ = openings(prompts).most_common(1)
    replies = [row["explanation"] for row in rows(name) if "explanation" in row]
    words = Counter(word for text in [*texts(name), *replies] for word in split_words(text))
    opening = f"{most} ({100 * most / len(prompts):.1f} %)"
    return f"| `{name}` | {len(rows(name))} | {len(prompts)} | {opening} | {words.total():,} | {len(words):,} |"


def items_table():
    """How many items a set has, and how varied they are."""
    head = [
        "| set | items | prompts | most frequent opening | words | vocabulary |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *map(items_row, (*CONVERSATIONS, *QUESTIONS))])


def surface_table():
    """What surface alone reaches on the questions."""
    found = surface_report({name: read_questions(CURATED / f"{name}.jsonl") for name in QUESTIONS}, SEED)
    head = [
        "| set | chance | length, negations, hedges, overlap | and commas, digits, word length |",
        "| --- | --- | --- | --- |",
    ]
    rows = [f"| `{n}` | {f['chance']:.3f} | {f['accuracy']:.3f} | {f['accuracy_wide']:.3f} |" for n, f in found.items()]
    return "\n".join([*head, *rows])


@pytest.mark.parametrize("table", [items_table, surface_table])
def test_the_data_card_holds_the_tables_of_the_texts(table):
    assert table() in (CURATED / "README.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(items_table(), surface_table(), sep="\n\n")
