"""LoRA fine-tuning (Hu et al. 2022) of a pretrained model on dialogues: which data, which parameters, what is saved.

The training loop is the GPT's own, llm/training/loop.py.
"""

import dataclasses
import logging
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from llm.dialogue import Dialogue
from llm.files import write_json
from llm.hub.chat import EncodedDialogue, encode_dialogue, encode_document
from llm.hub.pretrained import quiet_peft
from llm.models.attention import document_mask
from llm.ranges import check_range
from llm.tokens.packing import TokenCorpus
from llm.training.checkpoint import save_tensors
from llm.training.distributed import is_first, placed_like, whole
from llm.training.schedule import TrainConfig

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # all seven of a block
VARIANTS = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA"}


@dataclass(frozen=True)
class FinetuneConfig:
    """Data, adapter and training of the fine-tune."""

    enabled: bool
    train_tokens: int | None  # drawn evenly over the sources; None: all
    context_length: int  # tokens of a packed row
    lora_r: int  # rank
    lora_alpha: int  # scale, alpha / r
    lora_dropout: float
    lora_variant: Literal["lora", "rslora", "dora"]
    learn: Literal["replies", "all"]  # whether what the replies answer is learned too
    quantize: Literal["none", "nf4"]
    gradient_checkpointing: bool  # activations are computed again in the backward pass: less memory, a third slower
    train: TrainConfig

    def __post_init__(self) -> None:
        if self.train_tokens is not None:
            check_range("train_tokens", self.train_tokens, 64, 10**12)
        check_range("context_length", self.context_length, 8, 1_000_000)
        check_range("lora_r", self.lora_r, 1, 4096)
        check_range("lora_alpha", self.lora_alpha, 1e-3, 1e5)
        check_range("lora_dropout", self.lora_dropout, 0.0, 0.9)


@dataclass(frozen=True)
class Selection:
    """Encoded dialogues, and how many each source gave."""

    corpus: TokenCorpus
    dialogues: dict[str, int]
    with_system: int  # of them, those that have a system turn

    @property
    def supervised_tokens(self) -> int:
        """Tokens that are learned: the replies and their end tokens, and documents; or all."""
        assert self.corpus.supervised is not None
        return int(self.corpus.supervised.sum())

    def learned_whole(self) -> "Selection":
        """The same, all tokens to be learned, also those that the replies answer."""
        everything = np.ones(len(self.corpus.ids), np.bool_)
        return dataclasses.replace(self, corpus=dataclasses.replace(self.corpus, supervised=everything))


def _shuffled_by_source(dialogues: Iterable[Dialogue], seed: int) -> dict[str, list[Dialogue]]:
    """The dialogues of each source in an order of chance, the sources by name."""
    by_source: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        by_source.setdefault(dialogue.source, []).append(dialogue)
    for source in sorted(by_source):
        random.Random(f"{seed} {source}").shuffle(by_source[source])
    return dict(sorted(by_source.items()))


def _cut(encoded: EncodedDialogue, room: int) -> EncodedDialogue | None:
    """The dialogue up to the last reply that ends within `room` tokens, None when the first one does not."""
    end = max((end for end in encoded.ends if end <= room), default=0)
    if not end:
        return None
    return EncodedDialogue(
        encoded.ids[:end],
        [start for start in encoded.starts if start < end],
        encoded.supervised[:end],
        [e for e in encoded.ends if e <= end],
    )


def encode_one(tokenizer: "PreTrainedTokenizerBase", dialogue: Dialogue) -> EncodedDialogue:
    """A dialogue in the chat template, a section of a document as plain text."""
    if dialogue.kind == "document":
        return encode_document(tokenizer, dialogue.turns[0])
    return encode_dialogue(tokenizer, dialogue.turns, dialogue.system)


