import pytest
import torch

from llm.hub.export import to_hugging_face
from llm.inference.decoding import Decoding
from llm.inference.generate import generate
from llm.inference.replies import TokenTexts, prompt_room
from llm.models.registry import build_model
from llm.models.shape import ModelConfig

V, LENGTH, STOP = 40, 32, (0, 1, 2, 3, 4, 5)
GREEDY = Decoding(max_reply_bytes=12, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
SAMPLED = Decoding(max_reply_bytes=12, temperature=1.0, top_k=30, top_p=0.95, repetition_penalty=1.3, seed=1)


@pytest.fixture(params=["gpt2", "llama", "qwen3"])
def model(request):
    config = ModelConfig(request.param, 2, 2, 16, LENGTH, dropout=0.0, attn_dropout=0.0)
    model = build_model(config, V, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # an untrained model repeats its last token for ever
            parameter.mul_(10 if "blocks" in name and parameter.dim() == 2 else 1)
    return model


BYTES = TokenTexts([1] * V, lambda ids: "x" * len(ids))  # of a tokenizer that has a token for each byte


def replies(*arguments, texts=BYTES):
    """Ids of the replies of `generate`."""
    *before, batch_tokens = arguments
    return [draft.ids for draft in generate(*before, texts, batch_tokens)]


def draw_prompts(n, longest=16):
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, longest + 1, (n,), generator=generator)
    return [torch.randint(1, V, (int(length),), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def generate_slowly(model, prompt, n_tokens, stop):
    """Greedy, all that the window shows anew for each token; when it is full its older half is dropped."""
    ids, first = list(prompt), 0
    while len(ids) < len(prompt) + n_tokens:
        if len(ids) - first > LENGTH:
            first = len(ids) - LENGTH // 2
        chosen = int(model(torch.tensor([ids[first:]]))[0, -1].argmax())
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
    assert replies(model, prompts, torch.zeros(20, 12), GREEDY, STOP, batch_tokens) == expected


@pytest.mark.parametrize("batch_tokens", [1, 200])
def test_replies_are_those_of_transformers_on_every_machine(machine, model, batch_tokens):
    prompts, model = draw_prompts(20), model.to(machine.dtype)
    expected = [reply_of_transformers(model, prompt) for prompt in prompts]
    assert len({len(reply) for reply in expected}) > 2  # some end early
    assert replies(model, prompts, torch.zeros(20, 12), GREEDY, STOP, batch_tokens) == expected


def test_samples_do_not_depend_on_the_batch(model):
    prompts, draws = draw_prompts(20), torch.rand(20, 12, generator=torch.Generator().manual_seed(3))
    together = replies(model, prompts, draws, SAMPLED, STOP, 10_000)
    alone = [
        replies(model, [prompt], draw[None], SAMPLED, STOP, 10_000)[0]
        for prompt, draw in zip(prompts, draws, strict=True)
    ]
    assert together == alone
    assert together != replies(model, prompts, 1 - draws, SAMPLED, STOP, 10_000)


def test_a_penalty_without_bound_repeats_nothing(model):
    how = Decoding(max_reply_bytes=12, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=100.0, seed=1)
    with torch.no_grad():
        model.head[:, 0] += 50.0  # logits far from 0, so that the penalty outweighs them
    prompts = draw_prompts(5)
    for prompt, reply in zip(prompts, replies(model, prompts, torch.zeros(5, 12), how, (), 999), strict=True):
        assert len(set(reply)) == 12
        assert not set(reply) & set(prompt)


def test_a_long_prompt_keeps_its_end(model):
    prompt = draw_prompts(1, 16)[0] * 40
    room = prompt_room(LENGTH)
    assert room == 24
    expected = generate_slowly(model, prompt[-room:], 12, STOP)
    assert replies(model, [prompt], torch.zeros(1, 12), GREEDY, STOP, 999) == [expected]


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
def test_a_reply_longer_than_the_window_goes_on_with_half_of_it(model, batch_tokens):
    how = Decoding(max_reply_bytes=100, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
    prompts = [*draw_prompts(5, 24), [1, 2, 3], list(range(1, 25))]
    found = replies(model, prompts, torch.zeros(7, 101), how, (), batch_tokens)
    assert found == [generate_slowly(model, prompt, 101, ()) for prompt in prompts]


def test_a_sample_slides_without_losing_its_place_in_the_draws(model):
    how = Decoding(max_reply_bytes=60, temperature=1.0, top_k=0, top_p=0.9, repetition_penalty=1.3, seed=1)
    prompts, draws = draw_prompts(6, 20), torch.rand(6, 61, generator=torch.Generator().manual_seed(3))
    together = replies(model, prompts, draws, how, (), 10_000)
    assert together == [replies(model, [p], d[None], how, (), 1)[0] for p, d in zip(prompts, draws, strict=True)]
    assert {len(reply) for reply in together} == {61}
    changed = draws.clone()
    changed[:, 50:] = 1 - draws[:, 50:]  # behind the first slide only what comes later changes
    again = replies(model, prompts, changed, how, (), 10_000)
    assert [reply[:50] for reply in again] == [reply[:50] for reply in together] and again != together


def test_a_reply_stops_behind_the_cap_in_bytes_whatever_its_tokens(model):
    n_bytes = [i % 5 for i in range(V)]
    texts = TokenTexts(n_bytes, lambda ids: "".join("x" * n_bytes[i] for i in ids))
    how = Decoding(max_reply_bytes=20, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
    prompts = draw_prompts(20)
    found = replies(model, prompts, torch.zeros(20, 21), how, (), 500, texts=texts)
    for prompt, reply in zip(prompts, found, strict=True):
        sizes = torch.tensor([n_bytes[i] for i in generate_slowly(model, prompt, 21, ())]).cumsum(0)
        assert len(reply) == min(21, int((sizes <= 20).sum()) + 1)
        assert reply == generate_slowly(model, prompt, len(reply), ())
    assert len({len(reply) for reply in found}) > 2
