"""Comparisons in sentences: what they say of each verdict."""

from dataclasses import replace

import pytest

from llm.app.verdicts import TOLD, bits_sentence, comparison_table, explain_verdict
from llm.runs.compare import Line
from llm.stats.verdict import CANT_TELL, NUMERALS

BETTER = Line(
    n=166, chance=None, a=1.2, b=1.5, difference=-0.3, low=-0.35, high=-0.25, p=0.001, test="paired bootstrap",
    seed_p=None, verdict="better on these items; one seed",
)  # fmt: skip


def test_every_verdict_of_the_rules_has_its_sentence():
    verdicts = {"better", "better on these items", *(f"better on these items; {n}" for n in NUMERALS.values())}
    assert set(TOLD) == verdicts
    for verdict in verdicts:
        assert explain_verdict(replace(BETTER, verdict=verdict.replace("better", "worse"))) == f"This {TOLD[verdict]}"


def test_fewer_bits_are_a_share_of_the_others():
    told = bits_sentence("mistral - scratch", BETTER)  # 1 - 1.2 / 1.5
    assert "(`mistral`) needs 20 % fewer bits for a byte of the real replies than the model trained here" in told
    assert "1.200 against 1.500; 95 % interval of the difference -0.350 to -0.250, n = 166 replies." in told


def test_more_bits_are_called_more():
    told = bits_sentence("scratch - ngram5", replace(BETTER, a=1.5, b=1.2, difference=0.3, low=0.25, high=0.35))
    assert "needs 25 % more bits" in told


def test_where_the_interval_holds_0_no_side_has_fewer():
    line = replace(BETTER, b=1.21, difference=-0.01, low=-0.05, high=0.03, verdict=CANT_TELL)
    assert "needs about as many bits for a byte of the real replies as" in bits_sentence("mistral - base", line)
    assert explain_verdict(line) == "The interval holds 0, so these items cannot tell which of the two is better."


@pytest.mark.parametrize(
    ("low", "high", "told"), [(None, None, "Too few groups of items"), (-0.35, -0.25, "The interval leaves out 0, but")]
)
def test_why_nothing_can_be_told_is_said(low, high, told):
    assert explain_verdict(replace(BETTER, low=low, high=high, verdict=CANT_TELL)).startswith(told)


def test_a_comparison_says_which_way_is_better():
    table = comparison_table({"bpb.all": BETTER, "text.chrf": BETTER}, "mistral", "scratch")
    assert "| bits per byte ↓ | 166 |" in table and "| chrF++ ↑ |" in table
