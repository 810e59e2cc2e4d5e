"""Real processes that train, killed at every kind of moment: what they leave and what comes of it."""

import json
import os
import random
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llm.files import write_json
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.training.checkpoint import open_state, save_tensors
from llm.training.loop import fit
from stages.logs import INTERRUPTED, run_stage
from tests.processes import forking
from tests.tiny_runs import content
from tests.training.test_schedule import CONFIG

# The preset smoke's numbers, with a state after every step and an average to keep.
SMOKE = ModelConfig("llama", n_layer=2, n_head=2, n_embd=32, context_length=64, dropout=0.1, attn_dropout=0.1)
CONFIG = replace(
    CONFIG, optimizer="muon", batch_size=8, micro_batch=8, max_steps=30, eval_every=10, checkpoint_every=20, ema=0.9
)
KILLS = 20
FILES = ("state/run-k/best.safetensors", "final.safetensors", "state/run-k/checkpoints", "history.json")


def train(folder: Path) -> None:
    """Let the run in the folder go on to its end, as the stage would do it."""
    torch.set_num_threads(1)
    ids = np.random.default_rng(1).integers(0, 512, 40_000).astype(np.uint16)
    offsets = np.arange(0, len(ids) + 1, 100)
    packed = pack_corpus(TokenCorpus(ids, offsets, offsets[:-1], None), 64, seed=1)
    model = build_model(SMOKE, 512, torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    config = replace(CONFIG, val_rows=8)
    with open_state(folder / "state", "run", "k") as state:
        run = fit(model, packed, packed, config, 1, torch.device("cpu"), state)
    save_tensors(folder / "final.safetensors", dict(model.named_parameters()))
    write_json(folder / "history.json", [run.history, run.summary()])


def run_as_stage(folder: Path) -> None:
    os.chdir(folder)
    run_stage("train", lambda: train(folder))


def killed_at_rename(folder: Path, number: int) -> None:
    """End this process, as by kill -9, between writing a file and giving it its name."""
    replace_file, seen = Path.replace, []

    def die(self: Path, target: Path) -> Path:
        seen.append(target)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace_file(self, target)

    Path.replace = die  # type: ignore[method-assign,assignment]
    train(folder)


def run_with_little_disk(folder: Path) -> None:
    """Run as the stage does, while no file may be larger than the weights alone: a state cannot be written."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    run_as_stage(folder)


@pytest.fixture(scope="module")
def context():
    """Processes forked from one that has torch loaded already."""
    return forking()


@pytest.fixture(scope="module")
def straight(context, tmp_path_factory):
    """What an uninterrupted run leaves, and the seconds it takes in a process that need not load torch."""
    for name in ("first", "again"):
        folder, started = tmp_path_factory.mktemp(name), time.monotonic()
        assert start(context, train, folder).exitcode == 0
    return results(folder), time.monotonic() - started


def start(context, target, *arguments, wait=True):
    process = context.Process(target=target, args=arguments)
    process.start()
    if wait:
        process.join(300)
    return process


def results(folder):
    return {name: content(folder / name) for name in FILES}


def test_twenty_runs_killed_at_random_moments_end_bit_identical(context, straight, tmp_path):
    expected, seconds = straight
    dice, steps = random.Random(1), []
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        for _ in range(1 + number % 2):  # every other one is killed again after it was resumed
            process = start(context, train, folder, wait=False)
            time.sleep(dice.uniform(0, seconds))
            process.kill()
            process.join()
        states = sorted((folder / "state" / "run-k").glob("state_*.json"))
        steps.append(json.loads(states[-1].read_text())["step"] if states else -1)
        assert start(context, train, folder).exitcode == 0
        assert results(folder) == expected, f"killed after step {steps[-1]}"
    assert len(set(steps)) > KILLS / 4  # they came at different moments


@pytest.mark.parametrize("number", [1, 2, 3, 41, 43, 45])  # weights, states, manifests, checkpoints
def test_a_kill_inside_a_write_changes_nothing(context, straight, tmp_path, number):
    assert start(context, killed_at_rename, tmp_path, number).exitcode == -signal.SIGKILL
    assert list(tmp_path.rglob(".*.tmp"))
    assert start(context, train, tmp_path).exitcode == 0
    assert results(tmp_path) == straight[0]
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_newest_state_cut_short_changes_nothing(context, straight, tmp_path):
    start(context, killed_at_rename, tmp_path, 40)
    newest = max((tmp_path / "state/run-k").glob("state_*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])
    assert start(context, train, tmp_path).exitcode == 0
    assert results(tmp_path) == straight[0]


@pytest.mark.parametrize("pattern", ["best_*", "checkpoints/step_*.safetensors"])
def test_weights_with_a_bit_turned_while_the_run_was_stopped_change_nothing(context, straight, tmp_path, pattern):
    """They are no part of a state, but end up in the results."""
    start(context, killed_at_rename, tmp_path, 68)  # all is trained
    newest = max((tmp_path / "state/run-k").glob(pattern))
    data = newest.read_bytes()
    newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert start(context, train, tmp_path).exitcode == 0
    assert results(tmp_path) == straight[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_stage_with_130_and_the_next_run_goes_on(context, straight, tmp_path, number):
    process = start(context, run_as_stage, tmp_path, wait=False)
    while not list((tmp_path / "state/run-k").glob("state_0000000[1-9].json")):
        assert process.is_alive()
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.join(300)
    assert process.exitcode == INTERRUPTED
    assert start(context, run_as_stage, tmp_path).exitcode == 0
    assert results(tmp_path) == straight[0]


def test_a_full_disk_gives_one_line_and_loses_nothing(context, straight, tmp_path):
    start(context, killed_at_rename, tmp_path, 30)
    before = {path.name for path in (tmp_path / "state/run-k").glob("state_*")}
    assert start(context, run_with_little_disk, tmp_path).exitcode == 1
    log = (tmp_path / "logs/train.log").read_text(encoding="utf-8")
    (line,) = [line for line in log.splitlines() if " ERROR " in line]
    assert "cannot be written (File too large" in line and "make room, then run the same command again" in line
    assert before <= {path.name for path in (tmp_path / "state/run-k").glob("state_*")}
    assert start(context, run_as_stage, tmp_path).exitcode == 0
    assert results(tmp_path) == straight[0]
