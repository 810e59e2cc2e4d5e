import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import llm.models.attention
import llm.models.kernels
from llm.models.attention import attend, block_mask, document_mask, flex_serves, packed_mask, try_flex
from llm.models.kernels import keep_mask, keep_share
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from tests.machines.devices import Recorder


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    """Compare values, and gradients with respect to the inputs."""
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(theirs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    found, expected = (torch.autograd.grad(y, inputs, upstream) for y in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("scores", [1, 2 * 3 * 10 * 10, 10**6])  # a row at a time, two rows, all
def test_chunks_of_rows_give_the_values_and_gradients_of_torchs_attention(monkeypatch, scores):
    monkeypatch.setattr(llm.models.kernels, "SCORES", scores)
    q, k, v = (draw(5, 3, 10, 4, seed=i) for i in range(3))
    mask = document_mask(torch.arange(50).view(5, 10) // 7).double()
    theirs = F.scaled_dot_product_attention(q, k, v, mask)
    assert_equal(attend(q, k, v, mask), theirs, (q, k, v))


def test_without_a_mask_attention_is_causal():
    q, k, v = (draw(2, 3, 6, 4, seed=i) for i in range(3))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attend(q, k, v, None), expected, rtol=1e-12, atol=1e-12)


def test_a_single_query_without_a_mask_sees_every_key():
    q, k, v = draw(2, 3, 1, 4), draw(2, 3, 7, 4, seed=2), draw(2, 3, 7, 4, seed=3)
    expected = (q @ k.mT / math.sqrt(4)).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, None), expected, rtol=1e-12, atol=1e-12)


def plainly_dropped(q, k, v, mask, p, rows):
    """Attention by its formula, with the masks that chunks of this many rows of the batch draw."""
    B, H, T, _ = q.shape
    sizes = [len(part) for part in torch.arange(B).split(rows)]
    kept = torch.cat([keep_mask(n * H * T * T, p).view(n, H, T, T) for n in sizes])
    weights = (q @ k.mT / math.sqrt(q.size(-1)) + mask).softmax(-1)
    return (weights * kept / keep_share(p)) @ v


@pytest.mark.parametrize(("rows", "scores"), [(1, 1), (2, 2 * 3 * 10 * 10), (5, 10**6)])
def test_dropped_weights_give_the_values_and_gradients_of_the_formula(monkeypatch, rows, scores):
    monkeypatch.setattr(llm.models.kernels, "SCORES", scores)
    q, k, v = (draw(5, 3, 10, 4, seed=i) for i in range(3))
    mask = document_mask(torch.arange(50).view(5, 10) // 7).double()
    torch.manual_seed(1)
    theirs = plainly_dropped(q, k, v, mask, 0.3, rows)
    torch.manual_seed(1)
    assert_equal(attend(q, k, v, mask, dropout=0.3), theirs, (q, k, v))


def test_attention_dropout_keeps_the_mean():
    q, k = torch.zeros(64, 4, 32, 8), torch.zeros(64, 4, 32, 8)  # equal weights: each value is a mean of kept ones
    torch.manual_seed(1)
    y = attend(q, k, torch.ones(64, 4, 32, 8), torch.zeros(1, 1, 32, 32), dropout=0.2)
    deviation = math.sqrt(0.2 / 0.8 / (64 * 4 * 32 * 32))  # of the mean over all weights
    assert abs(float(y.mean()) - 1.0) < 4 * deviation
    assert not torch.allclose(y, torch.ones_like(y))


def test_long_rows_leave_out_what_their_first_half_cannot_see(monkeypatch):
    monkeypatch.setattr(llm.models.kernels, "SCORES", 2 * 2 * 67 * 67)
    q, k, v = (draw(5, 2, 67, 4, seed=i) for i in range(3))
    mask = document_mask(torch.arange(335).view(5, 67) // 40).double()
    theirs = F.scaled_dot_product_attention(q, k, v, mask)
    assert {piece.keys.stop for piece in llm.models.kernels._pieces(mask, 2)} == {33, 67}
    assert_equal(attend(q, k, v, mask), theirs, (q, k, v))


def test_halves_with_dropped_weights_have_the_gradient_of_their_values():
    q, k, v = (draw(2, 1, 64, 2, seed=i) for i in range(3))

    def dropped(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attend(*tensors, None, dropout=0.3)

    torch.autograd.gradcheck(dropped, (q, k, v), fast_mode=True)


def test_a_mask_that_shows_later_keys_is_respected():
    q, k, v = (draw(2, 3, 64, 4, seed=i) for i in range(3))
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend(q, k, v, mask), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("queries", [1, 3])
def test_a_step_of_generation_equals_the_attention_that_trains(queries):
    q, k, v = draw(2, 3, queries, 4), draw(2, 3, 7, 4, seed=2), draw(2, 3, 7, 4, seed=3)
    mask = torch.zeros(2, 1, queries, 7, dtype=torch.float64)
    mask[0, :, :, :2] = -math.inf  # padding of the first row
    trained = attend(q, k, v, mask)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v, mask), trained, rtol=1e-12, atol=1e-12)


@pytest.fixture
def flex_on_a_cpu(monkeypatch):
    """FlexAttention's uncompiled form, which has gradients on every device; its check speaks of the compiled one."""
    module = pytest.importorskip("torch.nn.attention.flex_attention")
    monkeypatch.setattr(module, "_validate_device", lambda *_: None)


def unfused(test):
    """Without torch's warnings that this form is slow, and of its compiler about gradients inside a network."""
    for told in ("flex_attention called without torch.compile", "The .grad attribute of a Tensor that is not a leaf"):
        test = pytest.mark.filterwarnings(f"ignore:{told}")(test)
    return test


@unfused
@pytest.mark.parametrize("length", [10, 130])  # within a block of 128 and over its edge
def test_flex_attention_gives_the_values_and_gradients_of_the_additive_mask(flex_on_a_cpu, length):
    q, k, v = (draw(3, 2, length, 8, seed=i) for i in range(3))
    documents = torch.arange(3 * length).view(3, length) // 7
    expected = attend(q, k, v, document_mask(documents).double())
    assert_equal(attend(q, k, v, block_mask(documents)), expected, (q, k, v))


@unfused
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_a_model_on_flex_attention_learns_the_same(monkeypatch, flex_on_a_cpu, name):
    """Documents are told apart inside the kernel, for all layers by one mask."""
    shape = ModelConfig(name, 2, 2, 16, 24, dropout=0.0, attn_dropout=0.0)
    model = build_model(shape, 12, torch.Generator().manual_seed(1)).double()
    ids, documents = torch.arange(72).view(3, 24) % 12, torch.arange(72).view(3, 24) // 11
    masks = []
    monkeypatch.setattr(llm.models.attention, "block_mask", lambda d: masks.append(block_mask(d)) or masks[-1])
    results = []
    for serves in (False, True):
        monkeypatch.setattr(llm.models.attention, "flex_serves", lambda device, head_dim, serves=serves: serves)
        hidden = model.hidden(ids, documents=documents)
        results.append((hidden, torch.autograd.grad(hidden.square().sum(), list(model.parameters()))))
    assert len(masks) == 1
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-6)  # cosines and masks are made in fp32


