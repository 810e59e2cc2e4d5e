import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch import nn

import llm.machine
import llm.training.compilation
from llm.files import write_json
from llm.hub.pretrained import load_base
from llm.hub.upstream import describe_tiny
from llm.training.checkpoint import State
from llm.training.compilation import _difference, _exact_states, _still_states, compile_model
from llm.training.loop import training_steps
from llm.training.lora import PackedModel, add_lora
from llm.training.resume import save_state
from llm.training.step import hidden_states
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
    """What was compiled in one test is not there in the next, but for the kernels on disk.

    Nor is what another process left in the folder of precompiled headers, which all of a user's processes share.
    """
    from torch._inductor import codecache

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(kernels))
    monkeypatch.setattr(codecache, "_HEADER_DIR", str(kernels / "headers"))
    monkeypatch.setattr(codecache, "_HEADER_LOCK_DIR", str(kernels / "headers/locks"))
    torch.compiler.reset()


def warnings_of(caplog):
    """What the log warned of: why a trial failed."""
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


@needs_compiler
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_ten_compiled_steps_give_the_losses_of_the_plain_ones(packed, tmp_path, caplog, architecture):
    shape = replace(STILL, architecture=architecture)
    config = replace(COMPILED, eval_every=1)
    _, plain = train(packed, tmp_path / "plain", replace(config, compile="never"), shape)
    _, run = train(packed, tmp_path / "compiled", config, shape)
    assert run.compiled and not plain.compiled, warnings_of(caplog)
    for ours, theirs in zip(run.history, plain.history, strict=True):
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5, abs=1.1e-4)  # rounded to 4 digits
    assert run.best_loss == pytest.approx(plain.best_loss, rel=1e-5)


@needs_compiler
def test_a_compiled_run_with_dropout_resumes_bit_identical(packed, tmp_path, caplog):
    shape = replace(SHAPE, attn_dropout=0.1)
    straight, run = train(packed, tmp_path / "straight", COMPILED, shape)
    first = Trainer(model(shape), packed, packed, COMPILED, 1, CPU, State(tmp_path / "cut"))
    take_steps(training_steps(first), 4)
    save_state(first)
    torch.manual_seed(999)  # a new process has another random state, and nothing compiled
    torch.compiler.reset()
    resumed, run_resumed = train(packed, tmp_path / "cut", COMPILED, shape)
    assert run.compiled and run_resumed.compiled, warnings_of(caplog)
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
        from llm.training.compilation import _difference, _exact_states, _still_states, compile_model
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


def kept_bytes(work):
    """Bytes that autograd keeps for a backward pass of the work; what is computed again is not among them."""
    sizes = []

    def keep(t):
        sizes.append(t.numel() * t.element_size())
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        work()
    return sum(sizes)


def test_the_trial_keeps_no_more_than_a_training_step(packed, tmp_path):
    write_json(tmp_path / "tandem.json", vars(describe_tiny(tmp_path)))
    base, batch = load_base(tmp_path)[0], packed.batch([0, 1])
    network = PackedModel(add_lora(base, replace(FINETUNE, gradient_checkpointing=True))).train()
    step = kept_bytes(lambda: hidden_states(network, batch, CPU))
    assert 0 < kept_bytes(lambda: _still_states(network, batch, CPU)) <= step
    assert torch.equal(_still_states(network, batch, CPU), _still_states(network, batch, CPU))  # nothing is dropped
    assert all(module.training for module in network.modules())


class Deep(nn.Module):
    """Forty residual blocks of torch's own parts, whose rounding in bf16 adds up."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.tokens = nn.Embedding(12, 64)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)) for _ in range(40))

    @property
    def head(self):
        return self.tokens.weight

    def hidden(self, ids, positions=None, documents=None):
        x = self.tokens(ids)
        for block in self.blocks:
            x = x + 4 * block(x)
        return x


def rounded(graph, inputs):
    """Outputs of a backend whose numbers are bf16 as well, rounded at other places."""

    def run(*values):
        return tuple(t * (1 + 2**-7 * torch.rand_like(t).sub(0.5)) for t in graph(*values))  # by a bf16 step at most

    return run


def mistaken(graph, inputs):
    """Outputs of a backend that computes something else, by more than bf16 rounds in forty blocks."""

    def run(*values):
        return tuple(t + 0.05 * t.flip(-1) for t in graph(*values))

    return run


@pytest.fixture
def in_bf16(monkeypatch):
    """This CPU computes in bf16."""
    monkeypatch.setattr(llm.machine, "number_type", lambda device_type, bf16, capability: torch.bfloat16)


@pytest.mark.parametrize(("backend", "taken"), [(rounded, True), (mistaken, False)])
def test_what_rounds_as_the_uncompiled_model_does_is_taken(packed, monkeypatch, in_bf16, backend, taken):
    network, batch = Deep(), packed.batch([0, 1])
    exact = _exact_states(network, batch, CPU)
    own = _difference(_still_states(network, batch, CPU), exact)
    assert own > 2e-2
    monkeypatch.setattr(llm.training.compilation, "BACKEND", backend)
    assert compile_model(network, "always", batch, CPU) == taken


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_exact_states_of_16_bit_weights_are_those_of_the_same_weights_in_fp32(packed, tmp_path, dtype):
    write_json(tmp_path / "tandem.json", vars(describe_tiny(tmp_path)))
    batch = packed.batch([0, 1])
    network = PackedModel(add_lora(load_base(tmp_path, dtype=dtype)[0], FINETUNE)).train()
    exact = _exact_states(network, batch, CPU)
    assert exact.dtype is torch.float32 and network.head.dtype is dtype
    assert _difference(exact, _exact_states(network.float(), batch, CPU)) < 1e-6
