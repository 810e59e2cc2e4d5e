"""Training, scoring and generation on devices that are not at hand."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import llm.models.loss
from llm.inference.decoding import Decoding
from llm.inference.generate import generate
from llm.inference.likelihood import Window, window_logprobs
from llm.inference.replies import TokenTexts
from llm.machine import this_cpu
from llm.models.loss import CHUNK_LOGITS, DEVICE_CHUNK_LOGITS, chunk_rows, summed_loss
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.training.checkpoint import State
from llm.training.loop import training_steps
from llm.training.step import add_gradients, batch_loss, validation_loss
from llm.training.trainer import Trainer
from tests.machines.devices import NoFloat64, Recorder, as_on_cuda
from tests.machines.doubles import ASKING, Machine, pretended
from tests.tiny_runs import counting_rows, take_steps
from tests.training.test_schedule import CONFIG

CPU, V = torch.device("cpu"), 12
DOUBLE = torch.ones(2, dtype=torch.float64)
UNSCALED = torch.amp.GradScaler("cpu", enabled=False)
GPU = Machine("AuthenticAMD", "AVX512", device="cuda")
SAMPLED = Decoding(max_reply_bytes=5, temperature=1.0, top_k=5, top_p=0.9, repetition_penalty=1.2, seed=1)

architectures = pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])


def make_model(architecture, attn_dropout=0.0):
    config = ModelConfig(architecture, 2, 2, 16, 16, dropout=0.1, attn_dropout=attn_dropout)
    return build_model(config, V, torch.Generator().manual_seed(1))


@architectures
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "normuon"])
def test_a_run_needs_no_double_precision_on_the_device(tmp_path, architecture, optimizer):
    packed, config = counting_rows(), CONFIG.__class__(**{**vars(CONFIG), "optimizer": optimizer, "ema": 0.9})
    with pretended(GPU), NoFloat64():
        take_steps(
            training_steps(Trainer(make_model(architecture), packed, packed, config, 1, CPU, State(tmp_path))), 2
        )


@architectures
def test_replies_and_likelihoods_need_no_double_precision_on_the_device(architecture):
    model, windows = make_model(architecture).eval(), [Window((1, 2), (3, 4)), Window((1, 2), (5,)), Window((3,), (1,))]
    with pretended(GPU), NoFloat64():
        generate(model, [[1, 2, 3], [4]], torch.rand(2, 5), SAMPLED, (0,), TokenTexts([1] * V, lambda ids: "x"), 100)
        found = window_logprobs(lambda ids, at, mask: model.hidden(ids, at, mask=mask), model.head, windows, 100)
    assert [row.dtype for row in found] == ["float64"] * 3


@architectures
def test_under_mixed_precision_every_product_is_in_bf16_the_heads_too(architecture):
    model, packed = make_model(architecture), counting_rows()
    with as_on_cuda(), Recorder() as seen:
        add_gradients(model, [packed.batch([0, 1, 2])], CPU, UNSCALED)
    assert any(V in shape for _, shape in seen.products)
    assert {dtype for dtype, _ in seen.products} == {torch.bfloat16}


@architectures
def test_a_bf16_head_gives_the_loss_and_fp32_gradients(architecture):
    """8 bits of mantissa leave 2^-8 relative."""
    packed, results = counting_rows(), []
    for context in (as_on_cuda, None):
        model = make_model(architecture).eval()
        if context is None:
            losses = add_gradients(model, [packed.batch([0, 1, 2])], CPU, UNSCALED)
        else:
            with context():
                losses = add_gradients(model, [packed.batch([0, 1, 2])], CPU, UNSCALED)
        results.append((losses.total, model.head.grad))
    (low, low_grad), (loss, grad) = results
    assert low == pytest.approx(loss, rel=2**-7)
    assert low_grad.dtype == torch.float32
    assert (low_grad - grad).norm() < 2**-5 * grad.norm()


@architectures
def test_nothing_waits_for_the_device_between_forward_and_backward(architecture):
    model, batch = make_model(architecture, 0.1), counting_rows().batch([0, 1, 2])
    batch.targets[:, :5] = -1
    with pretended(GPU), Recorder() as seen:
        batch_loss(model, batch, CPU).backward()
    assert seen.waits == []


def test_the_recorder_sees_what_a_device_is_waited_for():  # on a CPU it is free, and saves the rows' products
    hidden, targets = torch.ones(1, 4, 2), torch.tensor([[1, -1, 0, -1]])
    with Recorder() as seen:
        summed_loss(hidden, torch.ones(3, 2), targets)
    assert seen.waits == [
        "aten._local_scalar_dense.default",
        *2 * ["aten.index.Tensor"],
    ]


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: np.asarray(x),
        lambda x: torch.allclose(x, x),
        lambda x: torch.unique(x),
        lambda x: torch.bincount(x),
        lambda x: torch.repeat_interleave(x, x),
        lambda x: [*x[x > 0]],
        lambda x: bool((x > 0).all()),
    ],
)
def test_the_recorder_sees_every_way_to_read_a_tensor(read):
    x = torch.ones(3, dtype=torch.int64)
    with Recorder() as seen:
        read(x)
    assert seen.waits
    with Recorder() as unread:
        torch.repeat_interleave(x + 1, 2).to(CPU)
    assert unread.waits == []


@pytest.mark.parametrize(
    "multiply",
    [
        lambda x: x @ x,
        lambda x: x @ x[0],
        lambda x: x[0] @ x[0],
        lambda x: torch.addmv(x[0], x, x[0]),
        lambda x: torch.einsum("ij,jk->ik", x, x),
        lambda x: torch.nn.functional.linear(x, x, x[0]),
        lambda x: torch.nn.functional.conv1d(x[None], x[None]),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]),
    ],
)
def test_the_recorder_sees_every_product(multiply):
    with Recorder() as seen:
        multiply(torch.ones(4, 4))
    assert {dtype for dtype, _ in seen.products} == {torch.float32}


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.double(),
        lambda x: torch.tensor(1.0, dtype=torch.float64),
        lambda x: torch.from_numpy(np.ones(2)),
        lambda x: x.sum(dtype=torch.float64),
        lambda x: x.to(torch.complex128),
        lambda x: torch._foreach_add_([DOUBLE], 1),
        lambda x: torch.frombuffer(bytearray(8), dtype=torch.float64) + 1,
        lambda x: x > DOUBLE,
    ],
)
def test_a_device_without_double_precision_makes_and_takes_none(make):
    with pytest.raises(AssertionError, match="no float64"), NoFloat64():
        make(torch.ones(2))


def test_every_module_that_asks_for_a_device_is_answered_by_the_double(repository):
    files = [*(repository / "llm").rglob("*.py"), *(repository / "stages").rglob("*.py")]
    asking = [path for path in files if "on_cpu" in path.read_text(encoding="utf-8")]
    assert {".".join(path.relative_to(repository).with_suffix("").parts) for path in asking} == {*ASKING}


def test_the_double_of_another_maker_reaches_every_python(repository):
    if this_cpu().vendor != "AuthenticAMD":
        pytest.skip("only AMD's name is exchanged")
    words = [sys.executable, "-c", "from llm.machine import this_cpu; print(this_cpu().vendor)"]
    values = os.environ | {"PYTHONPATH": str(repository / "tests/machines/other_vendor")}
    done = subprocess.run(words, cwd=repository, env=values, capture_output=True, text=True)
    assert done.stdout == "GenuineIntel\n"


@pytest.mark.parametrize("rows", [64, 10**6])
def test_rows_left_out_by_weights_give_what_rows_dropped_give(monkeypatch, rows):
    generator = torch.Generator().manual_seed(1)
    hidden, weight = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 50, 8), (31, 8)))
    targets = torch.randint(-1, 31, (3, 50), generator=generator)
    targets[0] = -1
    inputs = [hidden.requires_grad_(), weight.requires_grad_()]
    monkeypatch.setattr(llm.models.loss, "DEVICE_CHUNK_LOGITS", rows * 31)
    expected = summed_loss(hidden, weight, targets)
    with pretended(GPU):
        found = summed_loss(hidden, weight, targets)
        with torch.no_grad():
            torch.testing.assert_close(summed_loss(hidden, weight, targets), expected)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs))


def test_rows_left_out_have_no_gradient_also_where_they_are_not_finite():
    hidden = torch.full((1, 3, 2), torch.nan)
    hidden[0, 1] = 1.0
    with pretended(GPU):
        loss = summed_loss(hidden.requires_grad_(), torch.ones(4, 2), torch.tensor([[-1, 2, -1]]))
        loss.backward()
    assert loss.item() == pytest.approx(torch.tensor(4.0).log().item())
    assert hidden.grad[0, [0, 2]].eq(0).all() and hidden.grad.isfinite().all()


def test_a_device_holds_more_logits_at_once_than_a_cpu():
    head = torch.ones(4096, 2)
    assert chunk_rows(head) == CHUNK_LOGITS // 4096
    with pretended(GPU):
        assert chunk_rows(head) == DEVICE_CHUNK_LOGITS // 4096
        assert chunk_rows(torch.ones(1, 1).expand(10**8, 1)) == 64


def test_validation_on_a_device_gives_the_cpus_loss():
    model, packed = make_model("llama"), counting_rows()
    expected = validation_loss(model, packed, None, 4, CPU)
    with pretended(GPU):
        assert validation_loss(model, packed, None, 4, CPU) == pytest.approx(expected, rel=1e-6)
