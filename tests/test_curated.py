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
from llm.corpus.questions import read_questions
from llm.judge.surface import surface_report

CURATED = Path(__file__).resolve().parents[1] / "data" / "curated"
AREAS = {"what_ai_is", "what_it_can_do", "how_it_works", "how_it_should_be_used", "how_people_see_it"}
CONVERSATIONS, QUESTIONS = ("eli5", "technical"), ("quiz", "false_premise")
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
    held_out = ngrams(hash_words(text for name in QUESTIONS for text in texts(name)), 13)[0]
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
