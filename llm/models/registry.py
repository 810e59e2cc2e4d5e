"""Building, counting, saving and loading the models trained here from scratch."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from llm.models.gpt import GPT
from llm.models.llama import Llama
from llm.models.shape import ModelConfig


def build_model(config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> GPT | Llama:
    """A fresh model of the configured architecture, its weights drawn from `generator`."""
    if config.architecture == "gpt2":
        return GPT(config, vocab_size, generator)
    return Llama(config, vocab_size, generator)


def n_parameters(model: nn.Module) -> int:
    """Number of weights, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def describe_model(model: GPT | Llama) -> dict[str, object]:
    """What is needed to build the model again around its weights."""
    return {**asdict(model.config), "vocab_size": model.vocab_size}


def load_gpt(folder: Path, weights: str = "best") -> GPT | Llama:
    """The model saved in a folder by the stage train_scratch, in evaluation mode.

    Raises OSError naming what is missing, ValueError where it is of another version of this project.
    """
    for name in ("config.json", f"{weights}.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: run `dvc repro train_scratch` first")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        vocab_size = config.pop("vocab_size")
        model = build_model(ModelConfig(**config), vocab_size)
        model.load_state_dict(load_file(folder / f"{weights}.safetensors"))
    except (KeyError, TypeError, RuntimeError) as error:  # other settings, or weights of other names
        told = str(error).partition("\n")[0]
        raise ValueError(f"{folder} is of another version: run `dvc repro train_scratch` ({told})") from error
    return model.eval()
