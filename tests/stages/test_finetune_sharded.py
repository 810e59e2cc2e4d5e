"""The stage finetune_mistral on a Mistral of 32 layers in three shards, trained as the preset coursework trains 7B."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
import yaml
from safetensors.torch import load_file

import llm.machine
from llm.dialogue import Example, Prompt, write_table
from llm.evaluation.hub_model import HubModel
from llm.files import write_json
from llm.hub.pretrained import CPU, load_adapted, load_base, load_finetuned
from llm.hub.upstream import BaseConfig, fetch_base
from llm.training.distributed import is_first, n_processes, shard
from llm.training.lora import FinetuneConfig, PackedModel
from stages import finetune_mistral
from stages.params import load
from tests.conftest import REPOSITORY
from tests.evaluation.test_hub_model import decoding
from tests.processes import run_processes
from tests.sharded_mistral import write_sharded_mistral
from tests.stages.test_finetune_mistral import assert_same_curve, read_curve
from tests.training.test_lora import DIALOGUES

# Two processes add the same gradients in another order. Their fp32 factors then differ in the last bits, and where
# these are rounded to bf16 for a product, a few fall to the neighbour, 2^-8 of themselves away.
HALF_LOSS = 1e-3
ADAPTER = "models/mistral/adapter_model.safetensors"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder in which the stage can run."""
    folder = tmp_path_factory.mktemp("run")
    params = yaml.safe_load((REPOSITORY / "presets/laptop.yaml").read_text(encoding="utf-8"))
    params["finetune"] |= {"train_tokens": 1500, "context_length": 64, "gradient_checkpointing": True}
    plan = {"max_steps": 2, "epochs": None, "eval_every": 2, "batch_size": 4, "micro_batch": 1, "val_rows": 2}
    params["finetune"]["train"] |= plan
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    write_table(folder / "data/clean/train.arrow", DIALOGUES[1::2])
    write_table(folder / "data/clean/val.arrow", DIALOGUES[::2])
    (folder / "mistral").mkdir()
    write_sharded_mistral(folder / "mistral")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANDEM_FETCHED", str(folder / "fetched"))
        origin = fetch_base(BaseConfig(str(folder / "mistral"), "main"), folder / "models/base")
    write_json(folder / "models/base/tandem.json", asdict(origin))
    return folder


@pytest.fixture
def workspace(prepared, tmp_path, monkeypatch):
    """A copy of the folder, in which nothing was trained yet."""
    shutil.copytree(prepared, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setenv("TANDEM_STATE", str(tmp_path / "state"))
    return tmp_path / "run"


def in_halves(monkeypatch):
    """Let this CPU compute in bf16, as a card does."""
    monkeypatch.setattr(llm.machine, "number_type", lambda device_type, bf16, capability: torch.bfloat16)


def results(workspace):
    """The curve and the adapter."""
    return read_curve(workspace), load_file(workspace / ADAPTER)


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """The folder after the stage has run in one process."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("one") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TANDEM_STATE", str(folder.parent / "state"))
        finetune_mistral.main()
    return folder


def run_half(folder):
    """The stage in bf16 as one of its processes; what it trained in which types, and its part of the weights."""
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        in_halves(patch)
        config = load("finetune", FinetuneConfig)
        model = PackedModel(finetune_mistral.load_model(config, CPU, True, 1))
        shard(model, CPU)
        weights = list(model.parameters())
        parts = {
            "processes": n_processes(),
            "whole": sum(p.numel() for p in weights),
            "held": sum(p.to_local().numel() for p in weights),
            "frozen": sorted({str(p.dtype) for p in weights if not p.requires_grad}),
            "factors": sorted({str(p.dtype) for p in weights if p.requires_grad}),
        }
        if is_first():
            write_json(folder / "parts.json", parts)
        finetune_mistral.finetune(config, CPU, sharded=True)


def test_two_processes_that_share_the_model_have_the_losses_of_one(trained, workspace):
    path = workspace / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("processes: 1", "processes: 2"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.finetune_mistral"]
    ended = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    (curve, one), (found, two) = results(trained), results(workspace)
    assert_same_curve(found, curve)
    assert two.keys() == one.keys() and len(one) == 32 * 7 * 2
    assert all(torch.allclose(two[name], weights, atol=1e-5) for name, weights in one.items())


def test_a_bf16_base_shared_by_two_processes_trains_fp32_factors_alike(workspace, monkeypatch):
    run_processes(2, "tests.stages.test_finetune_sharded", "run_half", workspace)
    parts = json.loads((workspace / "parts.json").read_text(encoding="utf-8"))
    assert (parts["processes"], parts["frozen"], parts["factors"]) == (2, ["torch.bfloat16"], ["torch.float32"])
    assert parts["held"] == pytest.approx(parts["whole"] / 2, rel=0.01)
    found, two = results(workspace)
    shutil.rmtree(workspace.parent / "state")
    in_halves(monkeypatch)
    finetune_mistral.finetune(load("finetune", FinetuneConfig), CPU, sharded=False)
    curve, one = results(workspace)
    for row, other in zip(found, curve, strict=True):
        assert row["val_loss"] == pytest.approx(other["val_loss"], abs=HALF_LOSS)
    assert curve[-1]["val_loss"] < curve[0]["val_loss"] - 10 * HALF_LOSS
    assert {weights.dtype for weights in two.values()} == {torch.float32} and two.keys() == one.keys()


def beside(base, adapter):
    """The base model with the adapter beside its weights, and its tokenizer."""
    adapted, tokenizer = load_adapted(base, adapter)
    return adapted.get_base_model(), tokenizer


def test_the_saved_adapter_is_evaluated_as_it_was_trained(trained):
    folders = trained / "models/base", trained / "models/mistral"
    examples = [Example(f"{d.id}/1", d.source, d.group, d.turns[:1], d.turns[1]) for d in DIALOGUES[-8:]]
    loaded = {"base": load_base(folders[0]), "beside": beside(*folders), "merged": load_finetuned(*folders)}
    models = {name: HubModel(name, *parts, 512) for name, parts in loaded.items()}
    nats = {name: torch.tensor([-one.logprob for one in model.loglik(examples)]) for name, model in models.items()}
    assert torch.allclose(nats["merged"], nats["beside"], rtol=1e-4)
    assert (nats["merged"] < nats["base"]).all()
    prompts = [Prompt(example.history) for example in examples[:2]]
    assert models["merged"].generate(prompts, decoding()) == models["beside"].generate(prompts, decoding())
