"""The committed teaching texts keep their schema and the rules of their data card."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llm.__main__ import main as run_command
from llm.corpus.dedup import hash_words, ngrams
from llm.corpus.questions import read_questions
from llm.evaluation.curated_card import reading_grade, statistics_page, syllables

CURATED = Path(__file__).resolve().parents[2] / "data" / "curated"
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


SYLLABLES = (  # by a dictionary
    "cat:1 make:1 table:2 learning:2 machine:2 idea:3 network:2 neural:2 gradient:3 data:2 training:2 "
    "trained:1 weighted:2 tokens:2 computer:3 science:2 area:3 people:2 languages:3 images:3 examples:3 "
    "question:2 information:4 probability:5 every:2 little:2 different:3 values:2 learned:1 needed:2 "
    "changes:2 change:1 rules:1 the:1 one:1 piano:3 video:3 biology:4 doing:2 created:3 reality:4 "
    "layers:2 variance:3 distribution:4 linear:3 obvious:3 patient:2 experience:4 quiet:2 usual:3 "
    "algorithm:4 mechanism:4 edges:2 causes:2 places:2 boxes:2 wishes:2 pieces:2 started:2 measured:2 "
    "electricity:5 evaluation:5 situation:4 serious:3 real:1 really:2 theories:3 poem:2 lion:2 million:2 "
    "opinion:3 region:2 social:2 initial:3 society:4 variety:4 square:1 two:1 eyes:1 bytes:1 cycles:2 "
    "simple:2 rates:1 likely:2 something:2 statement:2 "
)


def test_syllables_are_right_for_nine_words_of_ten_and_in_the_mean():
    counted = {word: int(n) for word, n in (pair.split(":") for pair in SYLLABLES.split())}
    found = {word: syllables(word) for word in counted}
    assert len(counted) > 80
    assert sum(found[word] == counted[word] for word in counted) >= 0.9 * len(counted)
    assert sum(found.values()) == pytest.approx(sum(counted.values()), rel=0.02)


def test_a_reading_grade_is_flesch_and_kincaids():
    # 11 words of one syllable in 2 sentences
    assert reading_grade("The cat sat on the mat. It had a lit tle.") == pytest.approx(0.39 * 5.5 + 11.8 - 15.59)
    assert reading_grade("Pi is 3.14 or so.") == reading_grade("Pi is 3 14 or so.")  # a point in a number ends nothing
    with pytest.raises(ValueError, match="without words"):
        reading_grade("...")


def test_the_data_card_holds_the_tables_of_the_texts():
    card = (CURATED / "README.md").read_text(encoding="utf-8")
    assert [line for line in statistics_page(CURATED).splitlines() if line not in card.splitlines()] == []


def test_the_command_prints_the_tables(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    assert run_command(["curated"]) == 0
    assert capsys.readouterr().out == statistics_page(CURATED)
