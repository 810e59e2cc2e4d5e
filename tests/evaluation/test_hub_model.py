import copy
from dataclasses import replace

import pytest
import torch
from tokenizers import pre_tokenizers

from llm.dialogue import Example, Prompt
from llm.evaluation.hub_model import HubModel
from llm.hub.chat import DOCUMENT_SEPARATOR, FALLBACK_TEMPLATE, encode_prompt, encode_reply, end_id
from llm.hub.smollm2 import byte_level_tokenizer
from llm.inference.decoding import Decoding
from llm.inference.replies import cut_reply
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer

TEXTS = ["What is a token? A piece of text.", "Why does a model make mistakes? It learns from examples."]
HISTORIES = [("Why?",), ("What is a word?", "It is text.", "What?"), (TEXTS[1],), ("Hi", "Hi", "So?"), ("Hm",)]
SYSTEM_PROMPT = "{% if messages[0]['role'] != 'system' %}Be kind to everyone{% endif %}"
PROMPTS = [Prompt(history) for history in HISTORIES]
EXAMPLES = [
    Example(f"{i}/1", "eli5", f"g{i}", HISTORIES[i % 5], reply) for i, reply in enumerate([*TEXTS, "é", ""] * 3)
]


def decoding(**changes):
    plain = {"max_reply_bytes": 8, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 1}
    return Decoding(**{**plain, **changes})


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("hub") / "tokenizer.json"
    train_tokenizer(TEXTS * 4, TokenizerConfig(vocab_size=300, min_frequency=2)).save(path)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), eos_token="<|end|>")
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        sliding_window=None,
        initializer_range=0.3,
    )
    torch.manual_seed(1)
    return MistralForCausalLM(config), tokenizer


def make_model(parts, batch_tokens=256):
    return HubModel("base", *parts, batch_tokens)


@torch.no_grad()
def test_scores_are_those_of_plain_transformers(parts):
    model, tokenizer = parts
    told = [replace(example, system="Be kind") for example in EXAMPLES[:5]]
    documents = [Example(f"d{i}/0", "book", "d", (), text) for i, text in enumerate(TEXTS)]
    examples = [*EXAMPLES, *told, *documents]
    for example, score in zip(examples, make_model(parts).loglik(examples), strict=True):
        prompt = encode_prompt(tokenizer, example.history, example.system)
        if not example.history:
            assert prompt == [tokenizer.eos_token_id]  # it has no bos
        reply = encode_reply(tokenizer, example.reply)
        targets = torch.tensor([*reply, end_id(tokenizer) if example.history else tokenizer.eos_token_id])
        logits = model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 :]
        logprobs = logits.double().log_softmax(1).gather(1, targets[:, None]).squeeze(1)
        assert score.n_tokens == len(reply)
        assert score.logprob == pytest.approx(logprobs[:-1].sum().item(), rel=1e-6, abs=1e-6)
        assert score.end_logprob == pytest.approx(logprobs[-1].item(), rel=1e-6)


def test_batches_do_not_change_scores(parts):
    together = make_model(parts, 100_000).loglik(EXAMPLES)
    for example, score in zip(EXAMPLES, together, strict=True):
        (alone,) = make_model(parts, 1).loglik([example])
        assert score.logprob == pytest.approx(alone.logprob, rel=1e-6, abs=1e-6)


