import pytest
import torch
import torch.nn.functional as F

import llm.models.loss
from llm.models.kernel_choice import Kernels
from llm.models.loss import LENGTHS, chunk_rows, summed_loss
from tests.machines.devices import Recorder
from tests.machines.doubles import using


def problem(dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 50, 16, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(97, 16, generator=generator, dtype=dtype, requires_grad=True)
    targets = torch.randint(-1, 97, (3, 50), generator=generator)
    targets[0, :10] = -1
    return hidden, weight, targets


def plain(hidden, weight, targets):
    return F.cross_entropy((hidden @ weight.T).flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")


def test_loss_and_gradients_equal_the_plain_formula(monkeypatch):
    monkeypatch.setattr(llm.models.loss, "CHUNK_LOGITS", 97 * 64)  # 64 rows a chunk, so that several are needed
    hidden, weight, targets = problem()
    loss, expected = summed_loss(hidden, weight, targets), plain(hidden, weight, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    got = torch.autograd.grad(loss / 7, (hidden, weight))
    for gradient, reference in zip(got, torch.autograd.grad(expected / 7, (hidden, weight)), strict=True):
        assert torch.allclose(gradient, reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("last", [1, 2, 8, 9, 63])
def test_a_last_chunk_that_is_filled_up_counts_what_it_held(monkeypatch, last):
    monkeypatch.setattr(llm.models.loss, "CHUNK_LOGITS", 97 * 64)
    hidden, weight, targets = problem()
    hidden, targets = hidden.flatten(0, 1)[None, : 64 + last], targets.flatten()[None, : 64 + last].clamp(min=0)
    expected = plain(hidden, weight, targets)
    with using(Kernels(products=True)):
        loss = summed_loss(hidden, weight, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for got, due in zip(*(torch.autograd.grad(of, (hidden, weight)) for of in (loss, expected)), strict=True):
        assert torch.allclose(got, due, rtol=1e-9, atol=1e-12)


def test_batches_of_any_length_are_products_of_few_shapes():
    """Each new one costs oneDNN memory, and the time to write code for it."""
    weight = torch.zeros(4096, 16, requires_grad=True)
    with using(Kernels(products=True)), Recorder() as seen:
        for n in range(1, chunk_rows(weight) + 76, 7):
            summed_loss(torch.zeros(1, n, 16), weight, torch.zeros(1, n, dtype=torch.long))
    assert len({shape for _, shape in seen.products if shape[1] == 16}) <= LENGTHS + 2  # of the head, of a single row


def test_without_gradients_the_loss_is_the_same():
    hidden, weight, targets = problem(torch.float32)
    with torch.no_grad():
        assert summed_loss(hidden, weight, targets).item() == pytest.approx(
            plain(hidden, weight, targets).item(), rel=1e-6
        )


def test_nothing_supervised_costs_nothing():
    hidden, weight, targets = problem()
    loss = summed_loss(hidden, weight, torch.full_like(targets, -1))
    loss.backward()
    assert loss.item() == 0.0
    assert not weight.grad.any()


def test_a_uniform_model_loses_log_v_a_token():
    hidden, weight, targets = problem(torch.float32)
    loss = summed_loss(torch.zeros_like(hidden), weight, targets)
    n = int((targets >= 0).sum())
    assert loss.item() / n == pytest.approx(torch.tensor(97.0).log().item(), rel=1e-6)


def test_a_frozen_head_gets_no_gradient_and_the_hidden_states_the_same_one():
    hidden, weight, targets = problem()
    (free,) = torch.autograd.grad(summed_loss(hidden, weight, targets), (hidden,))
    (frozen,) = torch.autograd.grad(summed_loss(hidden, weight.detach(), targets), (hidden,))
    assert torch.equal(free, frozen)


def test_bf16_hidden_states_meet_an_fp32_head():
    """As under autocast on CUDA: 8 bits of mantissa leave 2^-8 relative."""
    hidden, weight, targets = problem(torch.float32)
    low = hidden.detach().bfloat16().requires_grad_()
    loss = summed_loss(low, weight, targets)
    loss.backward()
    assert loss.item() == pytest.approx(plain(hidden, weight, targets).item(), rel=2**-7)
    assert low.grad.dtype == torch.bfloat16
    assert weight.grad.dtype == torch.float32


def test_a_target_of_no_probability_in_fp32_costs_what_its_logit_says():
    """exp(-200) is 0 in fp32; the loss must be 200 all the same."""
    hidden, weight = torch.tensor([[[200.0]]], requires_grad=True), torch.tensor([[1.0], [0.0]], requires_grad=True)
    assert summed_loss(hidden, weight, torch.tensor([[1]])).item() == pytest.approx(200.0)
