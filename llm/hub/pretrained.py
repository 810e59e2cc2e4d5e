"""A pretrained model in Hugging Face form: its chat template, and how it is loaded with or without an adapter."""

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from llm.hub.info import read_info
from llm.hub.smollm2 import without_default_system
from llm.machine import products_type
from llm.models.attention import attend

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

# For a model without a template of its own: the form of Mistral's instruction models (Jiang et al. 2023, section 4).
FALLBACK_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "[INST] {{ message['content'] }} [/INST]{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
CPU = torch.device("cpu")
MARK = "\x00{}\x00"  # stands for a turn while the template is rendered; no cleaned text has this character


@dataclass(frozen=True)
class EncodedDialogue:
    """Token ids of a dialogue in the chat template, ending with the end token of its last reply."""

    ids: list[int]
    starts: list[int]  # where each turn starts, its role marker included
    supervised: list[bool]  # of each id: a reply's text or its end token
    ends: list[int]  # just behind each reply's end token: a dialogue may be cut there


def _template_pieces(tokenizer: "PreTrainedTokenizerBase", n_turns: int, ask: bool) -> list[list[int]]:
    """Ids of what the template writes before, between and behind `n_turns` turns; `ask` opens a reply behind them.

    Raises ValueError when the template does not keep every turn once and in order.
    """
    template = tokenizer.chat_template or FALLBACK_TEMPLATE
    return [list(piece) for piece in _rendered_pieces(tokenizer, template, n_turns, ask)]


@lru_cache(maxsize=1024)
def _rendered_pieces(
    tokenizer: "PreTrainedTokenizerBase", template: str, n_turns: int, ask: bool
) -> tuple[tuple[int, ...], ...]:
    """`_template_pieces`, rendered once for all dialogues of as many turns: of short ones it takes most of the time."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": MARK.format(i)} for i in range(n_turns)]
    text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=ask)
    pieces = []
    for i in range(n_turns):
        piece, found, text = str(text).partition(MARK.format(i))
        if not found:
            raise ValueError(f"the chat template of {tokenizer.name_or_path} leaves out turn {i} of {n_turns}")
        pieces.append(piece)
    return tuple(map(tuple, tokenizer([*pieces, text], add_special_tokens=False)["input_ids"]))


def _encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text; one that spells a special token is ordinary text."""
    return tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", history: Sequence[str]) -> list[int]:
    """Ids of the turns before a reply and of the marker that opens it.

    Each turn is tokenised by itself, so that a reply's tokens do not depend on what stands before it.
    """
    pieces = _template_pieces(tokenizer, len(history), ask=True)
    ids = pieces[0]
    for turn, piece in zip(_encode_texts(tokenizer, history), pieces[1:], strict=True):
        ids = ids + turn + piece
    return ids


