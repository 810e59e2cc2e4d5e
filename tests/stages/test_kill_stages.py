"""Stages as real processes: killed, interrupted, short of disk or memory, or with gradients that are not finite."""

import json
import math
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from llm.__main__ import main as main_of_llm
from llm.dialogue import write_table
from llm.tokens.mixture import write_sources
from llm.tokens.packing import TokenCorpus, write_corpus
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer
from llm.training import loop
from llm.training.free_memory import free_memory
from llm.training.recovery import MAX_SKIPPED
from llm.training.step import Losses
from llm.training.trainer import Trainer
from stages import evaluate, finetune_mistral, train_scratch
from stages.logs import INTERRUPTED, run_stage
from tests.processes import forking
from tests.stages.test_evaluate import project
from tests.training.test_lora import DIALOGUES, base

__all__ = ["base", "project"]  # fixtures
STAGES = {"evaluate": evaluate.main, "finetune_mistral": finetune_mistral.main, "train_scratch": train_scratch.main}
STATES = ".train_state/*/state_*.json"


def run(folder: Path, stage: str) -> None:
    os.chdir(folder)
    run_stage(stage, STAGES[stage])


def run_killed_at(folder: Path, stage: str, name: str) -> None:
    """End this process, as by kill -9, when a file is written and about to get this name."""
    replace_file = Path.replace

    def die(self: Path, target: Path) -> Path:
        if target.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace_file(self, target)

    Path.replace = die  # type: ignore[method-assign,assignment]
    run(folder, stage)


