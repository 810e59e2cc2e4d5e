"""Mixtures of models against a loop over tokens, with a plain softmax and n-grams in dictionaries."""

import math

import numpy as np
import pytest
import torch

from llm.evaluation.baselines import NgramScorer
from llm.evaluation.mixed import Mixed, fit_weights, mix
from llm.evaluation.perplexity import bits_per_byte, resample_examples
from tests.evaluation.test_ngram import Slow, train
from tests.evaluation.test_scratch_model import LONG, SHORT, TEXTS, TOKENIZER, make_examples, make_model

CORPUS = [TOKENIZER.encode_prompt((text,)) + TOKENIZER.encode("It is so.") + [TOKENIZER.end_id] for text in TEXTS]
ASKED = make_examples(("Why?", "It learns."), ("What is a word?", "A token is so."), ("Hi", "How do you do?"))
VAL = make_examples(("What is a token?", "A token is a piece of"), ("How?", "It is so."), ("Why?", "zq"))


def scratch():
    return make_model("qwen3")


def ngram5():
    return NgramScorer("ngram5", train(CORPUS, TOKENIZER.vocab_size), TOKENIZER)


@torch.no_grad()
def probabilities_slowly(example):
    """Of each token of the reply and of its end, by scratch and by the 5-gram, one token at a time."""
    gpt, counted = scratch().gpt, Slow(CORPUS, TOKENIZER.vocab_size, 5)
    ids, found = TOKENIZER.encode_prompt(example.history), []
    for target in [*TOKENIZER.encode(example.reply), TOKENIZER.end_id]:
        weights = [math.exp(logit) for logit in gpt(torch.tensor([ids]))[0, -1].tolist()]
        by_ngram = counted.p(tuple((["mark"] * 4 + ids)[-4:]), target, 5)
        found.append((weights[target] / sum(weights), by_ngram))
        ids.append(target)
    return found


def test_a_token_is_as_likely_as_the_weighted_mean_of_both_models_says():
    found = Mixed((scratch(), ngram5()), (0.7, 0.3)).loglik(ASKED)
    for example, score in zip(ASKED, found, strict=True):
        *logprobs, end = (math.log(0.7 * a + 0.3 * b) for a, b in probabilities_slowly(example))
        assert score.logprob == pytest.approx(sum(logprobs), rel=1e-6)
        assert score.end_logprob == pytest.approx(end, rel=1e-6)
        assert score.n_tokens == len(logprobs)


def test_the_bits_per_byte_of_a_mixture_are_those_of_the_slow_sum():
    scores = Mixed((scratch(), ngram5()), (0.25, 0.75)).loglik(ASKED)
    found = bits_per_byte(ASKED, scores, resample_examples(ASKED, 100, seed=1))
    bits = sum(-math.log2(0.25 * a + 0.75 * b) for one in ASKED for a, b in probabilities_slowly(one)[:-1])
    assert found["all"].value == pytest.approx(bits / sum(len(one.reply) for one in ASKED), rel=1e-6)


def test_the_fitted_weights_are_the_likeliest_of_a_fine_grid():
    pairs = [pair for example in VAL for pair in probabilities_slowly(example)[:-1]]  # end tokens left out
    likelihood = {w: sum(math.log(w * a + (1 - w) * b) for a, b in pairs) for w in np.arange(0.001, 1, 0.001)}
    weights = fit_weights((scratch(), ngram5()), VAL)
    assert weights[0] == pytest.approx(max(likelihood, key=likelihood.get), abs=0.002)
    assert 0.01 < weights[0] < 0.99  # neither alone
    assert sum(weights) == pytest.approx(1)


def test_a_model_that_is_always_likelier_gets_all_the_weight():
    better, worse = ngram5(), NgramScorer("unseen", train([[0]], TOKENIZER.vocab_size), TOKENIZER)
    assert fit_weights((worse, better), VAL[1:2]) == pytest.approx((0, 1), abs=1e-3)


def test_three_models_are_mixed_in_the_proportion_of_their_weights():
    found = mix(np.log([[0.5, 0.2], [0.3, 0.2], [0.1, 0.8]]), (1 / 3, 1 / 3, 1 / 3))
    assert np.exp(found) == pytest.approx([0.3, 0.4])


def test_a_model_mixed_with_itself_says_the_same_in_one_window_or_several():
    model = scratch()
    for alone, mixed in zip(
        model.loglik(SHORT + LONG), Mixed((model, model), (0.4, 0.6)).loglik(SHORT + LONG), strict=True
    ):
        assert (mixed.logprob, mixed.end_logprob) == pytest.approx((alone.logprob, alone.end_logprob))
        assert mixed.n_tokens == alone.n_tokens
