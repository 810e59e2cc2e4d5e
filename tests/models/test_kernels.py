import math

import pytest
import torch
import torch.nn.functional as F

import llm.models.kernels
from llm.models.kernels import GeluLinear, keep_mask, keep_share, weight_gradient
from llm.models.layers import dropout

N = 1 << 20


def drop(x, p=0.1, seed=1):
    torch.manual_seed(seed)
    return dropout(x, p, training=True)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 65536])
def test_the_share_dropped_is_p(p):
    torch.manual_seed(1)
    dropped = N - int(keep_mask(N, p).sum())
    assert abs(dropped - N * p) < 4 * math.sqrt(N * p * (1 - p))  # four standard deviations of the binomial


def test_p_is_rounded_to_16_bits():
    assert keep_share(0.1) == 1 - 6554 / 65536  # 0.1 * 65536 = 6553.6
    assert keep_share(0.25) == 0.75
    assert keep_mask(N, 1e-9).all()  # nearer to 0 than to 1 / 65536
    assert keep_share(1e-9) == 1.0


def test_neighbouring_elements_are_dropped_independently():
    torch.manual_seed(1)
    dropped = 1.0 - keep_mask(N, 0.1).double()
    for distance in (1, 2, 3, 4, 8):  # four elements come from one number of the generator
        together = float((dropped[:-distance] * dropped[distance:]).mean())
        assert abs(together - 0.01) < 4 * math.sqrt(0.01 * 0.99 / N) * 1.2  # neighbouring products overlap: a bit wider


def test_what_is_kept_is_scaled_so_that_the_mean_stays():
    y = drop(torch.ones(N, dtype=torch.float64))
    assert set(y.unique().tolist()) == {0.0, 1 / keep_share(0.1)}
    assert abs(float(y.mean()) - 1.0) < 4 * math.sqrt(0.1 / 0.9 / N)  # variance of one element: p / (1 - p)


def test_the_gradient_is_that_of_what_was_kept():
    x = torch.full((5, 7, 3), 2.0, dtype=torch.float64, requires_grad=True)  # 105: no multiple of the four of a number
    y = drop(x, 0.5)
    upstream = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(y, x, upstream)
    assert 0 < int((y == 0).sum()) < 105
    assert torch.equal(gradient, upstream * (y / 2.0).detach())


def test_the_gradient_is_that_of_finite_differences():
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: drop(x, 0.3), (x,))


def test_the_seed_of_torch_decides():
    x = torch.ones(1000)
    assert torch.equal(drop(x), drop(x))
    assert not torch.equal(drop(x), drop(x, seed=2))
    assert not torch.equal(drop(x), dropout(x, 0.1, training=True))  # the generator has moved on


def test_a_saved_state_of_the_generator_gives_the_same_masks_again():
    x = torch.ones(1001)
    drop(x)
    state = torch.get_rng_state()
    expected = [dropout(x, 0.1, training=True) for _ in range(3)]
    torch.manual_seed(99)
    torch.set_rng_state(state)
    assert all(torch.equal(dropout(x, 0.1, training=True), y) for y in expected)


def test_the_mask_does_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    masks = []
    for n in (1, 2):
        torch.set_num_threads(n)
        masks.append(drop(torch.ones(N)))
    torch.set_num_threads(threads)
    assert torch.equal(*masks)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.0, False), (0.1, False)])
def test_without_dropout_or_outside_training_x_itself_comes_back(p, training):
    x, state = torch.ones(10), torch.get_rng_state()
    assert dropout(x, p, training) is x
    assert torch.equal(state, torch.get_rng_state())


def test_bf16_and_views_keep_their_kind():
    x = torch.ones(64, 32, dtype=torch.bfloat16).mT
    y = drop(x)
    assert (y.dtype, y.shape) == (torch.bfloat16, (32, 64))


def test_other_devices_take_torchs_own_kernel():
    assert dropout(torch.ones(4, 4, device="meta"), 0.1, training=True).device.type == "meta"


@pytest.mark.parametrize("rows", [3, 7, 1024])  # the tokens split evenly, unevenly, not at all
def test_the_fused_gelu_gives_the_values_and_gradients_of_torchs(monkeypatch, rows):
    monkeypatch.setattr(llm.models.kernels, "GELU_ROWS", rows)
    generator = torch.Generator().manual_seed(1)
    x, weight, bias, upstream = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) * 3 for shape in ((9, 8), (5, 8), (5,), (9, 5))
    )
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    theirs = F.linear(F.gelu(x, approximate="tanh"), weight, bias)
    ours = GeluLinear.apply(*inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(theirs, inputs, upstream)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs, upstream), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("n_in", "n_out"), [(3, 5), (5, 3)])
def test_a_weights_gradient_is_the_sum_over_rows(n_in, n_out):
    generator = torch.Generator().manual_seed(1)
    grad, x = (torch.randn(7, n, dtype=torch.float64, generator=generator) for n in (n_out, n_in))
    expected = sum(torch.outer(g, row) for g, row in zip(grad, x, strict=True))
    torch.testing.assert_close(weight_gradient(grad, x), expected, rtol=1e-12, atol=1e-12)
