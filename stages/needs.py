"""About how much memory and disk a run takes by params.yaml: counted from the shapes, no weight is ever made.

Of what a backward pass keeps, the two factors were counted on the real classes (tests/stages/test_needs.py counts them
again); nothing of a GPU was measured.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.estimate import Params, corpus_tokens, scratch_weights

GB = 1e9
PROCESS = 0.7 * GB  # Python, torch, transformers and their libraries
HEAP = 1.4  # of what is counted beside weights on a CPU: so the fine-tune of `laptop` takes the 2.6 GB that it took
DEVICE = 1.1 * GB  # CUDA's own, and the logits that the loss holds at once
ADAMW_BYTES = 16  # a trained weight, its gradient and AdamW's two averages, fp32 each
NF4_BYTES = 0.516  # a weight in four bits with its doubly quantised scales (Dettmers et al. 2023)
FROZEN = {4: 8.2, 2: 14.2}  # widths that a frozen block keeps of a token for its adapters, by bytes of a number
TRAINED = 24  # widths that a block of the scratch model keeps of a token
MLP = 4  # inner widths that any block keeps of a token
SCORED = 6  # widths that a block holds of a token that is only scored
TEXT_BYTES = 40  # of a token on disk: raw, cleaned, as ids, and in DVC's cache where that cannot link
CONTEXTS = (256, 512, 1024, 2048)
ROWS = (1, 2, 4, 8, 16, 32)  # of a forward pass
TABLE_FROM = 1e9  # weights of a base model from which its choices are worth a table


@dataclass(frozen=True)
class BaseShape:
    """What the memory of a Mistral or Llama depends on."""

    n_layer: int
    n_embd: int
    inner: int  # width of the MLP
    n_kv: int  # width of the keys, and of the values
    vocab_size: int
    tied: bool  # whether the head is the embedding

    @property
    def linears(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the seven matrices of a block."""
        d, f, kv = self.n_embd, self.inner, self.n_kv
        return [(d, d), (d, kv), (d, kv), (d, d), (d, f), (d, f), (f, d)]

    @property
    def block_weights(self) -> int:
        """Weights in the matrices of all blocks, those that QLoRA quantises."""
        return self.n_layer * sum(n * m for n, m in self.linears)

    @property
    def other_weights(self) -> int:
        """Embedding, head and norms."""
        matrices = self.vocab_size * self.n_embd * (1 if self.tied else 2)
        return matrices + (2 * self.n_layer + 1) * self.n_embd

    @property
    def weights(self) -> int:
        """All weights."""
        return self.block_weights + self.other_weights

    @property
    def cache_numbers(self) -> int:
        """Numbers that the keys and values of a token are, while a reply is written."""
        return 2 * self.n_layer * self.n_kv

    def adapter_weights(self, rank: int) -> int:
        """Weights of LoRA on all seven matrices."""
        return self.n_layer * sum(rank * (n + m) for n, m in self.linears)


KNOWN = {
    "mistralai/Mistral-7B-v0.3": BaseShape(32, 4096, 14336, 1024, 32768, tied=False),
    "smollm2-135m": BaseShape(30, 576, 1536, 192, 49152, tied=True),
    "tiny": BaseShape(2, 64, 128, 32, 258, tied=True),
}


def base_shape(location: str) -> BaseShape | None:
    """Shape of the base model; None where only a download would tell."""
    if location in KNOWN:
        return KNOWN[location]
    path = Path(location).expanduser() / "config.json"
    try:
        return read_shape(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError):
        return None


