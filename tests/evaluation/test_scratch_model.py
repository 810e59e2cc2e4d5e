import math
from dataclasses import replace

import pytest
import torch

from llm.dialogue import Example, Prompt
from llm.evaluation.perplexity import perplexity, resample_examples
from llm.evaluation.scoring import Score
from llm.evaluation.scratch_model import ScratchModel
from llm.inference.decoding import Decoding
from llm.inference.replies import Reply
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
GREEDY = Decoding(max_reply_bytes=6, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)


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
SHORT += [
    replace(SHORT[0], system="Be kind"),
    replace(SHORT[0], opening="a"),
    *(Example(f"b{i}/0", "book", "b", (), text) for i, text in enumerate(("It is", "a word is a piece"))),
]
LONG = make_examples(("What is a token?", TEXTS[1] * 2), (TEXTS[0] * 2, "A word."), (TEXTS[0] * 2, TEXTS[1]))


@torch.no_grad()
def score_slowly(model, example):
    """One token at a time, from the text."""
    ids = TOKENIZER.encode_prompt(example.history, example.system) + TOKENIZER.encode(example.opening)
    logprobs = []
    for target in [*TOKENIZER.encode(example.reply), TOKENIZER.end_id]:
        logprobs.append(model.gpt(torch.tensor([ids]))[0, -1].double().log_softmax(0)[target].item())
        ids.append(target)
    return Score(sum(logprobs[:-1]), logprobs[-1], len(logprobs) - 1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_scores_are_those_of_one_token_at_a_time(architecture):
    model = make_model(architecture)
    for example, score in zip(SHORT, model.loglik(SHORT), strict=True):
        expected = score_slowly(model, example)
        assert score.logprob == pytest.approx(expected.logprob, rel=1e-6, abs=1e-6)
        assert score.end_logprob == pytest.approx(expected.end_logprob, rel=1e-6)
        assert (score.n_tokens, score.n_windows, score.n_cut) == (expected.n_tokens, 1, 0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
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


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_replies_are_those_of_each_history_alone(architecture):
    model = make_model(architecture)
    histories = [("Why?",), ("What is a word?", "It is", "What?"), (TEXTS[0] * 3,), (*TEXTS, "So?"), ("Why?",)]
    prompts = [*map(Prompt, histories), Prompt(("Why?",), "Be kind"), Prompt((), opening="What is"), Prompt(())]
    replies = model.generate(prompts, GREEDY)
    assert replies == [model.generate([prompt], GREEDY)[0] for prompt in prompts]
    assert replies[0] == replies[4]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_a_reply_reaches_the_cap_however_short_the_window_is(architecture):
    how = replace(GREEDY, max_reply_bytes=300)
    model = make_model(architecture)
    with torch.no_grad():
        model.gpt.head[list(TOKENIZER.role_ids)] = 0  # it ends no reply
    found = model.generate([Prompt(("Why?",)), Prompt((TEXTS[0] * 3,))], how)
    assert all(len(reply.text.encode()) > 290 and not reply.ended for reply in found)  # LENGTH is 32 tokens
    assert all(len(TOKENIZER.encode(reply.text)) > 2 * LENGTH for reply in found)


def test_samples_follow_the_seed_and_the_history():
    model = make_model()
    sampled = [Decoding(8, 1.0, 0, 1.0, 1.0, seed) for seed in (1, 2)]
    histories = [Prompt(("Why?",)), Prompt(("What is a word?",))]
    assert model.generate(histories, sampled[0]) == model.generate(histories[::-1], sampled[0])[::-1]
    assert model.generate(histories, sampled[0]) != model.generate(histories, sampled[1])


@pytest.mark.parametrize("role", ["user_id", "assistant_id", "end_id", "system_id", "document_id"])
def test_a_role_token_ends_a_reply(role):
    model = make_model()
    with torch.no_grad():  # every hidden state points to the role's row of the head
        row = model.gpt.head[getattr(TOKENIZER, role)].mul_(10)  # longer than any other
        model.gpt.ln_f.bias.copy_(100 * row)
    assert model.generate([Prompt(("Why?",))], GREEDY) == [Reply("", True)]


def test_a_score_of_nothing_but_the_end_has_no_text():
    (score,) = make_model().loglik(make_examples(("Hm", "")))
    assert score.logprob == 0 and score.n_tokens == 0 and score.end_logprob < 0
    assert math.isfinite(score.end_logprob)


def test_perplexity_does_not_depend_on_batches_or_prompts_of_other_lengths():
    resampling = resample_examples(SHORT + LONG, 10, seed=1)
    found = [
        perplexity(SHORT + LONG, make_model("llama", batch_tokens).loglik(SHORT + LONG), resampling)["all"].value
        for batch_tokens in (1, 40, 10_000)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)
