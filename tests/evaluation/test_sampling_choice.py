import math
from dataclasses import replace

import pytest

from llm.evaluation.items import Sampling
from llm.evaluation.sampling_choice import (
    ReplyFigures,
    choice_table,
    choose,
    distance,
    misses,
    reply_figures,
    word_budget,
)
from llm.inference.replies import Reply

REAL = ReplyFigures(ended=0.9, repeated=0.01, words=20, distinct=0.9)
COLD, WARM, HOT = Sampling(0.6, 0.8), Sampling(0.8, 0.9), Sampling(1.0, 1.0)


def test_figures_are_those_of_all_draws_and_distinct_is_averaged_over_runs_of_the_budget():
    first = [Reply("a b a b c", True), Reply("a b", False)]  # ab ba ab bc, ab: 3 of 5 pairs differ
    second = [Reply("a b c d e f g h i", True), Reply("no", True)]  # of seven words six pairs, all different
    found = reply_figures([first, second], budget=7)
    assert (found.ended, found.words) == (0.75, 3.5)  # of 5, 2, 9, 1 words
    assert found.distinct == pytest.approx((3 / 5 + 1) / 2)
    assert reply_figures([first, second], budget=18).distinct is None  # there are 17 words


def test_a_4_gram_is_repeated_within_its_reply_only():
    twice = Reply("so it goes on so it goes on", True)  # five 4-grams, one again
    assert reply_figures([[twice]], 1).repeated == pytest.approx(1 / 5)
    assert reply_figures([[Reply("so it goes on", True)], [Reply("so it goes on", True)]], 1).repeated == 0


def test_the_budget_is_half_of_the_references_words_and_at_most_a_thousand():
    assert word_budget([Reply("one two three", True), Reply("four", True)]) == 2
    assert word_budget([Reply("word " * 700, True)] * 10) == 1000


@pytest.mark.parametrize(
    ("change", "form", "variety"),
    [
        ({}, 0.0, 0.0),
        ({"ended": 0.8, "repeated": 0.1, "words": 12}, 0.0, 0.0),  # at the limits
        ({"ended": 0.4}, math.log(2), 0.0),
        ({"repeated": 0.2}, math.log(2), 0.0),
        ({"repeated": 0.0}, 0.0, 0.0),
        ({"words": 6}, math.log(2), 0.0),
        ({"words": 6, "ended": 0.4}, 2 * math.log(2), 0.0),
        ({"distinct": 0.45, "ended": 0.4}, math.log(2), math.log(2)),
        ({"distinct": None}, math.inf, math.inf),
        ({"words": 0}, math.inf, 0.0),
    ],
)
def test_what_is_missed_of_form_is_summed_in_log_ratios_and_variety_stands_alone(change, form, variety):
    assert misses(replace(REAL, **change), REAL) == pytest.approx((form, variety))


def test_the_distance_counts_too_much_like_too_little():
    assert distance(REAL, REAL) == 0
    assert distance(replace(REAL, words=40), REAL) == pytest.approx(distance(replace(REAL, words=10), REAL))


def test_of_those_that_meet_all_the_one_most_like_the_real_replies_is_chosen():
    found = {
        COLD: replace(REAL, distinct=0.899),  # the nearest, but below the real replies
        WARM: replace(REAL, words=18, distinct=0.91),
        HOT: replace(REAL, words=40, distinct=0.95),
    }
    assert choose(found, REAL) == WARM


def test_where_none_meets_all_the_one_that_misses_least_is_chosen():
    found = {COLD: replace(REAL, ended=0.2), WARM: replace(REAL, ended=0.7), HOT: replace(REAL, distinct=None)}
    assert choose(found, REAL) == WARM


def test_form_comes_before_variety():
    found = {COLD: replace(REAL, distinct=0.5), WARM: replace(REAL, distinct=0.8), HOT: replace(REAL, words=11)}
    assert choose(found, REAL) == WARM


def test_the_table_marks_the_chosen_one_and_ends_with_the_real_replies():
    found = {COLD: replace(REAL, ended=0.4, words=10), WARM: REAL, HOT: replace(REAL, distinct=None)}
    first, _, _, _, cold, warm, hot, real = choice_table(found, REAL, 1000).splitlines()
    assert first == "Distinct-2 of 1,000 words."
    assert cold == "| 0.6, 0.8 | 0.400 | 0.0100 | 10.0 | 0.50 | 0.900 | 0.876 | 0.000 |"  # log 2 + log 1.2
    assert warm == "| **0.8, 0.9** | 0.900 | 0.0100 | 20.0 | 1.00 | 0.900 | 0.000 | 0.000 |"
    assert hot.endswith("| - | - | - |")
    assert real == "| the real replies | 0.900 | 0.0100 | 20.0 | 1.00 | 0.900 | 0.000 | 0.000 |"