def read_shape(config: dict[str, Any]) -> BaseShape:
    """The shape in a config.json of the Hugging Face form. Raises LookupError for another kind of model."""
    d, heads = config["hidden_size"], config["num_attention_heads"]
    n_kv = config.get("num_key_value_heads", heads) * (config.get("head_dim") or d // heads)
    tied = config.get("tie_word_embeddings", False)
    return BaseShape(config["num_hidden_layers"], d, config["intermediate_size"], n_kv, config["vocab_size"], tied)


@dataclass(frozen=True)
class Choice:
    """How a base model is fine-tuned, as far as memory goes."""

    quantize: str  # none or nf4
    checkpointing: bool
    context_length: int
    rows: int  # of a forward pass

    @property
    def method(self) -> str:
        """What people call it."""
        return f"{'LoRA' if self.quantize == 'none' else 'QLoRA'}{', checkpointing' if self.checkpointing else ''}"


def beside(device: str, activations: float) -> float:
    """What a process takes beside weights and what belongs to them."""
    return HEAP * (PROCESS + activations) if device == "cpu" else DEVICE + activations


def weight_bytes(shape: BaseShape, quantize: str, number: int) -> float:
    """Memory of the base model's weights, those of its blocks perhaps in four bits."""
    return (NF4_BYTES if quantize == "nf4" else number) * shape.block_weights + number * shape.other_weights


def finetune_bytes(shape: BaseShape, rank: int, choice: Choice, device: str, number: int) -> float:
    """Memory of the fine-tune on that device, whose numbers have so many bytes."""
    tokens = choice.rows * choice.context_length
    block = number * tokens * (FROZEN[number] * shape.n_embd + MLP * shape.inner)
    kept = number * tokens * shape.n_embd * shape.n_layer + block if choice.checkpointing else shape.n_layer * block
    held = weight_bytes(shape, choice.quantize, number) + ADAMW_BYTES * shape.adapter_weights(rank)
    return held + beside(device, kept + block)  # one block's gradients


def configured(params: Params) -> Choice:
    """The choice that params.yaml makes; where the rows are to be found, one at a time is the least."""
    finetune = params["finetune"]
    rows = finetune["train"]["micro_batch"] or 1
    return Choice(finetune["quantize"], finetune["gradient_checkpointing"], finetune["context_length"], rows)


def choices(device: str) -> Iterator[Choice]:
    """Every choice worth naming on that device; four bits are trained on CUDA only."""
    for quantize in ("none", "nf4") if device == "cuda" else ("none",):
        for checkpointing in (False, True):
            for context_length in CONTEXTS:
                for rows in ROWS:
                    yield Choice(quantize, checkpointing, context_length, rows)


def choice_lines(shape: BaseShape, rank: int, device: str, number: int, free: float) -> list[str]:
    """A line for each method: the most rows of each context that fit into the free memory."""
    most: dict[str, dict[int, int]] = {}
    least: dict[str, float] = {}
    for choice in choices(device):
        needed = finetune_bytes(shape, rank, choice, device, number)
        least.setdefault(choice.method, needed)
        if needed <= free:
            most.setdefault(choice.method, {})[choice.context_length] = choice.rows
    fits = {
        method: ", ".join(f"{context} x {rows}" for context, rows in found.items()) for method, found in most.items()
    }
    return [
        f"{method}: {fits.get(method) or f'does not fit, takes {needed / GB:.1f} GB at least'}"
        for method, needed in least.items()
    ]


def train_bytes(params: Params, device: str, number: int) -> float:
    """Memory of train_scratch."""
    train, model = params["train"], params["model"]
    tokens = (train["micro_batch"] or 1) * model["context_length"]
    kept = number * tokens * model["n_layer"] * (TRAINED + MLP) * model["n_embd"]
    return ADAMW_BYTES * scratch_weights(params) + beside(device, kept)


def evaluate_bytes(params: Params, shape: BaseShape, device: str, number: int) -> float:
    """Memory of evaluate: the base model, as it is fine-tuned, and the texts of all models.

    Beside them a batch of texts through one block, or the keys and values of a batch of replies.
    """
    finetune, tokens = params["finetune"], params["evaluate"]["batch_tokens"]
    quantize = finetune["quantize"] if finetune["enabled"] else "none"
    widest = max(SCORED * shape.n_embd + 2 * shape.inner, shape.cache_numbers)
    return weight_bytes(shape, quantize, number) + beside(device, number * tokens * widest)


def memory_needs(params: Params, shape: BaseShape | None, device: str, number: int) -> dict[str, float]:
    """Bytes by the stages that need the most."""
    needs = {"train_scratch": train_bytes(params, device, number)}
    if shape is not None:
        needs["evaluate"] = evaluate_bytes(params, shape, device, number)
        if params["finetune"]["enabled"]:
            rank = params["finetune"]["lora_r"]
            needs["finetune_mistral"] = finetune_bytes(shape, rank, configured(params), device, number)
    return needs


def disk_bytes(params: Params, shape: BaseShape | None) -> float:
    """Disk that a first run takes: data, the base model, states and checkpoints, and copies of these for DVC."""
    states = 2 * (2 + params["train"]["keep"]) + 2  # in .train_state, in models/scratch; the best and the last weights
    scratch = 12 * states * scratch_weights(params)  # weights and both averages
    base = (4 if params["base"]["location"] in ("smollm2-135m", "tiny") else 2) * (shape.weights if shape else 0)
    return TEXT_BYTES * corpus_tokens(params) + scratch + base
