import math

import pytest
import torch
import torch.nn.functional as F

import llm.attention
from llm.attention import attend, document_mask


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)


@pytest.mark.parametrize("scores", [1, 2 * 3 * 10 * 10, 10**6])  # a row at a time, two rows, all
def test_chunks_of_rows_give_the_values_and_gradients_of_torchs_attention(monkeypatch, scores):
    monkeypatch.setattr(llm.attention, "SCORES", scores)
    q, k, v = (draw(5, 3, 10, 4, seed=i) for i in range(3))
    mask = document_mask(torch.arange(50).view(5, 10) // 7).double()
    theirs = F.scaled_dot_product_attention(q, k, v, mask)
    upstream = torch.randn(theirs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    expected = torch.autograd.grad(theirs, (q, k, v), upstream)
    ours = attend(q, k, v, mask)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(ours, (q, k, v), upstream), expected, rtol=1e-11, atol=1e-11)


def test_without_a_mask_attention_is_causal():
    q, k, v = (draw(2, 3, 6, 4, seed=i) for i in range(3))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attend(q, k, v, None), expected, rtol=1e-12, atol=1e-12)


def test_a_single_query_without_a_mask_sees_every_key():
    q, k, v = draw(2, 3, 1, 4), draw(2, 3, 7, 4, seed=2), draw(2, 3, 7, 4, seed=3)
    expected = (q @ k.mT / math.sqrt(4)).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, None), expected, rtol=1e-12, atol=1e-12)


def test_attention_dropout_drops_weights():
    q, k, v = (draw(2, 3, 6, 4, seed=i) for i in range(3))
    torch.manual_seed(1)
    assert not torch.allclose(attend(q, k, v, None, dropout=0.5), attend(q, k, v, None))
