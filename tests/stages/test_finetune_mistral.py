"""The stage finetune_mistral in a folder of its own."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from llm.dialogue import write_table
from llm.files import file_sha256
from llm.hub.info import read_info
from stages import finetune_mistral
from tests.training.test_lora import DIALOGUES, base

__all__ = ["base"]  # a fixture


@pytest.fixture
def workspace(tmp_path, monkeypatch, base, repository):
    """A folder in which the stage can run."""
    params = yaml.safe_load((repository / "presets" / "laptop.yaml").read_text(encoding="utf-8"))
    params["finetune"] |= {"train_tokens": 3000, "context_length": 64}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    write_table(tmp_path / "data" / "clean" / "train.arrow", DIALOGUES[1::2])
    write_table(tmp_path / "data" / "clean" / "val.arrow", DIALOGUES[::2])
    shutil.copytree(base, tmp_path / "models" / "base")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_STATE", str(tmp_path / "state"))
    return tmp_path


OUTS = ("models/mistral", "metrics")


def hashes(folder):
    return {
        str(p.relative_to(folder)): file_sha256(p) for out in OUTS for p in (folder / out).rglob("*") if p.is_file()
    }


def test_the_stage_run_twice_gives_the_same_bytes(workspace):
    finetune_mistral.main()
    first = hashes(workspace)
    for folder in (*OUTS, "state"):
        shutil.rmtree(workspace / folder)
    finetune_mistral.main()
    assert hashes(workspace) == first and "models/mistral/adapter_model.safetensors" in first


def test_a_system_turn_is_said_to_stand_where_it_stands(workspace, caplog):
    caplog.set_level("INFO")
    told = [replace(dialogue, system="Be kind") for dialogue in DIALOGUES[1::2]]
    write_table(workspace / "data/clean/train.arrow", told)
    set_training(workspace, max_steps=1, epochs=None)
    finetune_mistral.main()
    assert "dialogues have a system turn: it stands in the chat template" in caplog.text
    assert "Be kind" not in caplog.text


def set_training(folder, **values):
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["finetune"]["train"].update(values)
    path.write_text(yaml.safe_dump(params), encoding="utf-8")


def test_a_fine_tune_that_goes_on_ends_as_one_that_was_never_stopped(workspace, caplog):
    set_training(workspace, epochs=2, schedule_epochs=2)
    finetune_mistral.main()
    whole = hashes(workspace)
    for folder in (*OUTS, "state"):
        shutil.rmtree(workspace / folder)
    caplog.set_level("INFO")
    for epochs in (1, 2):
        set_training(workspace, epochs=epochs)
        finetune_mistral.main()
    assert "going on from step" in caplog.text
    resumed = hashes(workspace)
    for name in ("models/mistral/adapter_model.safetensors", "models/mistral/tandem.json"):
        assert resumed[name] == whole[name]


def read_curve(folder):
    """Rows of numbers, without the empty cells."""
    with (folder / "metrics/finetune_mistral.csv").open(encoding="utf-8") as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def test_another_training_seed_validates_on_the_same_rows(workspace):
    set_training(workspace, max_steps=1, epochs=None, val_rows=2)  # of more, drawn by data_seed
    starts = []
    for seed in (1, 2):
        path = workspace / "params.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("\nseed: 1", f"\nseed: {seed}"), encoding="utf-8")
        finetune_mistral.main()
        starts.append(read_curve(workspace)[0]["val_loss"])  # of the base model, whatever the adapters
    assert starts[0] == starts[1]


def test_the_stage_says_what_was_trained_on_what(workspace):
    finetune_mistral.main()
    metrics = json.loads((workspace / "models/mistral/summary.json").read_text(encoding="utf-8"))
    assert metrics["enabled"] and metrics["base"] == "tiny Mistral of random weights" and metrics["stand_in"]
    assert set(metrics["dialogues"]) == {"dialogue", "eli5", "technical"}
    assert metrics["supervised_tokens"] < metrics["drawn_tokens"] <= 3000
    # rank 16: in each of 2 layers 16 rows and columns for q, o (64, 64), k, v (64, 32), gate, up, down (64, 128)
    assert metrics["trained_parameters"] == 2 * 16 * (2 * 128 + 2 * 96 + 3 * 192)
    assert read_curve(workspace)[0]["val_loss"] == metrics["start_val_loss"]
    assert "stand-in for Mistral 7B" in read_info(workspace / "models" / "mistral")["description"]
    assert str(workspace) not in (workspace / "models" / "mistral" / "tandem.json").read_text(encoding="utf-8")


def test_a_switched_off_fine_tune_says_so(workspace):
    path = workspace / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert "  enabled: true" in text
    path.write_text(text.replace("  enabled: true", "  enabled: false"), encoding="utf-8")
    finetune_mistral.main()
    assert json.loads((workspace / "models/mistral/summary.json").read_text(encoding="utf-8")) == {"enabled": False}
    assert read_info(workspace / "models" / "mistral") == {"enabled": False}
    assert (workspace / "metrics" / "finetune_mistral.csv").is_file()


LOSS = 1e-6  # nats by which sums in another order may move a mean loss: two of fp32's steps at 4 to 8 nats (4.8e-7)
DIGIT = 1e-4  # the last one of a rounded figure: nearly equal values may round to neighbours


def assert_same_curve(found, expected):
    """The plan exactly, losses to LOSS, the perplexity exp(loss) to LOSS times itself, both rounded."""
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for row, other in zip(found, expected, strict=True):
        for name, value in other.items():
            slope = {"train_loss": 1.0, "val_loss": 1.0, "val_ppl": value}.get(name)  # d figure / d loss
            assert abs(row[name] - value) <= (0 if slope is None else slope * LOSS + 1.001 * DIGIT), name


def test_two_processes_leave_the_files_of_one(workspace, repository):
    """Spread over two processes; the same weights but for the order of sums."""
    set_training(workspace, max_steps=6, epochs=None, eval_every=3)
    finetune_mistral.main()
    first, one = hashes(workspace), load_file(workspace / "models/mistral/adapter_model.safetensors")
    curve = read_curve(workspace)
    for folder in (*OUTS, "state"):
        shutil.rmtree(workspace / folder)
    path = workspace / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("processes: 1", "processes: 2"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.finetune_mistral"]
    ended = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("finetune_mistral done") == 1  # only the first process logs
    assert hashes(workspace).keys() == first.keys()
    assert_same_curve(read_curve(workspace), curve)
    two = load_file(workspace / "models/mistral/adapter_model.safetensors")
    assert all(torch.allclose(two[name], weights, atol=1e-5) for name, weights in one.items())


def test_4_bits_are_refused_before_anything_is_read_where_they_do_not_train(workspace):
    path = workspace / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("quantize: none", "quantize: nf4"), encoding="utf-8")
    shutil.rmtree(workspace / "data")
    with pytest.raises(ValueError, match="trains on CUDA only, and the device is cpu"):
        finetune_mistral.main()