def encode_reply(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids of a reply's text alone, the end token not included."""
    return _encode_texts(tokenizer, [text])[0]


def end_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The id with which the template closes a reply.

    Raises ValueError when that is not a special token: the end of a reply could not be told from its text.
    """
    return _special_end(tokenizer, tokenizer.chat_template or FALLBACK_TEMPLATE)


@lru_cache(maxsize=16)
def _special_end(tokenizer: "PreTrainedTokenizerBase", template: str) -> int:
    """`end_id`, looked up once: transformers makes a table of all added tokens each time."""
    added = tokenizer.added_tokens_decoder
    closing = _rendered_pieces(tokenizer, template, 2, False)[-1][:1]
    special = [i for i in closing if i in added and added[i].special]
    if not special:
        raise ValueError(f"the chat template of {tokenizer.name_or_path} closes a reply with no special token")
    return special[0]


def encode_dialogue(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[str]) -> EncodedDialogue:
    """The dialogue up to its last reply; before every reply the ids are those of `encode_prompt`."""
    turns = turns[: len(turns) // 2 * 2]
    end, pieces = end_id(tokenizer), _template_pieces(tokenizer, len(turns), ask=False)
    ids: list[int] = []
    starts, ends, supervised = [], [], []
    for i, (piece, turn) in enumerate(zip(pieces, _encode_texts(tokenizer, turns), strict=False)):
        closes_reply = i > 0 and i % 2 == 0
        starts.append(len(ids) + closes_reply)
        ids += piece + turn
        supervised += [closes_reply and j == 0 for j in range(len(piece))] + [i % 2 == 1] * len(turn)
        if i % 2 == 1:
            ends.append(len(ids) + 1)
    return EncodedDialogue([*ids, end], starts, [*supervised, True], ends)


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a base model or adapter, its template without a system prompt of its own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template:
        tokenizer.chat_template = without_default_system(tokenizer.chat_template)
    return tokenizer


def _nf4(device: torch.device) -> "BitsAndBytesConfig":
    """How the linears are quantised to 4 bits for QLoRA (Dettmers et al. 2023).

    Raises ValueError without CUDA, where bitsandbytes drops gradients silently, or without bitsandbytes.
    """
    from transformers import BitsAndBytesConfig

    if device.type != "cuda":
        raise ValueError(
            f"finetune.quantize is nf4, which trains on CUDA only, and the device is {device}: set it to none"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            "finetune.quantize is nf4, which needs bitsandbytes: pip install -e '.[qlora]', or set it to none"
        )
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


@contextmanager
def quiet_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars, which would break into the stage's own."""
    from transformers.utils import logging as transformers_logging

    drawn = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if drawn:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def weights_dtype(device: torch.device) -> torch.dtype:
    """The type of the base model's weights: that of the device's products."""
    return products_type(device)


def _attention(device: torch.device) -> str:
    """Name of the attention to be used: the GPT's own on a CPU, torch's elsewhere."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if device.type != "cpu":
        return "sdpa"
    AttentionInterface.register("tandem", _attend_grouped)
    AttentionMaskInterface.register("tandem", sdpa_mask)
    return "tandem"


def _attend_grouped(
    module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0, **_: object
) -> tuple[Tensor, None]:
    """Mixed values (B, T, H, D) of queries (B, H, T, D) that share keys and values (B, H / groups, S, D) in groups."""
    B, H, T, D = q.shape
    groups = H // k.size(1)
    if mask is not None and mask.dtype == torch.bool:  # what is seen; padding may see nothing, and has to stay finite
        mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, torch.finfo(q.dtype).min)
    if T == 1:  # the queries of a group stand one below the other, so that keys and values need no copy
        mask = q.new_zeros(1, 1, 1, k.size(2)) if mask is None else mask
        y = attend(q.view(B, -1, groups, D), k, v, mask.expand(-1, -1, groups, -1)).reshape(B, H, 1, D)
    else:
        y = attend(q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), mask, dropout)
    return y.transpose(1, 2).contiguous(), None


def load_base(
    folder: Path,
    device: torch.device = CPU,
    quantize: Literal["none", "nf4"] = "none",
    dtype: torch.dtype | None = None,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The base model in evaluation mode and its tokenizer; weights in the device's type unless another is named."""
    from transformers import AutoModelForCausalLM

    read_info(folder)
    loading: dict[str, Any] = {"dtype": dtype or weights_dtype(device)}
    if device.type != "cpu":
        loading |= {"device_map": {"": device}}  # tensor by tensor: memory need not hold the model
    if quantize == "nf4":
        loading |= {"quantization_config": _nf4(device)}
    attention = _attention(device)
    with quiet_bars():
        model: Any = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention, **loading)
    # Generation asks the head for the last column only, a view that torch multiplies with one copy of the head a row.
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return (model if quantize == "nf4" else model.to(device)).eval(), load_tokenizer(folder)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence one warning: peft 0.21 asks transformers 5.23 for an attribute by a name that is deprecated there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def load_finetuned(
    base_folder: Path, adapter_folder: Path, device: torch.device = CPU
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The base model with the adapter merged into its unquantised weights, and its tokenizer.

    Raises ValueError when fine-tuning was switched off.
    """
    from peft import PeftModel

    if not read_info(adapter_folder)["enabled"]:
        raise ValueError(f"{adapter_folder} holds no adapter: set finetune.enabled to true and run `dvc repro`")
    model, tokenizer = load_base(base_folder, device)
    with quiet_peft():
        adapted = PeftModel.from_pretrained(model, adapter_folder)
    return adapted.merge_and_unload().eval(), tokenizer
