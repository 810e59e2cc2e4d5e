import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.hub.export import to_hugging_face
from llm.inference.likelihood import ROW_TOKENS, Window, cut_windows, group_by_length, window_logprobs
from llm.models.registry import build_model
from llm.models.shape import ModelConfig

V, LENGTH = 31, 16


def make_model(architecture="gpt2"):
    config = ModelConfig(architecture, 2, 2, 16, LENGTH, dropout=0.0, attn_dropout=0.0)
    model = build_model(config, V, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        model.head.mul_(20)  # far from uniform
    return model


def score(model, windows, batch_tokens):
    def forward(ids, positions, mask):
        return model.hidden(ids, positions, mask=mask)

    return window_logprobs(forward, model.head, windows, batch_tokens)


@torch.no_grad()
def score_slowly(model, window):
    """One token at a time, nothing batched."""
    ids, logprobs = list(window.context), []
    for target in window.targets:
        logprobs.append(model(torch.tensor([ids]))[0, -1].log_softmax(0)[target].item())
        ids.append(target)
    return logprobs


def draw_windows(n, seed, n_contexts=1000):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return tuple(torch.randint(V, (int(torch.randint(low, high, (), generator=generator)),)).tolist())

    contexts = [draw(1, 9) for _ in range(n_contexts)]
    return [Window(contexts[i % n_contexts], draw(1, 8)) for i in range(n)]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("n_contexts", [1000, 3])  # each context once; contexts shared by many replies
@pytest.mark.parametrize("batch_tokens", [1, 64, 10_000])
def test_batches_give_what_one_token_at_a_time_gives(architecture, n_contexts, batch_tokens):
    model, windows = make_model(architecture), draw_windows(30, 2, n_contexts)
    for window, found in zip(windows, score(model, windows, batch_tokens), strict=True):
        assert found.tolist() == pytest.approx(score_slowly(model, window), abs=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("n_contexts", [1000, 3])
def test_likelihoods_are_those_of_transformers_on_every_machine(machine, architecture, n_contexts):
    model, windows = make_model(architecture).to(machine.dtype), draw_windows(12, 2, n_contexts)
    theirs = to_hugging_face(model, [0]).to(machine.dtype).eval()
    for window, found in zip(windows, score(model, windows, 64), strict=True):
        ids, n = torch.tensor([[*window.context, *window.targets]]), len(window.targets)
        with torch.no_grad():
            logprobs = theirs(ids).logits[0, -n - 1 : -1].log_softmax(1)
        expected = logprobs.gather(1, ids[0, -n:, None]).squeeze(1).tolist()
        assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_replies_to_one_prompt_go_on_in_the_next_row_when_a_row_is_full():
    model = make_model()
    windows = [Window((1, 2), (i % V, 3, 4, 5, 6)) for i in range(ROW_TOKENS // 2)]  # 4 inputs each: two rows and more
    found = score(model, windows, 10_000)
    for number in (0, 100, ROW_TOKENS // 2 - 1):
        assert found[number].tolist() == pytest.approx(score_slowly(model, windows[number]), abs=1e-5)


def test_a_uniform_model_gives_every_token_the_same_probability():
    model = make_model()
    with torch.no_grad():
        model.head.zero_()
    for found in score(model, draw_windows(5, 3), 64):
        assert found == pytest.approx(-math.log(V), rel=1e-6)


@given(st.integers(1, 40), st.integers(1, 60), st.integers(2, 20))
def test_windows_predict_every_target_once_and_fit(n_prompt, n_targets, length):
    ids = list(range(n_prompt + n_targets))
    windows = cut_windows(ids[:n_prompt], ids[n_prompt:], length)
    assert [token for window in windows for token in window.targets] == ids[n_prompt:]
    assert all(len(window.context) + len(window.targets) - 1 <= length for window in windows)
    for window in windows:  # consecutive ids: nothing is skipped between context and targets
        assert window.context == tuple(range(window.targets[0] - len(window.context), window.targets[0]))


@given(st.integers(1, 40), st.integers(1, 60), st.integers(2, 20))
def test_every_target_sees_half_a_window_or_all_there_is(n_prompt, n_targets, length):
    ids = list(range(n_prompt + n_targets))
    for window in cut_windows(ids[:n_prompt], ids[n_prompt:], length):
        for i, target in enumerate(window.targets):
            assert len(window.context) + i >= min(target, length // 2)


def test_a_prompt_is_cut_before_the_window_slides():
    (window,) = cut_windows(list(range(12)), [12, 13, 14], length=10)  # 14 inputs, 4 too many
    assert window.context == tuple(range(4, 12))


def test_a_reply_needs_a_prompt():
    with pytest.raises(ValueError, match="prompt"):
        cut_windows([], [1], 4)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_each_item_once_within_the_bound(lengths, batch_tokens):
    batches = group_by_length(lengths, batch_tokens)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= batch_tokens for b in batches)
