import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.dialogue import Example
from llm.evaluation.ngram import train_ngram
from llm.evaluation.perplexity import perplexity, resample_examples
from llm.evaluation.scoring import (
    Decoding,
    NgramScorer,
    Replier,
    Score,
    Scorer,
    ScratchModel,
    check_lossless,
    cut_history,
    fit_prompt,
)
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer

TEXTS = [
    "What is a token? A token is a piece of text, often a part of a word.",
    "Why does a model make mistakes? It learns from examples, and examples are never complete.",
    "How do you do? I do well, thank you. And how is the weather over there?",
]
TOKENIZER = train_tokenizer(TEXTS * 4, TokenizerConfig(vocab_size=300, min_frequency=2))
LENGTH = 32
GREEDY = Decoding(max_new_tokens=6, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)


def make_model(architecture="gpt2", batch_tokens=256):
    config = ModelConfig(architecture, 2, 2, 16, LENGTH, dropout=0.1, attn_dropout=0.0)
    gpt = build_model(config, TOKENIZER.vocab_size, torch.Generator().manual_seed(1))
    with torch.no_grad():
        gpt.head.mul_(20)  # far from uniform
    return ScratchModel("scratch", gpt, TOKENIZER, batch_tokens)


def make_examples(*pairs):
    return [Example(f"{i}/1", "eli5", f"g{i}", tuple(history), reply) for i, (*history, reply) in enumerate(pairs)]


SHORT = make_examples(
    ("Why?", "A token"),
    ("Why?", "It learns."),
    ("What is a word?", "It is"),
    ("Hi", "How?", "Why", "déjà vu \u2603"),
    ("Hm", "<|end|>"),
    ("Hm", ""),
)
LONG = make_examples(("What is a token?", TEXTS[1] * 2), (TEXTS[0] * 2, "A word."), (TEXTS[0] * 2, TEXTS[1]))


