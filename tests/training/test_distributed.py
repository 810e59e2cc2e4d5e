"""Several processes train what one trains."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

import llm.training.loop
from llm.hub.pretrained import load_base
from llm.models.registry import build_model
from llm.tokens.epochs import Epochs
from llm.tokens.packing import pack_corpus
from llm.training.checkpoint import State
from llm.training.distributed import is_first, n_processes, own_rows, rank, replicate, shard, totals
from llm.training.loop import fit, training_steps, validate
from llm.training.lora import PackedModel, load_trained, select
from llm.training.resume import resume, save_state
from llm.training.step import validation_loss
from llm.training.trainer import Trainer
from tests.processes import run_processes
from tests.tiny_runs import CPU, SHAPE, counting_rows, take_steps
from tests.training.test_lora import DIALOGUES, FINETUNE, TRAIN, base, network
from tests.training.test_schedule import CONFIG

__all__ = ["base"]  # a fixture

STILL = replace(SHAPE, dropout=0.0)  # dropout draws other numbers in each process
GPT_TRAIN = replace(CONFIG, batch_size=8, micro_batch=2, max_norm=0.3, eval_every=1000, state_every_s=999.0)
LORA_TRAIN = replace(TRAIN, batch_size=8, max_steps=6, max_norm=0.3, eval_every=1000, state_every_s=999.0)
SWITCH = 3  # step at which the state of the sharded run is saved, and the only one but that of step 0


def step_losses(run, steps, n):
    """Mean training loss of each of the next n steps."""
    found = []
    for _ in range(n):
        nats, tokens = run.progress.loss_sum, run.progress.loss_tokens
        next(steps)
        found.append((run.progress.loss_sum - nats) / (run.progress.loss_tokens - tokens))
    return found


def val_loss(run):
    """Validation loss of the weights as they are."""
    return validation_loss(run.network, run.val_data, None, 3, CPU)


def losses(run):
    """Mean training loss of each of six steps, then the validation loss."""
    steps = training_steps(run)
    next(steps)
    assert run.progress.step == 0
    return [*step_losses(run, steps, 6), val_loss(run)]


def gpt_run(folder, architecture="gpt2", optimizer="adamw", sharded=False):
    """A tiny GPT's training, whose states are in the folder."""
    shape, config = replace(STILL, architecture=architecture), replace(GPT_TRAIN, optimizer=optimizer)
    model, packed = build_model(shape, 12, torch.Generator().manual_seed(1)), counting_rows()
    if sharded:
        shard(model, CPU)
    return Trainer(model, packed, packed, config, 1, CPU, State(folder))


def lora_run(folder, sharded):
    """A fine-tune of the tiny Mistral in `base` beside the folder, which has its states."""
    base = folder.parent / "base"
    tokenizer = load_base(base)[1]
    packed = pack_corpus(select(DIALOGUES, tokenizer, None, seed=1).corpus, FINETUNE.context_length, seed=1)
    model = PackedModel(network(base))
    if sharded:
        shard(model, CPU)
    return Trainer(model, packed, packed, LORA_TRAIN, 1, CPU, State(folder))


def stopped_step(folder):
    """Steps a process has done when the last of them gets a SIGTERM in its third."""
    step, passed = llm.training.loop.optimizer_step, []

    def step_and_signal(optimizers, lr):
        step(optimizers, lr)
        passed.append(lr)
        if len(passed) == 3 and rank() == n_processes() - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    packed, model = counting_rows(), build_model(STILL, 12, torch.Generator().manual_seed(1))
    llm.training.loop.optimizer_step = step_and_signal
    try:
        fit(model, packed, packed, GPT_TRAIN, 1, CPU, State(folder))
    except KeyboardInterrupt:
        return State(folder).load()[1]["step"]
    finally:
        llm.training.loop.optimizer_step = step
    return None


def tell(folder, name, value):
    """Write the value of the first process into a file."""
    if is_first():
        (folder / f"{name}{n_processes()}.json").write_text(json.dumps(value), encoding="utf-8")


def saved_halfway(run):
    """Losses of six steps, then the validation loss; the state of the third is on disk."""
    steps = training_steps(run)
    next(steps)
    found = step_losses(run, steps, SWITCH)
    save_state(run)
    validate(run)
    return [*found, *step_losses(run, steps, 6 - SWITCH), val_loss(run)]


def resumed(run):
    """Losses from the saved state on, then the validation loss."""
    steps = training_steps(run)
    next(steps)
    assert run.progress.step == SWITCH
    return [*step_losses(run, steps, 6 - SWITCH), val_loss(run)]