@unfused
def test_the_trial_finds_flex_attention_right_and_says_what_is_wrong(monkeypatch, flex_on_a_cpu):
    cpu = torch.device("cpu")
    with torch.no_grad():  # a validation may come first
        assert try_flex(cpu, 16, torch.float32) is None
    monkeypatch.setattr(llm.models.attention, "_flex_attention", lambda q, k, v, mask: 2 * attend(q, k, v, None))
    assert "differ by a relative" in try_flex(cpu, 16, torch.float32)


def test_where_flex_attention_cannot_run_the_trial_says_why():
    assert "does not support backward on CPU" in try_flex(torch.device("cpu"), 16, torch.float32)


def test_flex_attention_is_for_cuda_and_for_models_without_attention_dropout(monkeypatch, caplog):
    documents = torch.zeros(1, 8, dtype=torch.long)
    plain = ModelConfig("llama", n_layer=1, n_head=2, n_embd=32, context_length=8, dropout=0.1, attn_dropout=0.0)
    dropping = replace(plain, attn_dropout=0.1)
    assert isinstance(packed_mask(documents, plain, training=True), torch.Tensor)
    assert not flex_serves(torch.device("mps"), 16)
    monkeypatch.setattr(llm.models.attention, "flex_serves", lambda device, head_dim: True)
    assert not isinstance(packed_mask(documents, plain, training=True), torch.Tensor)
    assert not isinstance(packed_mask(documents, dropping, training=False), torch.Tensor)
    assert isinstance(packed_mask(documents, dropping, training=True), torch.Tensor)


def test_a_gpu_on_which_flex_attention_fails_keeps_the_additive_mask_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(llm.models.attention, "try_flex", lambda device, head_dim, dtype: "no Triton")
    flex_serves.cache_clear()
    assert not flex_serves(torch.device("cuda", 7), 16)
    assert caplog.messages == [
        "FlexAttention does not work here, packed rows are computed with a mask in memory: no Triton"
    ]
    flex_serves.cache_clear()


def test_the_block_mask_is_made_without_waiting_for_the_device():
    with Recorder() as seen:
        block_mask(torch.arange(256).view(1, 256) // 60)
    assert seen.waits == []
