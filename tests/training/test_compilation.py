import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

import llm.training.compilation
from llm.files import write_json
from llm.hub.pretrained import load_base
from llm.hub.upstream import describe_tiny
from llm.training.checkpoint import State
from llm.training.compilation import compile_model
from llm.training.loop import training_steps
from llm.training.lora import PackedModel, add_lora
from llm.training.resume import save_state
from llm.training.trainer import Trainer
from tests.tiny_runs import CPU, SHAPE, counting_rows, model, take_steps, train, weights
from tests.training.test_lora import FINETUNE
from tests.training.test_schedule import CONFIG

COMPILED = replace(CONFIG, compile="always", max_steps=10)
STILL = replace(SHAPE, dropout=0.0)

# torch's own: Dynamo looks at the .grad of what it traces, leaf or not; Inductor imports a deprecated decorator.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated:DeprecationWarning"),
]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")


@pytest.fixture(scope="module")
def packed():
    """The tiny data of all training tests."""
    return counting_rows()


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """A folder for compiled code: torch's own may hold code for what another process took this processor for."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def forgotten(kernels, monkeypatch):
    """What was compiled in one test is not there in the next, but for the kernels on disk."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(kernels))
    torch.compiler.reset()


@needs_compiler
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_ten_compiled_steps_give_the_losses_of_the_plain_ones(packed, tmp_path, architecture):
    shape = replace(STILL, architecture=architecture)
    config = replace(COMPILED, eval_every=1)
    _, plain = train(packed, tmp_path / "plain", replace(config, compile="never"), shape)
    _, run = train(packed, tmp_path / "compiled", config, shape)
    assert (plain.compiled, run.compiled) == (False, True)
    for ours, theirs in zip(run.history, plain.history, strict=True):
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5, abs=1.1e-4)  # rounded to 4 digits
    assert run.best_loss == pytest.approx(plain.best_loss, rel=1e-5)


@needs_compiler
def test_a_compiled_run_with_dropout_resumes_bit_identical(packed, tmp_path):
    shape = replace(SHAPE, attn_dropout=0.1)
    straight, run = train(packed, tmp_path / "straight", COMPILED, shape)
    first = Trainer(model(shape), packed, packed, COMPILED, 1, CPU, State(tmp_path / "cut"))
    take_steps(training_steps(first), 4)
    save_state(first)
    torch.manual_seed(999)  # a new process has another random state, and nothing compiled
    torch.compiler.reset()
    resumed, run_resumed = train(packed, tmp_path / "cut", COMPILED, shape)
    assert run_resumed.compiled
    assert all(torch.equal(straight[name], value) for name, value in resumed.items())
    assert run_resumed.history[1:] == run.history[1:]


def refuse(graph, inputs):
    """Fail as a backend that cannot compile anything."""
    raise RuntimeError("no kernel for this machine\nand a long story")


def miscompute(graph, inputs):
    """Outputs of a backend that computes something else."""

    def run(*values):
        return tuple(t + 0.01 * t.flip(-1) if isinstance(t, torch.Tensor) else t for t in graph(*values))

    return run


@pytest.mark.parametrize(
    ("backend", "why"), [(refuse, "no kernel for this machine"), (miscompute, "states differ by a")]
)
def test_a_trial_that_fails_leaves_the_model_as_it_was(packed, caplog, monkeypatch, backend, why):
    network, batch = model(), packed.batch([0, 1])
    monkeypatch.setattr(llm.training.compilation, "BACKEND", backend)
    before, names, state = weights(network), list(network.state_dict()), torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        assert not compile_model(network, "always", batch, CPU)
    (record,) = caplog.records
    assert why in record.message and "training goes on without it" in record.message and "\n" not in record.message
    assert not any("forward" in vars(block) for block in network.blocks)
    assert all(p.grad is None for p in network.parameters()) and network.training
    assert torch.equal(state, torch.get_rng_state()) and list(network.state_dict()) == names
    assert all(torch.equal(before[name], value) for name, value in weights(network).items())


def test_a_run_whose_trial_fails_is_the_plain_run(packed, tmp_path, monkeypatch):
    plain, run_plain = train(packed, tmp_path / "plain", replace(COMPILED, compile="never"))
    monkeypatch.setattr(llm.training.compilation, "BACKEND", refuse)
    fallen, run = train(packed, tmp_path / "fallen", COMPILED)
    assert not run.compiled and run.history == run_plain.history
    assert all(torch.equal(plain[name], value) for name, value in fallen.items())


def test_without_a_compiler_training_goes_on_uncompiled(tmp_path):
    code = """if True:
        import logging, torch
        from llm.training.compilation import compile_model
        from tests.tiny_runs import CPU, counting_rows, model
        logging.basicConfig(format="%(message)s")
        assert not compile_model(model(), "always", counting_rows().batch([0, 1]), CPU)
    """
    environment = {"CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "training goes on without it" in line]
    assert "compiler" in line


def test_the_blocks_of_a_pretrained_model_are_compiled_too(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(llm.training.compilation, "BACKEND", "aot_eager")  # traced, gradients too, but not translated
    write_json(tmp_path / "tandem.json", vars(describe_tiny(tmp_path)))
    network = PackedModel(add_lora(load_base(tmp_path)[0], FINETUNE)).train()
    names = list(network.state_dict())
    assert compile_model(network, "always", packed.batch([0, 1]), CPU)
    assert list(network.state_dict()) == names


@pytest.mark.parametrize(("mode", "device"), [("never", "cpu"), ("never", "cuda"), ("auto", "cpu"), ("auto", "mps")])
def test_nothing_is_compiled_where_it_is_not_asked_for_or_does_not_pay(packed, mode, device):
    network = model()
    assert not compile_model(network, mode, packed.batch([0]), torch.device(device))
    assert not any("forward" in vars(block) for block in network.blocks)


def test_the_files_of_a_compiled_run_have_the_names_of_a_plain_one(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(llm.training.compilation, "BACKEND", "eager")  # traced, not translated: that needs no compiler
    names = [name for name, _ in model().named_parameters()]
    _, run = train(packed, tmp_path, replace(COMPILED, max_steps=2, checkpoint_every=1))
    for path in (tmp_path / "best.safetensors", next((tmp_path / "checkpoints").glob("*.safetensors"))):
        with safe_open(path, framework="pt") as file:
            assert sorted(file.keys()) == sorted(names)
    assert run.compiled