def select(
    dialogues: Iterable[Dialogue], tokenizer: "PreTrainedTokenizerBase", limit: int | None, seed: int
) -> Selection:
    """Dialogues in the chat template, at most `limit` tokens in all, spread evenly over the sources.

    The source with the fewest tokens so far gives the next of its shuffled dialogues; a conversation longer than a
    source's quota, or than what is left, is cut behind a reply, a document anywhere; where not even its first reply
    fits, the source is done, or waits for its first dialogue that does. A source that runs out leaves its quota to the
    others. Where nothing fits at all, the shortest first exchange is taken though it is longer than the limit.

    Raises ValueError when there is no dialogue.
    """
    waiting = _shuffled_by_source(dialogues, seed)
    if not waiting:
        raise ValueError("there is no dialogue to learn from: see metrics/data.json for what was dropped")
    quota = None if limit is None else limit // max(1, len(waiting))
    tokens, counts = dict.fromkeys(waiting, 0), Counter[str]()
    chosen: list[EncodedDialogue] = []
    too_long: list[Dialogue] = []
    with_system = 0
    while waiting:
        source = min(waiting, key=lambda name: tokens[name])
        dialogue = waiting[source].pop()
        encoded: EncodedDialogue | None = encode_one(tokenizer, dialogue)
        if limit is not None and quota is not None and encoded is not None:
            encoded = _cut(encoded, min(quota, limit - sum(tokens.values())))
        if encoded is not None:
            chosen.append(encoded)
            tokens[source] += len(encoded.ids)
            counts[source] += 1
            with_system += dialogue.system is not None
        else:
            too_long.append(dialogue)
        if not waiting[source] or (encoded is None and counts[source]):
            del waiting[source]
    if not chosen:
        shortest = min(too_long, key=lambda one: encode_one(tokenizer, one).ends[0])
        logger.warning("no exchange fits into %d tokens: the shortest is taken all the same", limit)
        return select([dataclasses.replace(shortest, turns=shortest.turns[:2])], tokenizer, None, seed)
    return Selection(_corpus(chosen, len(tokenizer)), dict(counts), with_system)


def _corpus(chosen: list[EncodedDialogue], vocab_size: int) -> TokenCorpus:
    """The dialogues end to end."""
    offsets = np.cumsum([0, *(len(dialogue.ids) for dialogue in chosen)])
    starts = [offset + start for offset, d in zip(offsets, chosen, strict=False) for start in d.starts]
    ids = np.concatenate([d.ids for d in chosen])
    return TokenCorpus(
        ids.astype(np.uint16) if vocab_size <= 2**16 else ids.astype(np.uint32),
        offsets,
        np.array(starts),
        np.concatenate([d.supervised for d in chosen]),
    )


def add_lora(model: "PreTrainedModel", config: FinetuneConfig) -> "PeftModel":
    """The model with fresh adapters on all its linears, which alone are trained; torch's generator draws them."""
    from peft import LoraConfig, get_peft_model

    if config.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        use_rslora=config.lora_variant == "rslora",
        use_dora=config.lora_variant == "dora",
        target_modules=list(LINEARS),
    )
    with quiet_peft():
        return get_peft_model(model, lora)


class PackedModel(nn.Module):
    """A Hugging Face causal language model as the training loop wants it: `hidden` over packed rows, and `head`."""

    def __init__(self, peft_model: "PeftModel") -> None:
        super().__init__()
        self.model: Any = peft_model.get_base_model()  # its linears carry the adapters

    @property
    def head(self) -> Tensor:
        """Output matrix (V, C)."""
        return self.model.get_output_embeddings().weight

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        return self.model.model.layers

    def hidden(self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C); the dialogues of a row do not see each other."""
        mask = None if documents is None else document_mask(documents).to(self.head.dtype)
        return self.model.model(
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state


def load_trained(model: nn.Module, path: Path) -> None:
    """Set the trained parameters to the values that the training loop saved at `path`."""
    saved = load_file(path, device=str(next(model.parameters()).device))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(placed_like(saved[name], parameter))


def save_adapter(folder: Path, peft_model: "PeftModel") -> None:
    """Write the adapter into the folder in peft's form, equal bytes for equal weights.

    peft's own saving writes its module names in an order that changes from process to process.
    """
    from peft import get_peft_model_state_dict

    adapters = whole(get_peft_model_state_dict(peft_model))
    if not is_first():
        return
    save_tensors(folder / "adapter_model.safetensors", adapters, {"format": "pt"})
    values = {**peft_model.peft_config["default"].to_dict(), "inference_mode": True}
    in_order = {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}
    write_json(folder / "adapter_config.json", in_order)


def describe(base: dict[str, Any], config: FinetuneConfig) -> dict[str, Any]:
    """What the fine-tuned model is called, truthfully, and what it was made from."""
    n = base["parameters"]
    size = f"{n / 1e6:,.0f}M parameters" if n >= 1e6 else f"{n:,} parameters"
    role = ", a stand-in for Mistral 7B" if base["stand_in"] else ""
    how = VARIANTS[config.lora_variant]
    learned = "the replies" if config.learn == "replies" else "whole dialogues"
    return {
        "enabled": True,
        "name": f"{base['name']} + {how}",
        "description": f"{base['name']} ({size}{role}), fine-tuned with {how} of rank {config.lora_r} on {learned}",
        "licence": base["licence"],
        "base": base,
        "config": dataclasses.asdict(config),
    }