@torch.no_grad()
def reply_plainly(parts, prompt, max_bytes):
    """Greedy, by transformers alone, the text anew for each token; half a window is kept when it is full."""
    model, tokenizer = parts
    window, read, reply = model.config.max_position_embeddings, list(prompt), []
    while len(reply) <= max_bytes:
        read = read if len(read) <= window else read[-window // 2 :]
        chosen = int(model(torch.tensor([read])).logits[0, -1].argmax())
        if chosen == end_id(tokenizer):
            return cut_reply(tokenizer.decode(reply, skip_special_tokens=True), True, max_bytes)
        reply, read = [*reply, chosen], [*read, chosen]
    return cut_reply(tokenizer.decode(reply, skip_special_tokens=True), False, max_bytes)


@pytest.mark.parametrize("max_bytes", [1, 8, 60, 400])
def test_greedy_replies_are_those_of_plain_transformers_alone(parts, max_bytes):
    expected = [reply_plainly(parts, encode_prompt(parts[1], history), max_bytes) for history in HISTORIES]
    assert make_model(parts).generate(PROMPTS, decoding(max_reply_bytes=max_bytes)) == expected
    assert max(len(reply.text.encode()) for reply in expected) > max_bytes - 4
    assert max_bytes < 400 or len(set(map(len, (reply.text for reply in expected)))) > 1


def test_a_model_is_asked_for_texts_in_the_template_it_was_shipped_with_and_scored_without(parts):
    tokenizer = parts[1]
    shipped = copy.copy(tokenizer)
    shipped.chat_template = SYSTEM_PROMPT + FALLBACK_TEMPLATE
    plain = make_model(parts)
    asked = replace(plain, asked_by=shipped)
    expected = [reply_plainly(parts, encode_prompt(shipped, history), 8) for history in HISTORIES]
    assert asked.generate(PROMPTS, decoding()) == expected != plain.generate(PROMPTS, decoding())
    assert asked.loglik(EXAMPLES) == plain.loglik(EXAMPLES)


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_samples_do_not_depend_on_the_batch(parts, penalty):
    how = decoding(temperature=1.0, top_p=0.95, top_k=50, repetition_penalty=penalty)
    together = make_model(parts).generate(PROMPTS, how)
    assert together == [make_model(parts).generate([prompt], how)[0] for prompt in PROMPTS]
    assert len(set(together)) > 1
    assert together != make_model(parts).generate(
        PROMPTS, decoding(temperature=1.0, repetition_penalty=penalty, seed=2)
    )


@pytest.mark.parametrize("batch_tokens", [1, 256, 100_000])
def test_greedy_and_drawn_replies_side_by_side_are_those_of_two_calls(parts, batch_tokens):
    drawn, model = decoding(temperature=2.0, max_reply_bytes=60), make_model(parts, batch_tokens)
    apart = model.generate(PROMPTS, replace(drawn, temperature=0.0)) + model.generate(PROMPTS, drawn)
    assert model.generate(PROMPTS * 2, drawn, len(PROMPTS)) == apart
    assert apart[: len(PROMPTS)] != apart[len(PROMPTS) :]


def test_a_checkpoints_own_decoding_defaults_stay_out(parts):
    model, _ = parts
    plain = make_model(parts).generate(PROMPTS, decoding())
    model.generation_config.repetition_penalty = 3.0
    model.generation_config.temperature = 0.5
    model.generation_config.do_sample = True
    changed = make_model(parts).generate(PROMPTS, decoding())
    model.generation_config = type(model.generation_config)()
    assert changed == plain


def test_a_long_history_and_a_long_reply_are_handled(parts):
    example = Example("9/1", "eli5", "g", ("Well, " * 80, "So.", "Why? " * 60), TEXTS[1] * 5)
    (score,) = make_model(parts).loglik([example])
    assert score.n_tokens == len(encode_reply(parts[1], example.reply))
    assert score.n_windows > 1 and score.n_cut > 0
    assert len(make_model(parts).generate([example.prompt], decoding())) == 1


def test_a_document_ends_with_the_separator_of_pretraining_and_a_reply_with_the_end_of_the_chat(parts):
    special = [DOCUMENT_SEPARATOR, "<s>", "</s>"]
    vocab = {token: i for i, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = byte_level_tokenizer(
        vocab, merges=[], special=special, split_digits=False, bos_token="<s>", eos_token="</s>"
    )
    examples = [Example("d/0", "book", "d", (), "It is"), Example("e/1", "eli5", "e", ("Why?",), "It is")]
    scores = HubModel("base", parts[0], tokenizer, 256).loglik(examples)
    for example, end, score in zip(examples, (0, 2), scores, strict=True):
        prompt = [*encode_prompt(tokenizer, example.history), *encode_reply(tokenizer, example.reply)]
        with torch.no_grad():
            logits = parts[0](torch.tensor([prompt])).logits[0, -1]
        assert score.end_logprob == pytest.approx(logits.double().log_softmax(0)[end].item(), rel=1e-6)
