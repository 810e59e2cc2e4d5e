"""The committed teaching texts keep their schema and the rules of their data card."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llm.dedup import hash_words, ngrams
from llm.questions import read_questions

CURATED = Path(__file__).resolve().parent.parent / "data" / "curated"
AREAS = {"what_ai_is", "what_it_can_do", "how_it_works", "how_it_should_be_used", "how_people_see_it"}
CONVERSATIONS, QUESTIONS = ("eli5", "technical"), ("quiz", "false_premise")


def rows(name):
    return [json.loads(line) for line in (CURATED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def texts(name):
    if name in CONVERSATIONS:
        return [turn for row in rows(name) for turn in row["turns"]]
    return [text for row in rows(name) for text in (row["question"], *row["correct"], *row["incorrect"])]


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
    (_, most), *_ = Counter(tuple(question.lower().split()[:4]) for question in questions).most_common(1)
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
