"""The committed teaching texts keep their schema and the rules of their data card.

`python -m tests.test_curated` prints the tables that the data card has to hold.
"""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from llm.corpus.dedup import hash_words, ngrams
from llm.corpus.normalise import split_words
from llm.corpus.questions import read_pairs, read_questions
from llm.evaluation.choice import choice_estimates, choice_examples, grade
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scoring import Score
from llm.judge.surface import measure_surface, surface_report
from llm.sources.chitchat import read_chitchat

CURATED = Path(__file__).resolve().parents[1] / "data" / "curated"
AREAS = {"what_ai_is", "what_it_can_do", "how_it_works", "how_it_should_be_used", "how_people_see_it"}
CONVERSATIONS, QUESTIONS, ANSWERS = ("eli5", "technical"), ("quiz", "false_premise"), "answers"
PAIRS_OF_AREA = {
    "what_ai_is": 68, "what_it_can_do": 68, "how_it_works": 70, "how_it_should_be_used": 70, "how_people_see_it": 68,
}  # fmt: skip
SEED = 1  # of the shuffles behind the surface figures and of the classifier's folds
FOLDS = 10


def rows(name):
    return [json.loads(line) for line in (CURATED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def texts(name):
    if name in CONVERSATIONS:
        return [turn for row in rows(name) for turn in row["turns"]]
    if name == ANSWERS:
        return [row["answer"] for row in rows(name)]
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
        assert len({*row["correct"], *row["incorrect"]}) == 6
        assert len(row["correct"]) == len(row["incorrect"]) == 3
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
    asked = [text for name in (*QUESTIONS, ANSWERS) for text in texts(name)]
    held_out = ngrams(hash_words([*asked, *(text for row in rows("pairs") for text in statements(row))]), 13)[0]
    assert not np.isin(held_out, learned).any()


def test_explanations_are_not_all_of_one_form():
    found = [row["explanation"] for name in QUESTIONS for row in rows(name)]
    assert all(15 <= len(text.split()) <= 45 for text in found)
    assert sum(";" in text for text in found) <= len(found) / 5
    assert sum(len(re.findall(r"[.!?]\)?(?= |$)", text)) > 1 for text in found) >= len(found) / 3


def test_every_question_has_as_many_true_as_false_labelled_answers():
    found = rows(ANSWERS)
    assert len(found) == len({row["id"] for row in found}) == len({row["answer"] for row in found}) >= 1560
    counted = Counter()
    for row in found:
        assert set(row) == {"id", "question", "answer", "false"}
        assert row["answer"] == row["answer"].strip() != ""
        counted[row["question"], row["false"]] += 1
        side = "f" if row["false"] else "t"
        assert row["id"] == f"{row['question']}/{side}{counted[row['question'], row['false']]}"
    asked = [row["id"] for name in QUESTIONS for row in rows(name)]
    assert list(dict.fromkeys(row["question"] for row in found)) == asked
    assert all(counted[id, False] == counted[id, True] >= 3 for id in asked)


def test_no_labelled_answer_repeats_a_reference():
    references = ngrams(
        hash_words(a for n in QUESTIONS for row in rows(n) for a in row["correct"] + row["incorrect"]), 8
    )
    assert not np.isin(ngrams(hash_words(texts(ANSWERS)), 8)[0], references[0]).any()


def answers_side(false):
    """How the labelled answers of one side look: what the data card shows of them."""
    sides = [row["answer"] for row in rows(ANSWERS) if row["false"] is false]
    seen = [measure_surface("", answer) for answer in sides]
    opening = Counter(split_words(answer)[0] for answer in sides)
    shares = {name: np.mean([row[name] > 0 for row in seen]) for name in ("negations", "hedges", "commas", "digits")}
    return {"answers": len(sides), "yes": opening["yes"], "no": opening["no"]} | {
        "words": np.mean([row["words"] for row in seen]), **shares
    }  # fmt: skip


@cache
def wording_auroc():
    """AUROC of a classifier that sees an answer's words, neither its question nor references, across the questions."""
    found = rows(ANSWERS)
    classifier = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression())
    folds = GroupKFold(FOLDS, shuffle=True, random_state=SEED)
    false, groups = [row["false"] for row in found], [row["question"] for row in found]
    scores = cross_val_predict(classifier, texts(ANSWERS), false, groups=groups, cv=folds, method="decision_function")
    return roc_auc_score(false, scores)


def test_true_and_false_labelled_answers_look_alike():
    right, wrong = answers_side(False), answers_side(True)
    for name in ("yes", "no"):
        assert abs(right[name] - wrong[name]) <= 0.2 * (right[name] + wrong[name]) / 2, name
    assert right["words"] == pytest.approx(wrong["words"], rel=0.05)
    for name in ("negations", "hedges", "commas", "digits"):
        assert right[name] == pytest.approx(wrong[name], abs=0.05), name


def test_the_words_of_a_labelled_answer_alone_do_not_tell_whether_it_is_false():
    assert wording_auroc() <= 0.6


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


def answers_table():
    """How the true and the false labelled answers look."""
    head = [
        "| labelled answers | number | opening yes | opening no | words | negated | hedged | commas | digits |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines = []
    for name, side in (("true", answers_side(False)), ("false", answers_side(True))):
        shares = " | ".join(f"{100 * side[share]:.0f} %" for share in ("negations", "hedges", "commas", "digits"))
        lines += [f"| {name} | {side['answers']} | {side['yes']} | {side['no']} | {side['words']:.1f} | {shares} |"]
    return "\n".join([*head, *lines])


def wording_table():
    """What the words of labelled answers alone give away."""
    head = ["| a classifier sees | chance | AUROC |", "| --- | --- | --- |"]
    return "\n".join([*head, f"| the labelled answer alone | 0.500 | {wording_auroc():.3f} |"])


TABLES = (items_table, surface_table, answers_table, wording_table)


@pytest.mark.parametrize("table", TABLES)
def test_the_data_card_holds_the_tables_of_the_texts(table):
    assert table() in (CURATED / "README.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(*(table() for table in TABLES), sep="\n\n")
