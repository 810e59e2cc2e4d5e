"""Who takes part in the comparison, under its real name, and how each is loaded when its turn comes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llm.data import open_corpus
from llm.gpt import GPT
from llm.hub import HubModel
from llm.llama import Llama
from llm.models import build_model, load_gpt, n_parameters
from llm.ngram import train_ngram
from llm.pretrained import load_base, load_finetuned, read_info
from llm.scoring import NgramScorer, ScratchModel
from llm.tokenizer import load_tokenizer

NAMES = ("scratch", "untrained", "ngram5", "base", "mistral")


@dataclass(frozen=True)
class Folders:
    """Where the models are."""

    scratch: Path
    tokens: Path
    base: Path
    adapter: Path


@dataclass(frozen=True)
class Entrant:
    """A model that is not loaded yet."""

    name: str
    real_name: str
    load: Callable[[], ScratchModel | NgramScorer | HubModel]


def line_up(folders: Folders, device: torch.device, seed: int, batch_tokens: int) -> list[Entrant]:
    """The models there are, in the order of NAMES; without the fine-tuned one when fine-tuning was switched off."""

    def base() -> HubModel:
        return HubModel("base", *load_base(folders.base, device), batch_tokens)

    def mistral() -> HubModel:
        return HubModel("mistral", *load_finetuned(folders.base, folders.adapter, device), batch_tokens)

    entrants = _own(folders, device, seed, batch_tokens)
    entrants.append(Entrant("base", describe_base(read_info(folders.base)), base))
    adapter = read_info(folders.adapter)
    return [*entrants, Entrant("mistral", adapter["description"], mistral)] if adapter["enabled"] else entrants


def _own(folders: Folders, device: torch.device, seed: int, batch_tokens: int) -> list[Entrant]:
    """The model trained from scratch, the same before its first step, and the n-grams of what it was trained on."""
    tokenizer, gpt = load_tokenizer(folders.scratch / "tokenizer.json"), load_gpt(folders.scratch)
    config, vocab_size, described = gpt.config, gpt.vocab_size, describe(gpt)

    def scratch() -> ScratchModel:
        return ScratchModel("scratch", load_gpt(folders.scratch).to(device), tokenizer, batch_tokens)

    def untrained() -> ScratchModel:
        fresh = build_model(config, vocab_size, torch.Generator().manual_seed(seed))
        return ScratchModel("untrained", fresh.to(device), tokenizer, batch_tokens)

    def ngram5() -> NgramScorer:
        train = open_corpus(folders.tokens, "train")
        return NgramScorer("ngram5", train_ngram(train.ids, train.offsets, vocab_size), tokenizer)

    return [
        Entrant("scratch", f"{described}, trained here from scratch", scratch),
        Entrant("untrained", f"{described}, before its first step", untrained),
        Entrant("ngram5", "interpolated Kneser-Ney 5-gram over the tokens of scratch", ngram5),
    ]


def describe(gpt: GPT | Llama) -> str:
    """Architecture and size in words."""
    kind = {"gpt2": "GPT-2", "llama": "Llama"}[gpt.config.architecture]
    size = f"{n_parameters(gpt) / 1e6:.1f}M parameters"
    return f"{kind} architecture ({gpt.config.n_layer} layers, {gpt.config.n_embd} wide, {size})"


def describe_base(info: dict[str, Any]) -> str:
    """The base model's real name and size, and that it stands in for another where it does."""
    role = ", a stand-in for Mistral 7B" if info["stand_in"] else ""
    return f"{info['name']} ({info['parameters'] / 1e6:,.0f}M parameters{role}), before fine-tuning"