@torch.no_grad()
def score_slowly(model, example):
    """One token at a time, from the text."""
    ids = TOKENIZER.encode_prompt(example.history)
    logprobs = []
    for target in [*TOKENIZER.encode(example.reply), TOKENIZER.end_id]:
        logprobs.append(model.gpt(torch.tensor([ids]))[0, -1].double().log_softmax(0)[target].item())
        ids.append(target)
    return Score(sum(logprobs[:-1]), logprobs[-1], len(logprobs) - 1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_scores_are_those_of_one_token_at_a_time(architecture):
    model = make_model(architecture)
    for example, score in zip(SHORT, model.loglik(SHORT), strict=True):
        expected = score_slowly(model, example)
        assert score.logprob == pytest.approx(expected.logprob, rel=1e-6, abs=1e-6)
        assert score.end_logprob == pytest.approx(expected.end_logprob, rel=1e-6)
        assert (score.n_tokens, score.n_windows, score.n_cut) == (expected.n_tokens, 1, 0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_batches_padding_and_company_do_not_change_scores(architecture):
    together = make_model(architecture, batch_tokens=100_000).loglik(SHORT + LONG)
    alone = [make_model(architecture, batch_tokens=1).loglik([example])[0] for example in SHORT + LONG]
    for a, b in zip(together, alone, strict=True):
        assert (a.logprob, a.end_logprob) == pytest.approx((b.logprob, b.end_logprob), rel=1e-6, abs=1e-6)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    model, examples = make_model(), SHORT + LONG
    with torch.no_grad():
        model.gpt.head.zero_()
    found = perplexity(examples, model.loglik(examples), resample_examples(examples, 10, seed=1))
    assert found["all"].value == pytest.approx(TOKENIZER.vocab_size, rel=1e-6)


def test_a_long_reply_is_scored_whole():
    sliding, cut, both = make_model().loglik(LONG)
    for example, score in zip(LONG, (sliding, cut, both), strict=True):
        assert score.n_tokens == len(TOKENIZER.encode(example.reply))
    assert sliding.n_windows > 1 and sliding.n_cut == 0
    assert cut.n_windows == 1 and cut.n_cut > 0
    assert both.n_windows > 1 and both.n_cut == len(TOKENIZER.encode_prompt(LONG[2].history)) - LENGTH // 2


def test_reply_tokens_do_not_depend_on_the_prompt():
    # together "to" + "ken" would be one token
    (example,) = make_examples(("to", "ken"))
    assert make_model().loglik([example])[0].n_tokens == len(TOKENIZER.encode("ken"))


def test_a_model_in_training_mode_is_scored_without_dropout():
    model = make_model()
    model.gpt.train()
    model = ScratchModel("again", model.gpt, TOKENIZER, 256)
    assert model.loglik(SHORT) == model.loglik(SHORT)


def test_a_reply_that_the_tokenizer_loses_is_refused():
    with pytest.raises(ValueError, match="reply 0/1 into 'a to'"):
        check_lossless(make_examples(("Hi", "a token")), ["a to"])


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_replies_are_those_of_each_history_alone(architecture):
    model = make_model(architecture)
    histories = [("Why?",), ("What is a word?", "It is", "What?"), (TEXTS[0] * 3,), (*TEXTS, "So?"), ("Why?",)]
    replies = model.generate(histories, GREEDY)
    assert replies == [model.generate([history], GREEDY)[0] for history in histories]
    assert replies[0] == replies[4]


def test_samples_follow_the_seed_and_the_history():
    model = make_model()
    sampled = [Decoding(8, 1.0, 0, 1.0, 1.0, seed) for seed in (1, 2)]
    histories = [("Why?",), ("What is a word?",)]
    assert model.generate(histories, sampled[0]) == model.generate(histories[::-1], sampled[0])[::-1]
    assert model.generate(histories, sampled[0]) != model.generate(histories, sampled[1])


@pytest.mark.parametrize("role", ["user_id", "assistant_id", "end_id"])
def test_a_role_token_ends_a_reply(role):
    model = make_model()
    with torch.no_grad():  # every hidden state points to the role's row of the head
        model.gpt.ln_f.bias.copy_(100 * model.gpt.head[getattr(TOKENIZER, role)])
    assert model.generate([("Why?",)], GREEDY) == [""]


def test_a_prompt_loses_its_oldest_exchanges():
    history = ("Why?", "So.", "What is a word?")
    last = TOKENIZER.encode_prompt(history[2:])
    assert fit_prompt(history, len(last), TOKENIZER.encode_prompt) == last
    assert fit_prompt(history, 1, TOKENIZER.encode_prompt) == last
    assert fit_prompt(history, 1000, TOKENIZER.encode_prompt) == TOKENIZER.encode_prompt(history)


TURNS = st.text("ab \n\u2603", min_size=1).filter(lambda text: text.strip() == text)
HISTORIES = st.lists(TURNS, min_size=1, max_size=7).filter(lambda turns: len(turns) % 2 == 1).map(tuple)


@given(HISTORIES, st.integers(1, 30))
def test_a_cut_history_fits_ends_alike_and_starts_with_the_user(history, max_chars):
    found = cut_history(history, max_chars)
    assert 1 <= sum(map(len, found)) <= max_chars
    assert len(found) % 2 == 1
    assert found[1:] == history[len(history) - len(found) + 1 :]
    assert history[len(history) - len(found)].endswith(found[0])


@given(HISTORIES)
def test_a_history_that_fits_is_left_alone(history):
    assert cut_history(history, sum(map(len, history))) == history


@pytest.mark.parametrize(
    ("max_chars", "expected"),
    [(100, "the cat sat"), (7, "cat sat"), (6, "sat"), (8, "cat sat"), (3, "sat"), (2, "at")],
)
def test_a_long_turn_is_cut_at_a_word(max_chars, expected):
    assert cut_history(("the cat sat",), max_chars) == (expected,)


def test_a_score_of_nothing_but_the_end_has_no_text():
    (score,) = make_model().loglik(make_examples(("Hm", "")))
    assert score.logprob == 0 and score.n_tokens == 0 and score.end_logprob < 0
    assert math.isfinite(score.end_logprob)


def test_a_counting_model_is_scored_on_the_reply_alone():
    dialogues = [TOKENIZER.encode_dialogue(TEXTS[:2]), TOKENIZER.encode_dialogue(TEXTS[1:])]
    offsets = np.cumsum([0, *map(len, dialogues)])
    ngram = train_ngram(np.concatenate(dialogues), offsets, TOKENIZER.vocab_size, order=3)
    (example,) = make_examples(("Why?", "A token", "What?", "a piece of text"))
    (score,) = NgramScorer("ngram5", ngram, TOKENIZER).loglik([example])
    whole = ngram.token_logprobs(TOKENIZER.encode_dialogue([*example.history, example.reply])).sum()
    prompt = ngram.token_logprobs(TOKENIZER.encode_prompt(example.history)).sum()
    assert score.logprob + score.end_logprob == pytest.approx(whole - prompt, rel=1e-12)  # it reads 2 tokens of it
    assert score.n_tokens == len(TOKENIZER.encode(example.reply))


@pytest.mark.parametrize("order", [1, 2, 5])
def test_a_counting_model_reads_no_more_of_a_prompt_than_it_depends_on(order):
    ids = np.concatenate([TOKENIZER.encode_dialogue(TEXTS[:2]), TOKENIZER.encode_dialogue(TEXTS[1:])])
    ngram = train_ngram(ids, [0, len(ids)], TOKENIZER.vocab_size, order)
    for example, score in zip(SHORT + LONG, NgramScorer("n", ngram, TOKENIZER).loglik(SHORT + LONG), strict=True):
        reply = [*TOKENIZER.encode(example.reply), TOKENIZER.end_id]
        logprobs = ngram.token_logprobs([*TOKENIZER.encode_prompt(example.history), *reply])[-len(reply) :]
        assert (score.logprob, score.end_logprob) == (logprobs[:-1].sum(), logprobs[-1])  # bit for bit


def test_a_counting_model_scores_and_does_not_reply():
    counting = NgramScorer("n", train_ngram([1, 2], [0, 2], TOKENIZER.vocab_size), TOKENIZER)
    assert (isinstance(counting, Scorer), isinstance(counting, Replier)) == (True, False)
    assert (isinstance(make_model(), Scorer), isinstance(make_model(), Replier)) == (True, True)


def test_perplexity_does_not_depend_on_batches_or_prompts_of_other_lengths():
    resampling = resample_examples(SHORT + LONG, 10, seed=1)
    found = [
        perplexity(SHORT + LONG, make_model("llama", batch_tokens).loglik(SHORT + LONG), resampling)["all"].value
        for batch_tokens in (1, 40, 10_000)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)
