"""A pretrained model in Hugging Face form: how it is loaded with or without an adapter."""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from llm.hub.info import read_adapter, read_info
from llm.hub.smollm2 import without_default_system
from llm.machine import products_type
from llm.models.attention import attend

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

CPU = torch.device("cpu")
Quantize = Literal["none", "nf4"]


def load_shipped_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a base model with its template as it was published; of several templates the one `default`.

    Raises ValueError where none of several is called so.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if isinstance(named := tokenizer.chat_template, dict):  # of a list of names and templates, or of several files
        if "default" not in named:
            raise ValueError(
                f"the tokenizer in {folder} has the chat templates {', '.join(sorted(named))}: call one `default`"
            )
        tokenizer.chat_template = named["default"]
    return tokenizer


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a base model or adapter, its template without a system prompt of its own."""
    tokenizer = load_shipped_tokenizer(folder)
    if tokenizer.chat_template:
        tokenizer.chat_template = without_default_system(tokenizer.chat_template)
    return tokenizer


def check_trainable(quantize: Quantize, device: torch.device) -> None:
    """Raise ValueError where adapters cannot be trained on a base model that is quantised so."""
    if quantize == "nf4" and device.type != "cuda":
        raise ValueError(
            f"finetune.quantize is nf4, which trains on CUDA only, and the device is {device} (elsewhere bitsandbytes "
            "drops gradients without a word): set it to none"
        )


def _nf4() -> "BitsAndBytesConfig":
    """How the linears are quantised to 4 bits for QLoRA (Dettmers et al. 2023).

    Raises ValueError without bitsandbytes.
    """
    from transformers import BitsAndBytesConfig

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
    quantize: Quantize = "none",
    dtype: torch.dtype | None = None,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The base model in evaluation mode and its tokenizer; weights in the device's type unless another is named."""
    from transformers import AutoModelForCausalLM

    read_info(folder)
    loading: dict[str, Any] = {"dtype": dtype or weights_dtype(device)}
    if device.type != "cpu":
        loading |= {"device_map": {"": device}}  # tensor by tensor: memory need not hold the model
    if quantize == "nf4":
        loading |= {"quantization_config": _nf4()}
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


def load_adapted(
    base_folder: Path, adapter_folder: Path, device: torch.device = CPU, quantize: Quantize = "none"
) -> tuple["PeftModel", "PreTrainedTokenizerBase"]:
    """The base model with the adapter beside its weights, which may be quantised, and its tokenizer.

    Raises ValueError when fine-tuning was switched off.
    """
    from peft import PeftModel

    read_adapter(adapter_folder)
    model, tokenizer = load_base(base_folder, device, quantize)
    with quiet_peft():
        return PeftModel.from_pretrained(model, adapter_folder).eval(), tokenizer


def merge(adapted: "PeftModel") -> "PreTrainedModel":
    """The model with its adapter added to the weights.

    Raises ValueError where these are quantised: rounded once more, they would be another model than was trained.
    """
    if getattr(adapted.get_base_model(), "is_quantized", False):
        raise ValueError("an adapter is merged into unquantised weights only: load its base model with quantize none")
    return adapted.merge_and_unload().eval()


def load_finetuned(
    base_folder: Path, adapter_folder: Path, device: torch.device = CPU
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """`load_adapted` with the adapter merged into the unquantised weights."""
    adapted, tokenizer = load_adapted(base_folder, adapter_folder, device)
    return merge(adapted), tokenizer
