"""Several processes train what one trains."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from llm.hub.pretrained import load_base
from llm.models.registry import build_model
from llm.tokens.packing import pack_corpus
from llm.training.checkpoint import State
from llm.training.distributed import is_first, n_processes, own_rows, rank, replicate, shard, totals
from llm.training.loop import Training
from llm.training.lora import PackedModel, load_trained, select
from llm.training.step import validation_loss
from llm.training.train import fit
from tests.processes import run_processes
from tests.tiny_runs import CPU, SHAPE, counting_rows
from tests.training.test_lora import DIALOGUES, FINETUNE, TRAIN, base, network
from tests.training.test_schedule import CONFIG

__all__ = ["base"]  # a fixture

STILL = replace(SHAPE, dropout=0.0)  # dropout draws other numbers in each process
GPT_TRAIN = replace(CONFIG, batch_size=8, micro_batch=2, max_norm=0.3)
LORA_TRAIN = replace(TRAIN, batch_size=8, max_steps=6, max_norm=0.3)
SWITCH = 3  # step at which the state of the sharded run is saved


def losses(run, n):
    """Mean training loss of each of n steps, then the validation loss."""
    found = []
    for _ in range(n):
        nats, tokens = run.progress.loss_sum, run.progress.loss_tokens
        run.step()
        found.append((run.progress.loss_sum - nats) / (run.progress.loss_tokens - tokens))
    return [*found, validation_loss(run.network, run.val, None, 3, CPU)]


def gpt_run(folder, architecture="gpt2", optimizer="adamw", sharded=False):
    """A tiny GPT's training, whose states are in `folder/gpt`."""
    shape, config = replace(STILL, architecture=architecture), replace(GPT_TRAIN, optimizer=optimizer)
    model, packed = build_model(shape, 12, torch.Generator().manual_seed(1)), counting_rows()
    if sharded:
        shard(model, CPU)
    return Training(model, packed, packed, config, 1, CPU, State(folder / "gpt"))


def lora_run(folder, sharded):
    """A fine-tune of the tiny Mistral in `folder/base`, whose states are in `folder/state`."""
    tokenizer = load_base(folder / "base")[1]
    packed = pack_corpus(select(DIALOGUES, tokenizer, None, seed=1).corpus, FINETUNE.context_length, seed=1)
    model = PackedModel(network(folder / "base"))
    if sharded:
        shard(model, CPU)
    return Training(model, packed, packed, LORA_TRAIN, 1, CPU, State(folder / "state"))


def stopped_step(folder):
    """Steps a process has done when the last of them gets a SIGTERM in its third."""
    step = Training.step

    def step_and_signal(self):
        step(self)
        if self.progress.step == 3 and rank() == n_processes() - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    packed, model = counting_rows(), build_model(STILL, 12, torch.Generator().manual_seed(1))
    folder.mkdir(exist_ok=True)
    Training.step = step_and_signal
    try:
        fit(model, packed, packed, replace(GPT_TRAIN, state_every_s=999.0), 1, CPU, State(folder))
    except KeyboardInterrupt:
        return State(folder).load()[1]["step"]
    finally:
        Training.step = step
    return None


def tell(folder, name, value):
    """Nothing; the value of the first process is in a file."""
    if is_first():
        (folder / f"{name}{n_processes()}.json").write_text(json.dumps(value), encoding="utf-8")


def saved_halfway(run):
    """Losses of six steps; the state of the third is on disk."""
    found = losses(run, SWITCH)
    run.save_state()
    run.validate()
    return found[:-1] + losses(run, 6 - SWITCH)


def resumed(run):
    """Losses from the saved state on."""
    assert run.resume() and run.progress.step == SWITCH
    return losses(run, 6 - SWITCH)


def two(folder):
    """What two processes do for the tests below."""
    tell(folder, "gpt", losses(gpt_run(folder), 6))
    tell(folder, "muon", losses(gpt_run(folder, "llama", "muon"), 6))
    tell(folder, "sharded_gpt", saved_halfway(gpt_run(folder, sharded=True)))
    tell(folder, "mistral", losses(lora_run(folder, sharded=False), 6))
    tell(folder, "sharded_mistral", saved_halfway(lora_run(folder, sharded=True)))
    tell(folder, "stopped", totals(stopped_step(folder / "stopped")))


def four(folder):
    """What four processes do for the tests below."""
    tell(folder, "gpt", losses(gpt_run(folder), 6))
    tell(folder, "resumed_gpt", resumed(gpt_run(folder, sharded=True)))


@pytest.fixture(scope="module")
def told(tmp_path_factory, base):
    """The folder with what two and then four processes told."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "base").symlink_to(base)
    run_processes(2, "tests.training.test_distributed", "two", folder)
    run_processes(4, "tests.training.test_distributed", "four", folder)
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def gpt(told):
    """Losses of the GPT in one process."""
    return losses(gpt_run(told / "alone"), 6)


@pytest.fixture(scope="module")
def mistral(told):
    """Losses of the fine-tune in one process."""
    return losses(lora_run(told, sharded=False), 6)


@pytest.mark.parametrize("n", [2, 4])
def test_several_processes_have_the_losses_of_one(told, gpt, n):
    assert gpt[5] < 0.95 * gpt[0]
    assert read(told, f"gpt{n}") == pytest.approx(gpt, abs=1e-6)


def test_muon_moves_all_processes_alike(told):
    assert read(told, "muon2") == pytest.approx(losses(gpt_run(told, "llama", "muon"), 6), abs=1e-6)


def test_a_model_spread_over_processes_has_the_losses_of_one(told, gpt, mistral):
    assert mistral[5] < mistral[0]
    assert read(told, "sharded_gpt2") == pytest.approx(gpt, abs=1e-6)
    assert read(told, "sharded_mistral2") == pytest.approx(mistral, abs=1e-6)


def test_a_mistral_held_whole_by_each_process_has_the_losses_of_one(told, mistral):
    assert read(told, "mistral2") == pytest.approx(mistral, abs=1e-6)


def test_a_state_of_two_processes_is_taken_up_by_four(told, gpt):
    assert read(told, "resumed_gpt4") == pytest.approx(gpt[SWITCH:], abs=1e-6)


def test_a_state_of_two_processes_is_taken_up_by_one(told, gpt, mistral):
    assert len(list((told / "state").glob("*.shards/*.safetensors"))) == 2
    assert resumed(lora_run(told, sharded=False)) == pytest.approx(mistral[SWITCH:], abs=1e-6)
    assert resumed(gpt_run(told)) == pytest.approx(gpt[SWITCH:], abs=1e-6)


def test_the_best_weights_of_a_spread_model_are_whole(told):
    model = PackedModel(network(told / "base"))
    (best,) = (told / "state").glob("best*.safetensors")
    load_trained(model, best)
    run = lora_run(told, sharded=False)
    run.resume()
    assert all(torch.equal(p, run.trained[n]) for n, p in model.named_parameters() if p.requires_grad)


def test_a_signal_to_one_process_stops_all_at_the_same_step(told):
    assert read(told, "stopped2") == [6]  # three steps in each


def test_one_process_takes_all_rows_and_keeps_its_model():
    model = torch.nn.Linear(2, 2)
    assert (n_processes(), rank(), is_first()) == (1, 0, True)
    assert own_rows([3, 1, 2]) == [3, 1, 2] and replicate(model) is model
    assert totals(3, 0.5) == [3, 0.5]
