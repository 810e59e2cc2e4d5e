"""A half-trained state is found again by its key alone: what shapes the weights has to be part of it."""

import copy
import json

import pytest
import torch
import yaml

from llm.hub.info import INFO
from stages import finetune_mistral, train_scratch
from stages.params import load
from tests.stale_matrix import loaded, other
from tests.test_shape import ROOT, STAGES, leaf_keys

MODULES = {"train_scratch": train_scratch, "finetune_mistral": finetune_mistral}
SHAPES_NOTHING = {
    "device",  # the key holds the type of the device that it stands for
    "finetune.enabled",  # false: nothing is trained
    "launch.nodes",  # a state is taken up by other processes, docs/clusters.md
    "launch.processes",
    "launch.shard",
    "train.state_every_s",  # when a state is saved changes no weight
    "finetune.train.state_every_s",
}
SEEN_IN_THE_INPUTS = {  # what these compute is hashed
    "train_scratch": {"tokenizers"},
    "finetune_mistral": {"datasets", "gguf", "pyarrow"},
}
CPU = torch.device("cpu")


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """What the two stages learn from, by its content; their parameters are those of the preset laptop."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "presets/laptop.yaml").read_bytes())
    for name in ("data/tokens/train.npy", "data/clean/train.arrow", "data/clean/val.arrow"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"as it was")
    (tmp_path / "models/base").mkdir(parents=True)
    (tmp_path / "models/base" / INFO).write_text(json.dumps({"files": {"model.safetensors": "0f"}}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configs(stage):
    """What a stage loads of params.yaml and hands to its key, by the name of the section."""
    module = MODULES[stage]
    kinds = {"seed": int, "data_seed": int, "model": getattr(module, "ModelConfig", None)}
    kinds |= {"mixture": dict[str, float], "train": getattr(module, "TrainConfig", None)}
    kinds |= {"finetune": getattr(module, "FinetuneConfig", None)}
    return {name: load(name, kinds[name]) for name in loaded(stage) if name in kinds}


def key(stage, values):
    """Name of the state; `values` are by section."""
    names = {
        "train_scratch": ("seed", "model", "mixture", "train"),
        "finetune_mistral": ("seed", "data_seed", "finetune"),
    }
    return MODULES[stage].run_name(*(values[name] for name in names[stage]), CPU)


def with_value(values, key):
    """The sections with another value at the dotted key, which may be one that no run would accept."""
    values = copy.deepcopy(values)
    first, *parts = key.split(".")
    if not parts:
        return values | {first: other(values[first])}
    section = values[first]
    for part in parts[:-1]:
        section = getattr(section, part)
    if isinstance(section, dict):
        section[parts[-1]] = other(section[parts[-1]])
    else:
        object.__setattr__(section, parts[-1], other(getattr(section, parts[-1])))
    return values


def shaping(stage):
    """Every key of params.yaml that a stage reads and that shapes what it trains."""
    keys = leaf_keys(yaml.safe_load((ROOT / "presets/laptop.yaml").read_text(encoding="utf-8")))
    read = [key for key in keys if any(f"{key}.".startswith(f"{name}.") for name in loaded(stage))]
    return [key for key in read if key not in SHAPES_NOTHING]


@pytest.mark.parametrize("stage", MODULES)
def test_a_state_of_another_value_of_any_parameter_is_another_state(stage, inputs):
    values = configs(stage)
    mine = key(stage, values)
    assert mine == key(stage, configs(stage))
    assert len(shaping(stage)) > 20
    assert [name for name in shaping(stage) if key(stage, with_value(values, name)) == mine] == []


@pytest.mark.parametrize("stage", MODULES)
def test_a_parameter_that_shapes_no_weight_leaves_the_state_as_it_is(stage, inputs):
    values = configs(stage)
    names = [name for name in SHAPES_NOTHING if name.startswith(("train.", "finetune.train."))]
    names = [name for name in names if name.partition(".")[0] in values]
    assert names
    assert {key(stage, with_value(values, name)) for name in names} == {key(stage, values)}


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("train_scratch", "data/tokens/train.npy"),
        ("finetune_mistral", "data/clean/train.arrow"),
        ("finetune_mistral", "data/clean/val.arrow"),
        ("finetune_mistral", f"models/base/{INFO}"),
    ],
)
def test_a_state_of_other_data_or_of_another_base_is_another_state(stage, path, inputs):
    values = configs(stage)
    mine = key(stage, values)
    (inputs / path).write_text(json.dumps({"files": {"model.safetensors": "1f"}}), encoding="utf-8")
    assert key(stage, values) != mine


@pytest.mark.parametrize("stage", MODULES)
def test_a_state_of_another_version_that_computes_is_another_state(stage):
    (versions,) = [param["versions.yaml"] for param in STAGES[stage]["params"] if not isinstance(param, str)]
    assert set(versions) - {"torch"} == {*MODULES[stage].PACKAGES} | SEEN_IN_THE_INPUTS[stage]
