import pytest
import torch

from llm.hub.export import to_hugging_face
from llm.inference.decoding import Decoding
from llm.inference.generate import generate, prompt_room
from llm.models.registry import build_model
from llm.models.shape import ModelConfig

V, LENGTH, STOP = 40, 32, (0, 1, 2, 3, 4, 5)
GREEDY = Decoding(max_new_tokens=12, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
SAMPLED = Decoding(max_new_tokens=12, temperature=1.0, top_k=30, top_p=0.95, repetition_penalty=1.3, seed=1)


@pytest.fixture(params=["gpt2", "llama"])
def model(request):
    config = ModelConfig(request.param, 2, 2, 16, LENGTH, dropout=0.0, attn_dropout=0.0)
    model = build_model(config, V, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # an untrained model repeats its last token for ever
            parameter.mul_(10 if "blocks" in name and parameter.dim() == 2 else 1)
    return model


def draw_prompts(n, longest=16):
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, longest + 1, (n,), generator=generator)
    return [torch.randint(1, V, (int(length),), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def generate_slowly(model, prompt, max_new_tokens, stop):
    """Greedy, the whole text anew for each token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + max_new_tokens:
        chosen = int(model(torch.tensor([ids]))[0, -1].argmax())
        if chosen in stop:
            break
        ids.append(chosen)
    return ids[len(prompt) :]


def reply_of_transformers(model, prompt):
    """Greedy, by transformers' own `generate`."""
    ids, theirs = torch.tensor([prompt]), to_hugging_face(model, list(STOP)).eval()
    said = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0)
    reply = said[0, len(prompt) :].tolist()
    return reply[:-1] if reply[-1] in STOP else reply


@pytest.mark.parametrize("batch_tokens", [1, 200, 10_000])
def test_greedy_replies_are_those_of_the_uncached_model(model, batch_tokens):
    prompts = draw_prompts(20)
    expected = [generate_slowly(model, prompt, 12, STOP) for prompt in prompts]
    assert len({len(reply) for reply in expected}) > 2  # some end early
    assert generate(model, prompts, torch.zeros(20, 12), GREEDY, STOP, batch_tokens) == expected


@pytest.mark.parametrize("batch_tokens", [1, 200])
def test_replies_are_those_of_transformers_on_every_machine(machine, model, batch_tokens):
    prompts, model = draw_prompts(20), model.to(machine.dtype)
    expected = [reply_of_transformers(model, prompt) for prompt in prompts]
    assert len({len(reply) for reply in expected}) > 2  # some end early
    assert generate(model, prompts, torch.zeros(20, 12), GREEDY, STOP, batch_tokens) == expected


def test_samples_do_not_depend_on_the_batch(model):
    prompts, draws = draw_prompts(20), torch.rand(20, 12, generator=torch.Generator().manual_seed(3))
    together = generate(model, prompts, draws, SAMPLED, STOP, 10_000)
    alone = [
        generate(model, [prompt], draw[None], SAMPLED, STOP, 10_000)[0]
        for prompt, draw in zip(prompts, draws, strict=True)
    ]
    assert together == alone
    assert together != generate(model, prompts, 1 - draws, SAMPLED, STOP, 10_000)


def test_a_penalty_without_bound_repeats_nothing(model):
    how = Decoding(max_new_tokens=12, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=100.0, seed=1)
    with torch.no_grad():
        model.head[:, 0] += 50.0  # logits far from 0, so that the penalty outweighs them
    prompts = draw_prompts(5)
    for prompt, reply in zip(prompts, generate(model, prompts, torch.zeros(5, 12), how, (), 999), strict=True):
        assert len(set(reply)) == 12
        assert not set(reply) & set(prompt)


def test_a_long_prompt_keeps_its_end(model):
    (prompt,) = [draw_prompts(1, 16)[0] * 40]
    room = prompt_room(LENGTH, 12)
    assert room == LENGTH - 12
    expected = generate_slowly(model, prompt[-room:], 12, STOP)
    assert generate(model, [prompt], torch.zeros(1, 12), GREEDY, STOP, 999) == [expected]


def test_a_reply_ends_with_the_window(model):
    how = Decoding(max_new_tokens=1000, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
    short, long = [1, 2, 3], list(range(1, 20))  # the long one keeps half a window
    replies = generate(model, [short, long], torch.zeros(2, 1000), how, (), 9999)
    assert [len(reply) for reply in replies] == [LENGTH - 3 + 1, LENGTH // 2 + 1]
    assert replies[0] == generate_slowly(model, short, LENGTH - 3 + 1, ())
