import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import llm.machine
from llm.models.gpt import GPT
from llm.models.shape import ModelConfig
from llm.training.optim import (
    Muon,
    NorMuon,
    adamw,
    cosine_factor,
    muon,
    newton_schulz_type,
    orthogonalize,
    stable_factor,
)

SHAPE = ModelConfig("gpt2", n_layer=2, n_head=2, n_embd=16, context_length=8, dropout=0.0, attn_dropout=0.0)


def test_warmup_reaches_peak_at_its_last_step():
    assert cosine_factor(9, 10, 100, 0.1) == 1.0
    assert stable_factor(9, 10, 100, 0.1, 50) == 1.0


def test_both_schedules_end_at_the_final_share():
    assert cosine_factor(99, 10, 100, 0.1) == pytest.approx(0.1)
    assert stable_factor(99, 10, 100, 0.1, 50) == pytest.approx(0.1)


def test_cosine_is_half_way_down_in_the_middle():  # (1 + cos(pi / 2)) / 2
    assert cosine_factor(54, 10, 100, 0.0) == pytest.approx(0.5)


def test_stable_stays_at_the_peak_until_the_decay():
    assert {stable_factor(step, 10, 100, 0.0, 50) for step in range(9, 50)} == {1.0}


@given(st.integers(0, 2000), st.integers(0, 100), st.integers(1, 1000), st.floats(0, 1))
def test_factors_stay_between_0_and_1(step, warmup, total, final):
    assert 0.0 <= cosine_factor(step, warmup, total, final) <= 1.0
    assert 0.0 <= stable_factor(step, warmup, total, final, total // 2) <= 1.0


def test_weight_decay_is_for_matrices_only():
    model = GPT(SHAPE, 20, torch.Generator().manual_seed(1))
    (optimizer,) = adamw(model, 1e-3, (0.9, 0.95), 0.1)
    decayed, kept = (group["params"] for group in optimizer.param_groups)
    assert {p.dim() for p in decayed} == {2}
    assert {p.dim() for p in kept} == {1}
    assert len(decayed) + len(kept) == len(list(model.parameters()))


def test_muon_takes_the_blocks_matrices_and_adamw_the_rest():
    model = GPT(SHAPE, 20, torch.Generator().manual_seed(1))
    matrices, rest = muon(model, 1e-3, 0.95, (0.9, 0.95), 0.1, equal_rows=False)
    inside = {id(p) for p in model.blocks.parameters() if p.dim() == 2}
    assert {id(p) for g in matrices.param_groups for p in g["params"]} == inside
    assert sum(len(g["params"]) for g in rest.param_groups) == len(list(model.parameters())) - len(inside)


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 16, 16)])
def test_orthogonalize_moves_singular_values_near_one(shape):
    singular = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=torch.Generator().manual_seed(1))))
    assert singular.min() > 0.3  # small ones take more iterations than five
    assert singular.max() < 1.3


@pytest.mark.parametrize("optimizer", [Muon, functools.partial(NorMuon, row_memory=0.9)])
def test_muon_steps_a_stacked_matrix_as_its_parts(optimizer):
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(12, 4, generator=generator)
    stacked, parts = nn.Parameter(torch.ones(12, 4)), [nn.Parameter(torch.ones(4, 4)) for _ in range(3)]
    stacked.n_stacked = 3
    stacked.grad = gradient.clone()
    for part, share in zip(parts, gradient.chunk(3), strict=True):
        part.grad = share.clone()
    optimizer([stacked], lr=0.1, momentum=0.95, weight_decay=0.1).step()
    optimizer(parts, lr=0.1, momentum=0.95, weight_decay=0.1).step()
    assert torch.allclose(stacked, torch.cat(parts), atol=1e-6)


def test_muons_update_has_a_root_mean_square_of_about_a_fifth_of_the_rate():
    parameter = nn.Parameter(torch.zeros(32, 64))
    parameter.grad = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    Muon([parameter], lr=1.0, momentum=0.95, weight_decay=0.0).step()
    # an orthogonal 32 x 64 matrix has 32 unit rows: rms sqrt(1 / 64); times 0.2 sqrt(64)
    assert parameter.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25)


