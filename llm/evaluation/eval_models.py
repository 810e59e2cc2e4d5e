"""Step 2, models: which models and baselines are asked, under their real names, and how each is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llm.dialogue import Example, read_table, scored_replies
from llm.evaluation.baselines import Compressor, Frequent, NgramScorer, draw_prime, make_retrieval, most_frequent
from llm.evaluation.hub_model import HubModel
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scoring import EvalModel
from llm.evaluation.scratch_model import ScratchModel
from llm.hub.info import read_info
from llm.hub.pretrained import Quantize, load_adapted, load_base, load_finetuned, load_shipped_tokenizer
from llm.hub.smollm2 import without_default_system
from llm.models.gpt import GPT
from llm.models.llama import Llama
from llm.models.registry import build_model, load_gpt, n_parameters
from llm.tokens.token_files import read_corpus
from llm.tokens.tokenizer import load_tokenizer

BASELINES = ("ngram5", "unigram", "compressor", "retrieval", "frequent")
MODEL_NAMES = ("scratch", "untrained", *BASELINES, "base", "mistral")
FIXED = (*BASELINES, "base")  # no training seed changes them
NGRAM5 = "interpolated Kneser-Ney 5-gram over the tokens of scratch"
UNIGRAM = "how frequent the tokens of scratch are in its training text, whatever stands before them"
COMPRESSOR = "LZMA that has read 64 KiB of the training text: what a reply adds to its history, in bits"
RETRIEVAL = "the reply to the nearest training prompt by BM25, so copied by construction"
FREQUENT = "the most frequent training reply, whatever the prompt"
IN_4_BITS = "; asked with its weights in 4 bits (nf4), in which the adapter was trained"
NO_TEMPLATE = "; asked as [INST] ... [/INST], for it ships no template"
# What makes sense to ask a model; the rest of its figures is null. Only the tokens that scratch learns hold canaries.
PRETRAINED = ("replies", "choices", "generations", "continuations", "english")
TRAINED = ("replies", "choices", "generations", "continuations", "canaries", "english")
COUNTED = ("replies", "choices", "canaries")


@dataclass(frozen=True)
class ModelFolders:
    """Where the models are, and the texts that baselines are made of."""

    scratch: Path
    tokens: Path
    train: Path  # the table of the training dialogues
    base: Path
    adapter: Path


def list_models(folders: ModelFolders, device: torch.device, seed: int, batch_tokens: int) -> list[EvalModel]:
    """The models there are, in the order of MODEL_NAMES; without the fine-tuned one where fine-tuning is off."""

    adapter = read_info(folders.adapter)
    quantize: Quantize = adapter["config"]["quantize"] if adapter["enabled"] else "none"

    def base() -> HubModel:
        model, tokenizer = load_base(folders.base, device, quantize)
        return HubModel("base", model, tokenizer, batch_tokens, load_shipped_tokenizer(folders.base))

    def mistral() -> HubModel:
        if quantize != "none":  # as it was trained: merged into whole weights it would not fit where it did
            adapted, tokenizer = load_adapted(folders.base, folders.adapter, device, quantize)
            return HubModel("mistral", adapted.get_base_model(), tokenizer, batch_tokens)
        return HubModel("mistral", *load_finetuned(folders.base, folders.adapter, device), batch_tokens)

    models = _trained_here(folders, device, seed, batch_tokens) + _baselines(folders)
    of_base, of_mistral = template_notes(folders.base)
    made_from, in_bits = (folders.base, folders.adapter), "" if quantize == "none" else IN_4_BITS
    name = describe_base(read_info(folders.base)) + in_bits + of_base
    models.append(EvalModel("base", name, PRETRAINED, base, made_from if in_bits else (folders.base,)))
    if adapter["enabled"]:
        name = adapter["description"] + in_bits + of_mistral
        models.append(EvalModel("mistral", name, PRETRAINED, mistral, made_from))
    return models


def _trained_here(folders: ModelFolders, device: torch.device, seed: int, batch_tokens: int) -> list[EvalModel]:
    """The model trained from scratch, and the same before its first step."""
    tokenizer, gpt = load_tokenizer(folders.scratch / "tokenizer.json"), load_gpt(folders.scratch)
    config, vocab_size, described = gpt.config, gpt.vocab_size, describe_scratch(gpt)

    def scratch() -> ScratchModel:
        return ScratchModel("scratch", load_gpt(folders.scratch).to(device), tokenizer, batch_tokens)

    def untrained() -> ScratchModel:
        fresh = build_model(config, vocab_size, torch.Generator().manual_seed(seed))
        return ScratchModel("untrained", fresh.to(device), tokenizer, batch_tokens)

    shape = (folders.scratch / "config.json", folders.scratch / "tokenizer.json")
    weights = folders.scratch / "best.safetensors"
    return [
        EvalModel("scratch", f"{described}, trained here from scratch", TRAINED, scratch, (*shape, weights)),
        EvalModel("untrained", f"{described}, before its first step", TRAINED, untrained, shape, seed),
    ]


def _baselines(folders: ModelFolders) -> list[EvalModel]:
    """What counting, compressing, looking up and repeating the same training text achieve."""
    tokenizer_file, text = folders.scratch / "tokenizer.json", folders.train
    tokenizer = load_tokenizer(tokenizer_file)

    def counted(name: str, order: int) -> NgramScorer:
        train = read_corpus(folders.tokens, "train")
        return NgramScorer(name, train_ngram(train.ids, train.offsets, tokenizer.vocab_size, order), tokenizer)

    def examples() -> Iterator[Example]:
        dialogues = (dialogue for dialogue in read_table(text) if dialogue.kind == "dialogue")
        return (example for dialogue in dialogues for example in scored_replies(dialogue))

    def frequent() -> Frequent:
        return Frequent(most_frequent(example.reply for example in examples()))

    replies, written = ("generations",), (text,)
    return [
        EvalModel("ngram5", NGRAM5, COUNTED, lambda: counted("ngram5", 5), (tokenizer_file, folders.tokens)),
        EvalModel("unigram", UNIGRAM, COUNTED, lambda: counted("unigram", 1), (tokenizer_file, folders.tokens)),
        EvalModel("compressor", COMPRESSOR, ("replies",), lambda: Compressor(draw_prime(read_table(text))), (text,)),
        EvalModel("retrieval", RETRIEVAL, replies, lambda: make_retrieval(examples()), written),
        EvalModel("frequent", FREQUENT, replies, frequent, written),
    ]


def describe_scratch(gpt: GPT | Llama) -> str:
    """Architecture and size in words."""
    kind = {"gpt2": "GPT-2", "llama": "Llama", "qwen3": "Qwen3"}[gpt.config.architecture]
    size = f"{n_parameters(gpt) / 1e6:.1f}M parameters"
    return f"{kind} architecture ({gpt.config.n_layer} layers, {gpt.config.n_embd} wide, {size})"


def describe_base(info: dict[str, Any]) -> str:
    """The base model's real name and size, and that it stands in for another where it does."""
    role = ", a stand-in for Mistral 7B" if info["stand_in"] else ""
    return f"{info['name']} ({info['parameters'] / 1e6:,.0f}M parameters{role}), before fine-tuning"


def template_notes(base: Path) -> tuple[str, str]:
    """What the names of `base` and `mistral` say of their template where it is not the shipped one in everything."""
    shipped = load_shipped_tokenizer(base).chat_template
    if not shipped:
        return NO_TEMPLATE, NO_TEMPLATE
    if without_default_system(shipped) == shipped:
        return "", ""
    return "; writes texts with the default system prompt of its template, is scored without", "; has no system prompt"
