"""Which numbers a device computes in, and training in fp16 with a scaled loss, a CPU standing in for an old GPU."""

import logging
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import llm.machine
import llm.training.loop
from llm.machine import allow_tf32, number_type, products_type
from llm.training.checkpoint import State
from llm.training.loop import fit, training_steps
from llm.training.recovery import MAX_SKIPPED
from llm.training.trainer import Trainer
from tests.tiny_runs import CPU, counting_rows, take_steps, weights
from tests.training.test_schedule import CONFIG

STEPS = replace(CONFIG, max_steps=24, eval_every=8, max_norm=0.3)


@pytest.mark.parametrize(
    ("device", "bf16", "capability", "expected"),
    [
        ("cuda", True, 8, torch.bfloat16),  # A100
        ("cuda", False, 7, torch.float16),  # T4, V100
        ("cuda", False, 6, torch.float32),  # P100
        ("mps", False, 0, torch.float32),
        ("cpu", True, 9, torch.float32),
    ],
)
def test_the_numbers_are_those_that_the_device_computes_in(device, bf16, capability, expected):
    assert number_type(device, bf16, capability) is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), torch.float16), ((9, 0), torch.bfloat16)])
def test_an_emulated_bf16_is_none(monkeypatch, capability, expected):
    properties = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)  # as a T4 does, by emulation
    assert products_type(torch.device("cuda")) is expected


@pytest.mark.parametrize(("device", "asked"), [("cuda", ["high"]), ("cpu", []), ("mps", [])])
def test_fp32_products_are_by_tf32_on_cuda_alone(monkeypatch, device, asked):
    found = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", found.append)
    assert allow_tf32(torch.device(device)) == bool(asked) and found == asked


class Network(nn.Module):
    """A language model of torch's own parts: the hand-made kernels of a CPU compute in fp32."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.tokens, self.mix = nn.Embedding(12, 16), nn.Linear(16, 16)
        nn.init.normal_(self.tokens.weight, std=0.1)

    @property
    def head(self):
        return self.tokens.weight

    def hidden(self, ids, positions=None, documents=None):
        x = self.tokens(ids)
        return torch.tanh(self.mix(x)) + x


@pytest.fixture
def fp16(monkeypatch):
    """This CPU computes in fp16."""
    monkeypatch.setattr(llm.machine, "number_type", lambda device_type, bf16, capability: torch.float16)


@pytest.fixture
def norms(monkeypatch):
    """The gradient norms that clipping finds."""
    found, clip = [], llm.training.loop.clip_gradients

    def kept(parameters, max_norm):
        found.append(clip(parameters, max_norm))
        return found[-1]

    monkeypatch.setattr(llm.training.loop, "clip_gradients", kept)
    return found


def test_training_in_fp16_with_a_scaled_loss_goes_as_in_fp32(tmp_path, monkeypatch, norms, caplog):
    packed = counting_rows()
    plain = fit(Network(), packed, packed, STEPS, 1, CPU, State(tmp_path / "fp32"))
    expected = list(norms)
    monkeypatch.setattr(llm.machine, "number_type", lambda device_type, bf16, capability: torch.float16)
    with caplog.at_level(logging.INFO):
        run = fit(Network(), packed, packed, STEPS, 1, CPU, State(tmp_path / "fp16"))
    assert norms[24:] == pytest.approx(expected, rel=2e-2)  # unscaled before they are clipped
    validated, expected = ([row["val_loss"] for row in progress.history] for progress in (run, plain))
    assert validated == pytest.approx(expected, rel=1e-2)
    assert (run.skipped_steps, run.overflowed_steps, run.scaler["scale"]) == (0, 0, 2.0**16)
    assert "products in fp16 on cpu" in caplog.text and plain.scaler == {}


def started_too_high(folder):
    """A run whose loss scale is 2 to the 12th times too high at least."""
    packed = counting_rows()
    run = Trainer(Network(), packed, packed, STEPS, 1, CPU, State(folder))
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**32)
    return run


def test_the_scale_is_found_without_a_streak(tmp_path, fp16):
    run = started_too_high(tmp_path)
    before = weights(run.model)
    steps = training_steps(run)
    take_steps(steps, MAX_SKIPPED + 2)
    assert all(torch.equal(before[name], value) for name, value in weights(run.model).items())
    for _ in steps:
        pass
    found = run.progress
    assert MAX_SKIPPED < found.overflowed_steps < 20 and found.scaler["scale"] == 2.0 ** (32 - found.overflowed_steps)
    assert (found.step, found.skipped_steps, found.rollbacks) == (24, 0, 0)
    assert found.history[-1]["val_loss"] < found.history[0]["val_loss"]


@pytest.mark.parametrize("stop", [3, 18])  # before and behind the first step that is taken
def test_a_scale_is_saved_and_resumed(tmp_path, fp16, stop):
    straight = started_too_high(tmp_path / "straight")
    for _ in training_steps(straight):
        pass
    cut = started_too_high(tmp_path / "cut")
    take_steps(training_steps(cut), stop)
    packed = counting_rows()
    network = Network()
    resumed = fit(network, packed, packed, STEPS, 1, CPU, State(tmp_path / "cut"))
    assert (resumed.scaler, resumed.overflowed_steps) == (straight.progress.scaler, straight.progress.overflowed_steps)
    expected = weights(straight.model)
    assert all(torch.equal(expected[name], value) for name, value in weights(network).items())


def test_a_gradient_that_is_never_finite_ends_the_run_in_fp16_too(tmp_path, fp16):
    network, packed = Network(), counting_rows()
    network.mix.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(ValueError, match="after 3 rollbacks"):
        fit(network, packed, packed, replace(STEPS, max_steps=80), 1, CPU, State(tmp_path))