def normuon_of_the_paper(gradients, rate, memory, row_memory):
    """Li et al. 2025, algorithm 1, one matrix and a row at a time, with Muon's own size of an update."""
    n_rows, n_columns = gradients[0].shape
    weight, momentum, squares = torch.zeros(n_rows, n_columns), torch.zeros(n_rows, n_columns), [0.0] * n_rows
    for gradient in gradients:
        momentum = memory * momentum + (1 - memory) * gradient
        (update,) = orthogonalize((memory * momentum + (1 - memory) * gradient)[None])
        scaled = torch.zeros_like(update)
        for row in range(n_rows):
            mean = sum(float(x) ** 2 for x in update[row]) / n_columns
            squares[row] = row_memory * squares[row] + (1 - row_memory) * mean
            scaled[row] = update[row] / math.sqrt(squares[row])
        weight -= rate * 0.2 * math.sqrt(max(n_rows, n_columns)) * scaled * (update.norm() / scaled.norm())
    return weight


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_normuon_takes_the_steps_of_the_paper(shape):
    gradients = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    weight = nn.Parameter(torch.zeros(shape))
    optimizer = NorMuon([weight], lr=0.1, momentum=0.9, weight_decay=0.0, row_memory=0.8)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    assert torch.allclose(weight, normuon_of_the_paper(gradients, 0.1, 0.9, 0.8), atol=1e-5)


def test_normuon_moves_all_rows_alike_and_as_far_as_muon():
    gradient = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))  # tall: its rows differ in size
    moved = {}
    for name, optimizer_of in (("muon", Muon), ("normuon", lambda *of: NorMuon(*of, 0.95))):
        weight = nn.Parameter(torch.zeros(12, 5))
        weight.grad = gradient.clone()
        optimizer_of([weight], 0.1, 0.9, 0.0).step()
        moved[name] = weight.detach()
    assert moved["normuon"].norm().item() == pytest.approx(moved["muon"].norm().item(), rel=1e-4)
    assert moved["muon"].norm(dim=1).max() > 1.2 * moved["muon"].norm(dim=1).min()
    sizes = moved["normuon"].norm(dim=1)
    assert sizes.max().item() == pytest.approx(sizes.min().item(), rel=1e-4)


def test_a_matrix_without_a_gradient_of_its_own_stays_finite_under_normuon():
    weight = nn.Parameter(torch.ones(4, 3))
    weight.grad = torch.zeros(4, 3)
    NorMuon([weight], 0.1, 0.9, 0.0, 0.95).step()
    assert torch.equal(weight, torch.ones(4, 3))


def test_adamw_takes_the_step_of_the_formula():
    """First step of Adam: lr * m / (1 - b1) / (sqrt(v / (1 - b2)) + eps) = lr * sign(gradient), after the decay."""
    model = nn.Linear(3, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    model.weight.grad = torch.tensor([[0.5, -3.0, 1e-3]])
    (optimizer,) = adamw(model, 0.1, (0.9, 0.95), 0.5)
    optimizer.step()
    expected = [2.0 * (1 - 0.1 * 0.5) - 0.1 * math.copysign(1, g) for g in (0.5, -3.0, 1e-3)]
    assert model.weight.flatten().tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("products", "expected"),
    [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32), (torch.float32, torch.float32)],
)
def test_newton_schulz_is_in_bf16_where_the_device_computes_in_it(monkeypatch, products, expected):
    monkeypatch.setattr(llm.machine, "number_type", lambda device_type, bf16, capability: products)
    assert newton_schulz_type(torch.device("cpu")) is expected
    matrices = torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(1))
    found = orthogonalize(matrices)
    assert found.dtype is expected
    singular = torch.linalg.svdvals(found.float())
    assert singular.min() > 0.3 and singular.max() < 1.3
    weight = nn.Parameter(torch.zeros(16, 24))
    weight.grad = matrices[0]
    Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.0).step()
    assert weight.dtype is torch.float32
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.3)