def without_tokens(folder):
    """A run whose second batch has nothing to learn, and whose fourth has nothing in its first half."""
    run = gpt_run(folder)
    packed = counting_rows()
    rows = [Epochs(packed, 1).place(number)[1] for number in (*range(8, 16), *range(24, 28))]
    supervised = np.ones(len(packed.corpus.ids), bool)
    for i in np.flatnonzero(np.isin(packed.rows.row, rows)):
        supervised[packed.rows.start[i] + 1 : packed.rows.stop[i] + 1] = False
    run.batches.data = Epochs(replace(packed, corpus=replace(packed.corpus, supervised=supervised)), 1)
    take_steps(training_steps(run), 6)
    return [val_loss(run), run.progress.tokens, run.progress.empty_steps, run.progress.skipped_steps]


def two(folder):
    """What two processes do for the tests below."""
    tell(folder, "without_tokens", without_tokens(folder / "without2"))
    tell(folder, "gpt", losses(gpt_run(folder / "whole2")))
    tell(folder, "muon", losses(gpt_run(folder / "muon2", "llama", "muon")))
    tell(folder, "sharded_gpt", saved_halfway(gpt_run(folder / "gpt", sharded=True)))
    tell(folder, "mistral", losses(lora_run(folder / "whole_mistral2", sharded=False)))
    tell(folder, "sharded_mistral", saved_halfway(lora_run(folder / "mistral", sharded=True)))
    tell(folder, "stopped", totals(stopped_step(folder / "stopped")))


def four(folder):
    """What four processes do for the tests below."""
    tell(folder, "gpt", losses(gpt_run(folder / "whole4")))
    tell(folder, "resumed_gpt", resumed(gpt_run(folder / "gpt", sharded=True)))


@pytest.fixture(scope="module")
def told(tmp_path_factory, base):
    """The folder with what two and then four processes told."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "base").symlink_to(base)
    run_processes(2, "tests.training.test_distributed", "two", folder)
    run_processes(4, "tests.training.test_distributed", "four", folder)
    return folder


def read(folder, name):
    """What the processes told under that name."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def gpt(told):
    """Losses of the GPT in one process."""
    return losses(gpt_run(told / "gpt1"))


@pytest.fixture(scope="module")
def mistral(told):
    """Losses of the fine-tune in one process."""
    return losses(lora_run(told / "mistral1", sharded=False))


@pytest.mark.parametrize("n", [2, 4])
def test_several_processes_have_the_losses_of_one(told, gpt, n):
    assert gpt[5] < 0.95 * gpt[0]
    assert read(told, f"gpt{n}") == pytest.approx(gpt, abs=1e-6)


def test_a_batch_without_a_token_to_learn_is_passed_over_by_all_processes(told):
    expected = without_tokens(told / "without1")
    assert expected[2:] == [1, 0]
    assert read(told, "without_tokens2") == pytest.approx(expected, abs=1e-6)


def test_muon_moves_all_processes_alike(told):
    assert read(told, "muon2") == pytest.approx(losses(gpt_run(told / "muon1", "llama", "muon")), abs=1e-6)


def test_a_model_spread_over_processes_has_the_losses_of_one(told, gpt, mistral):
    assert mistral[5] < mistral[0]
    assert read(told, "sharded_gpt2") == pytest.approx(gpt, abs=1e-6)
    assert read(told, "sharded_mistral2") == pytest.approx(mistral, abs=1e-6)


def test_a_mistral_held_whole_by_each_process_has_the_losses_of_one(told, mistral):
    assert read(told, "mistral2") == pytest.approx(mistral, abs=1e-6)


def test_a_state_of_two_processes_is_taken_up_by_four(told, gpt):
    assert read(told, "resumed_gpt4") == pytest.approx(gpt[SWITCH:], abs=1e-6)


def test_a_state_of_two_processes_is_taken_up_by_one(told, gpt, mistral):
    assert len(list((told / "mistral").glob("state_00000003.shards/*.safetensors"))) == 2
    assert resumed(lora_run(told / "mistral", sharded=False)) == pytest.approx(mistral[SWITCH:], abs=1e-6)
    assert resumed(gpt_run(told / "gpt")) == pytest.approx(gpt[SWITCH:], abs=1e-6)


def test_the_best_weights_of_a_spread_model_are_whole(told):
    model = PackedModel(network(told / "base"))
    load_trained(model, told / "mistral/best_00000003.safetensors")
    run = lora_run(told / "mistral", sharded=False)
    assert resume(run)
    assert all(torch.equal(p, run.trained[n]) for n, p in model.named_parameters() if p.requires_grad)


def test_a_signal_to_one_process_stops_all_at_the_same_step(told):
    assert read(told, "stopped2") == [6]  # three steps in each


def test_one_process_takes_all_rows_and_keeps_its_model():
    model = torch.nn.Linear(2, 2)
    assert (n_processes(), rank(), is_first()) == (1, 0, True)
    assert own_rows([3, 1, 2]) == [3, 1, 2] and replicate(model) is model
    assert totals(3, 0.5) == [3, 0.5]
