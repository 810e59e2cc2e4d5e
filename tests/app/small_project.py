"""A project's folder of models, tiny and untrained: one as the stage train_scratch leaves it, and a base model."""

import json

import torch
from safetensors.torch import save_file

from llm.hub.tiny import generate_tiny
from llm.models.registry import build_model, describe_model
from llm.models.shape import ModelConfig
from llm.tokens.tokenizer import ROLES, TokenizerConfig, train_tokenizer

TEXTS = ["What is a token? A piece of text.", "Why does a model make mistakes? It learns from examples.", "déjà vu ☃"]
LENGTH = 32


def write_scratch(folder, architecture="qwen3", sharpened=20.0):
    """A model whose next token is far from uniform."""
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(TEXTS * 4, TokenizerConfig(vocab_size=300, min_frequency=2))
    tokenizer.save(folder / "tokenizer.json")
    config = ModelConfig(architecture, 2, 2, 16, LENGTH, dropout=0.1, attn_dropout=0.0)
    model = build_model(config, tokenizer.vocab_size, torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.head.mul_(sharpened)
        model.head[: len(ROLES)] *= 0.5  # or most replies would end at once
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "best.safetensors")
    (folder / "config.json").write_text(json.dumps(describe_model(model)), encoding="utf-8")


def write_base(folder):
    """The generated Mistral, a stand-in."""
    folder.mkdir(parents=True)
    generate_tiny(folder)
    about = {"name": "tiny Mistral of random weights", "parameters": 100_000, "stand_in": True}
    (folder / "tandem.json").write_text(json.dumps(about), encoding="utf-8")


def write_models(folder):
    """Both, in folders of their own."""
    write_scratch(folder / "scratch")
    write_base(folder / "base")