def run_with_little_disk(folder: Path, stage: str, n_bytes: int) -> None:
    """Run the stage while no file may be larger than this."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
    run(folder, stage)


def run_with_little_memory(folder: Path, stage: str, n_bytes: int) -> None:
    """Run the stage in a process that may take so much more from the start of its training."""
    begin = loop.begin

    def begin_limited(trainer: Trainer) -> None:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        used = int(status["VmData"].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + n_bytes, resource.RLIM_INFINITY))
        begin(trainer)

    loop.begin = begin_limited
    run(folder, stage)


def run_poisoned(folder: Path, stage: str, steps: list[int]) -> None:
    """Run the stage with gradients that are not finite at these 0-based steps."""
    gradients = loop.batch_gradients

    def poison(trainer: Trainer, rows: Sequence[int]) -> Losses:
        losses = gradients(trainer, rows)
        if trainer.progress.step in steps:
            next(iter(trainer.trained.values())).grad.mul_(math.inf)
        return losses

    loop.batch_gradients = poison
    run(folder, stage)


@pytest.fixture(scope="module")
def start():
    """Starts a function in a process that has the heavy libraries loaded already."""
    context = forking()

    def start(target, *arguments, wait=True):
        process = context.Process(target=target, args=arguments)
        process.start()
        if wait:
            process.join(300)
        return process

    start(time.sleep, 0)  # loads them
    return start


def training(start, folder, stage):
    """A process of a training stage that has just saved a state."""
    seen, process = set(folder.glob(STATES)), start(run, folder, stage, wait=False)
    while not set(folder.glob(STATES)) - seen:
        assert process.is_alive()
        time.sleep(0.005)
    return process


def timed(start, folder, stage):
    """Seconds that the undisturbed stage takes."""
    started = time.monotonic()
    assert start(run, folder, stage).exitcode == 0
    return time.monotonic() - started


def outputs(folder, *names):
    files = [path for name in names for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.suffix != ".tmp"}


def set_params(folder, change):
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(params)
    path.write_text(yaml.safe_dump(params), encoding="utf-8")


def last_line(folder, stage):
    return (folder / f"logs/{stage}.log").read_text(encoding="utf-8").splitlines()[-1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, pytestconfig):
    """A folder with tokens and the numbers of the preset smoke, or nearly so, to train from scratch in."""
    folder = tmp_path_factory.mktemp("scratch")
    shutil.copyfile(pytestconfig.rootpath / "presets/laptop.yaml", folder / "params.yaml")
    set_params(folder, lambda params: params["model"].update(n_layer=2, n_head=2, n_embd=32, context_length=64))
    set_training(folder, batch_size=8, micro_batch=8, max_steps=24, eval_every=6, checkpoint_every=12, keep=1)
    tokenizer = train_tokenizer([turn for d in DIALOGUES for turn in d.turns], TokenizerConfig(300, 2))
    tokenizer.save(folder / "data/tokens/tokenizer.json")
    for split, dialogues in (("train", DIALOGUES * 20), ("val", DIALOGUES)):
        encoded = [tokenizer.encode_dialogue(dialogue.turns) for dialogue in dialogues]
        offsets = np.cumsum([0, *map(len, encoded)])
        ids = np.concatenate(encoded).astype(np.uint16)
        write_corpus(folder / "data/tokens", split, TokenCorpus(ids, offsets, offsets[:-1], None))
    write_sources(folder / "data/tokens", [("dialogue", "eli5")[i % 2] for i in range(20 * len(DIALOGUES))])
    return folder


def set_training(folder, **values):
    set_params(folder, lambda params: params["train"].update(values))


def figures(folder):
    return json.loads((folder / "models/scratch/summary.json").read_text(encoding="utf-8"))


def test_an_epoch_reads_each_source_as_often_as_the_mixture_says(start, corpus, tmp_path):
    read = {}
    for dialogue, eli5 in ((1.0, 1.0), (1.0, 3.0), (0.0, 1.0)):
        folder = shutil.copytree(corpus, tmp_path / f"{dialogue}-{eli5}")
        set_params(folder, lambda params, m={"dialogue": dialogue, "eli5": eli5}: params.update(mixture=m))
        set_training(folder, epochs=1, max_steps=None)
        assert start(run, folder, "train_scratch").exitcode == 0
        read[dialogue, eli5] = figures(folder)["tokens"]
    assert 0 < read[0.0, 1.0] < read[1.0, 1.0]
    extra = 2 * read[0.0, 1.0]  # a last batch may reach into the next epoch
    assert abs(read[1.0, 3.0] - read[1.0, 1.0] - extra) <= 2 * 8 * 64


def test_gradients_that_are_not_finite_are_counted_in_the_metrics(start, corpus, tmp_path):
    folder, dice = shutil.copytree(corpus, tmp_path / "run"), random.Random(1)
    apart, streak = sorted(dice.sample(range(1, 12, 2), 3)), range(14, 14 + MAX_SKIPPED)
    assert start(run_poisoned, folder, "train_scratch", [*apart, *streak]).exitcode == 0
    found = figures(folder)
    assert (found["step"], found["skipped_steps"], found["rollbacks"]) == (24, 3 + MAX_SKIPPED, 1)
    assert found["best_val_loss"] < math.log(300)
    rolled_back = "step 19: back to the weights of step 18, lr times 0.5"
    assert rolled_back in (folder / "logs/train_scratch.log").read_text(encoding="utf-8")


def test_gradients_that_are_never_finite_end_the_stage_with_advice(start, corpus, tmp_path):
    folder = shutil.copytree(corpus, tmp_path / "run")
    assert start(run_poisoned, folder, "train_scratch", list(range(24))).exitcode == 1
    assert "train_scratch failed: no finite loss at step 20 after 3 rollbacks" in last_line(folder, "train_scratch")
    assert "lower lr or max_norm" in last_line(folder, "train_scratch")
    assert not (folder / "models").exists()


@pytest.mark.skipif(free_memory() is None, reason="needs Linux's /proc and its limits")
def test_a_memory_limit_makes_the_micro_batch_smaller_and_leaves_the_figures(start, corpus, tmp_path):
    wide = {"n_layer": 4, "n_head": 4, "n_embd": 128, "context_length": 256, "dropout": 0.0}
    free, limited = (shutil.copytree(corpus, tmp_path / name) for name in ("free", "limited"))
    for folder in (free, limited):
        set_params(folder, lambda params: params["model"].update(wide))
        set_training(folder, batch_size=16, micro_batch=None, max_steps=2, eval_every=2, checkpoint_every=2)
    assert start(run, free, "train_scratch").exitcode == 0
    assert start(run_with_little_memory, limited, "train_scratch", 180_000_000).exitcode == 0
    rows = [json.loads((f / "models/scratch/train.json").read_text())["micro_batch"] for f in (free, limited)]
    assert rows[0] == 16 and 1 <= rows[1] < 16
    assert figures(limited) == pytest.approx(figures(free), rel=1e-4)  # rounded to 4 digits


def test_a_full_disk_ends_training_in_one_line_and_its_states_stay(start, corpus, tmp_path):
    straight, folder = (shutil.copytree(corpus, tmp_path / name) for name in ("straight", "run"))
    for each in (straight, folder):
        set_training(each, state_every_s=0.0)
    assert start(run, straight, "train_scratch").exitcode == 0
    process = training(start, folder, "train_scratch")
    os.kill(process.pid, signal.SIGTERM)
    process.join(300)
    assert process.exitcode == INTERRUPTED
    states = {path: path.read_bytes() for path in folder.glob(".train_state/*/state_*")}
    assert start(run_with_little_disk, folder, "train_scratch", 50_000).exitcode == 1
    assert "cannot be written (File too large" in last_line(folder, "train_scratch")
    assert "make room, then run the same command again" in last_line(folder, "train_scratch")
    assert {path: path.read_bytes() for path in folder.glob(".train_state/*/state_*")} == states
    assert not (folder / "models").exists()
    assert start(run, folder, "train_scratch").exitcode == 0
    assert outputs(folder, "models", "metrics") == outputs(straight, "models", "metrics")


@pytest.fixture(scope="module")
def tuned(start, base, tmp_path_factory, pytestconfig):
    """A folder to fine-tune in, what an undisturbed run leaves there, and the seconds it takes."""
    folder = tmp_path_factory.mktemp("fine_tune")
    shutil.copyfile(pytestconfig.rootpath / "presets/laptop.yaml", folder / "params.yaml")

    def shrink(params):
        params["finetune"] |= {"train_tokens": 2000, "context_length": 64}
        params["finetune"]["train"] |= {"epochs": None, "max_steps": 30, "eval_every": 10, "state_every_s": 0.0}

    set_params(folder, shrink)
    write_table(folder / "data/clean/train.arrow", DIALOGUES[1::2])
    write_table(folder / "data/clean/val.arrow", DIALOGUES[::2])
    shutil.copytree(base, folder / "models/base")
    straight = shutil.copytree(folder, tmp_path_factory.mktemp("straight") / "run")
    seconds = timed(start, straight, "finetune_mistral")
    return folder, outputs(straight, "models/mistral", "metrics"), seconds


def test_a_fine_tune_killed_at_random_moments_ends_bit_identical(start, tuned, tmp_path):
    ready, expected, seconds = tuned
    folder, dice, steps = shutil.copytree(ready, tmp_path / "run"), random.Random(1), []
    for _ in range(4):
        process = training(start, folder, "finetune_mistral")
        time.sleep(dice.uniform(0, 0.05) * seconds)
        process.kill()
        process.join()
        steps.append(max(path.stem for path in folder.glob(STATES)))
    assert len(set(steps)) == 4  # each went on from where the one before it was killed
    assert start(run_killed_at, folder, "finetune_mistral", "adapter_config.json").exitcode == -signal.SIGKILL
    assert start(run, folder, "finetune_mistral").exitcode == 0
    assert outputs(folder, "models/mistral", "metrics") == expected
    assert not list((folder / "models").rglob(".*.tmp"))


def test_an_interrupted_fine_tune_says_what_to_do_and_goes_on(start, tuned, tmp_path):
    ready, expected, _ = tuned
    folder = shutil.copytree(ready, tmp_path / "run")
    for number in (signal.SIGTERM, signal.SIGINT):
        process = training(start, folder, "finetune_mistral")
        os.kill(process.pid, number)
        process.join(300)
        assert process.exitcode == INTERRUPTED
        assert "finetune_mistral interrupted: stopped at step" in last_line(folder, "finetune_mistral")
        assert "run the same command again to go on from here" in last_line(folder, "finetune_mistral")
        assert not (folder / "models/mistral").exists()
    assert start(run, folder, "finetune_mistral").exitcode == 0
    assert outputs(folder, "models/mistral", "metrics") == expected


def test_an_evaluation_that_ends_early_is_never_taken_for_a_whole_one(start, project, tmp_path, monkeypatch, capsys):
    new, folder = (shutil.copytree(project, tmp_path / name) for name in ("new", "killed"))
    before = outputs(folder, "metrics")
    for copy in (new, folder):
        set_params(copy, lambda params: params.update(data_seed=2))
    seconds, expected, dice = timed(start, new, "evaluate"), outputs(new, "metrics"), random.Random(1)
    assert expected.keys() == before.keys() and expected != before
    for _ in range(2):
        process = start(run, folder, "evaluate", wait=False)
        time.sleep(dice.uniform(0.05, 0.45) * seconds)
        process.kill()
        process.join()
        assert outputs(folder, "metrics") == before
    assert start(run_with_little_disk, folder, "evaluate", len(before["metrics/scores.jsonl"]) // 2).exitcode == 1
    assert "cannot be written (File too large" in last_line(folder, "evaluate")
    assert "make room, then run the same command again" in last_line(folder, "evaluate")
    assert outputs(folder, "metrics") == before
    assert start(run_killed_at, folder, "evaluate", "compare.json").exitcode == -signal.SIGKILL
    assert outputs(folder, "metrics") != before  # some files are new, some old: nobody reads them
    monkeypatch.chdir(folder)
    assert main_of_llm(["rescore"]) == main_of_llm(["compare", "scratch", "ngram5"]) == 1
    assert capsys.readouterr().err.count("settings.json is missing: run `dvc repro evaluate`") == 2
    assert start(run, folder, "evaluate").exitcode == 0
    assert outputs(folder, "metrics") == expected
    assert not list((folder / "metrics").rglob(".*.tmp"))
