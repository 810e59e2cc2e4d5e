"""The data card, on figures of the form that the stages write."""

import pytest

from llm.evaluation.data_card import COLUMNS, data_card


def source(n, small=False, **dropped):
    rules = dict.fromkeys(("long_turn", "near_duplicate", "leak_ngram", "leak_prompt"), 0) | dropped
    return {
        "read": {"dialogues": n},
        "dropped": {rule: {"dialogues": count, "exchanges": count} for rule, count in rules.items()},
        "splits": {split: {"dialogues": n // part} for split, part in (("train", 2), ("val", 20), ("test", 10))},
        "small": small,
    }


def served(provider, location, licence, revision=None, **counts):
    fields = {"provider": provider, "location": location, "licence": licence, "revision": revision}
    return fields | {"rows": counts["rows"], "counts": counts}


@pytest.fixture
def data():
    """Two sources: one of a provider that stood in for another, one of two providers."""
    mine = served("local", "my | chats.jsonl", "mine", rows=100, rows_without_text=3)
    hub = served("hub", "owner/name", "MIT", "0123456789abcdef", rows=70)
    docs = served("docs", "docstrings", "BSD", rows=30)
    return {
        "sources": {"own": source(100, small=True, long_turn=2, leak_prompt=5), "b": source(1000)},
        "provenance": {
            "own": {"served": [mine], "failed": [{"provider": "cornell", "reason": "no connection"}]},
            "b": {"served": [hub, docs], "failed": []},
        },
        "tokenizer": {"splits": {"train": {"tokens": {"own": 1500, "b": 500, "all": 2000}}}},
        "leaks": {"after_gate": {"train_leaking": 0.0, "test_given_away": 0.0}},
        "held_out_texts": {"quiz": 1401, "false_premise": 420},
    }


def rows(page):
    return [line.split(" | ") for line in page.replace("\\|", "/").splitlines() if line.startswith("| `")]


def test_a_source_has_a_line_with_all_that_the_columns_say(data):
    first, second = rows(data_card(data, {"own": 30, "b": 10}))
    assert len(first) == len(second) == len(COLUMNS)
    assert first[0] == "| `b`"
    assert second == [
        *("| `own` (small)", "local: my / chats.jsonl", "mine", "100 rows, 100 dialogues", "long turn 2", "prompt 5"),
        *("50 / 5 / 10", "1,500 (75.0%)", "75.0% |"),
    ]


def test_providers_served_together_stand_in_one_line_with_their_revisions(data):
    first, _ = rows(data_card(data, {"own": 30, "b": 10}))
    assert first[1:4] == ["hub: owner/name at 0123456789ab; docs: docstrings", "MIT; BSD", "100 rows, 1,000 dialogues"]
    assert first[4:6] == ["none", "none"]


def test_what_a_reader_left_out_and_who_failed_stands_below(data):
    page = data_card(data, {"own": 30, "b": 10})
    assert "- `own`, local: rows without text 3." in page
    assert "- `own`: cornell failed, so another served: no connection." in page
    assert "question sets (420 of false premise, 1,401 of quiz). After the gate 0.00% of" in page


def test_a_source_of_which_nothing_was_scored_has_no_share(data):
    assert [row[-1] for row in rows(data_card(data, {"b": 10}))] == ["100.0% |", "0.0% |"]
