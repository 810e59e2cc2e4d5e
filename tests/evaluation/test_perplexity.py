import math

import pytest

from llm.dialogue import Example
from llm.evaluation.perplexity import bits_per_byte, perplexity, resample_examples, small_figures
from llm.evaluation.scoring import Score

EXAMPLES = [
    Example("1/1", "eli5", "g1", ("Why?",), "abcd"),
    Example("2/1", "eli5", "g2", ("Why?",), "é"),  # two bytes
    Example("3/1", "dialogue", "g1", ("Hi",), "ab"),
]
SCORES = [Score(-3 * math.log(2), -math.log(2), 3), Score(-math.log(2), 0.0, 1), Score(-math.log(8), -math.log(2), 1)]
RESAMPLING = resample_examples(EXAMPLES, 50, seed=1)


def test_perplexity_is_one_exponential_of_totals_with_the_end_token():
    found = perplexity(EXAMPLES, SCORES, RESAMPLING)
    # bits: 4 of 4 tokens, 1 of 2, 4 of 2
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(
        {"all": 2 ** (9 / 8), "eli5": 2 ** (5 / 6), "dialogue": 2 ** (4 / 2), "macro": (2 ** (5 / 6) + 4) / 2}
    )


def test_a_loss_whose_exponential_no_float_holds_is_an_infinite_perplexity():
    found = perplexity(EXAMPLES, [Score(-5000.0, -1.0, 3), *SCORES[1:]], RESAMPLING)
    assert found["all"].value < math.inf == found["eli5"].value  # 5001 nats and some for 8 tokens, and for 6


def test_bits_per_byte_counts_text_alone():
    found = bits_per_byte(EXAMPLES, SCORES, RESAMPLING)
    # bits without the end: 3 of 4 bytes, 1 of 2, 3 of 2
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(
        {"all": 7 / 8, "eli5": 4 / 6, "dialogue": 3 / 2, "macro": (4 / 6 + 3 / 2) / 2}
    )


def test_the_interval_of_a_source_of_one_group_is_its_value():
    found = bits_per_byte(EXAMPLES, SCORES, RESAMPLING)["dialogue"]
    assert (found.low, found.high) == pytest.approx((1.5, 1.5))


def test_scores_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="3 examples, 2 scores"):
        perplexity(EXAMPLES, SCORES[:2], RESAMPLING)


@pytest.mark.parametrize("lengths", [(1, 1, 1), (3, 0, 40)])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(lengths):
    scores = [Score(-n * math.log(4096), -math.log(4096), n) for n in lengths]
    found = perplexity(EXAMPLES, scores, RESAMPLING)
    assert [estimate.value for estimate in found.values()] == pytest.approx([4096] * 4, rel=1e-12)


def test_perplexity_is_no_mean_of_the_items_or_batches():
    scores = [Score(0.0, 0.0, 9), Score(-math.log(2), 0.0, 0), Score(0.0, 0.0, 1)]  # 1 bit in 13 tokens
    assert perplexity(EXAMPLES, scores, RESAMPLING)["all"].value == pytest.approx(2 ** (1 / 13))


def test_a_source_is_small_by_its_groups_not_its_dialogues_and_replies():
    drawn = [("dialogue", g, i) for g in (1, 2) for i in range(5)] + [("eli5", g, 1) for g in (1, 2, 3)]
    replies = [Example(f"{source}{g}-{i}/1", source, f"g{g}", ("Why?",), "So.") for source, g, i in drawn]
    assert small_figures(replies, min_groups=3) == ["dialogue", "macro"]  # two films of five dialogues
    assert small_figures(replies, min_groups=2) == []
    assert small_figures(replies, min_groups=6) == ["dialogue", "eli5", "macro", "all"]
