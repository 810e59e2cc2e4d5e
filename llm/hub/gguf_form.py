"""The trained models as one gguf file each, which llama.cpp and Ollama read: weights, tokenizer, template."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from llm.hub.smollm2 import LAYER_TENSORS, OUTER_TENSORS, SPLIT_DIGITS

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["f32", "f16"]
# model_type in Hugging Face form -> general.architecture: llama.cpp has no Mistral, which computes what Llama does.
ARCHITECTURES = {"gpt2": "gpt2", "llama": "llama", "mistral": "llama", "qwen3": "qwen3"}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}  # of qwen3
GPT2_LAYER = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
GPT2_OUTER = {"token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f"}
# What stays in 32 bits: with embedding and head in 16 the logits of the GPT of `laptop` are off by 0.015, not by 0.008.
FULL_PRECISION = ("position_embd", "token_embd", "output")
PRE_TOKENIZERS = {split_digits: name for name, split_digits in SPLIT_DIGITS.items()}


@dataclass(frozen=True)
class GgufTensor:
    """A tensor of the file, and where its values stand in the network."""

    name: str
    values: Tensor
    rotated_heads: int | None = None  # of queries and keys whose rows are to be reordered

    def numbers(self, precision: Precision) -> Any:
        """The values as llama.cpp wants them: matrices in the given precision, vectors in 32 bits."""
        values = self.values if self.rotated_heads is None else permute(self.values, self.rotated_heads)
        halved = precision == "f16" and values.dim() == 2 and not self.name.startswith(FULL_PRECISION)
        return values.to(torch.float16 if halved else torch.float32).contiguous().numpy()


def permute(weight: Tensor, n_head: int) -> Tensor:
    """Query or key matrix with each head's rotary halves interleaved: the inverse of smollm2.undo_permutation."""
    rows, columns = weight.shape
    return weight.view(n_head, 2, rows // n_head // 2, columns).transpose(1, 2).reshape(rows, columns)


def gguf_tensors(network: "PreTrainedModel") -> Iterator[GgufTensor]:
    """The weights under the names of gguf, in the order of the layers; a head tied to the embedding is left out."""
    config, weights = network.config, network.state_dict()
    if config.model_type == "gpt2":
        yield from _gpt2_tensors(weights, config.num_hidden_layers)
        return
    parts = LAYER_TENSORS | (HEAD_NORMS if config.model_type == "qwen3" else {})
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    if ARCHITECTURES[config.model_type] != "llama":  # the others turn the two halves of a head, as we do
        heads = {}
    for i in range(config.num_hidden_layers):
        for part, there in parts.items():
            values = weights[f"model.layers.{i}.{there}.weight"]
            yield GgufTensor(f"blk.{i}.{part}.weight", values, heads.get(part))
    for part, there in OUTER_TENSORS.items():
        if part != "output" or not config.tie_word_embeddings:
            yield GgufTensor(f"{part}.weight", weights[f"{there}.weight"])


def _gpt2_tensors(weights: dict[str, Tensor], n_layer: int) -> Iterator[GgufTensor]:
    """Those of GPT-2, whose linears stand there as input x output."""
    layers = {
        f"blk.{i}.{part}": f"transformer.h.{i}.{there}" for i in range(n_layer) for part, there in GPT2_LAYER.items()
    }
    for name, there in (layers | GPT2_OUTER).items():
        for kind in ("weight", "bias"):
            values = weights.get(f"{there}.{kind}")
            if values is not None:  # the embeddings have no bias
                linear = values.dim() == 2 and name not in GPT2_OUTER
                yield GgufTensor(f"{name}.{kind}", values.T if linear else values)


def pre_tokenizer_name(tokenizer: "PreTrainedTokenizerBase") -> str:
    """What llama.cpp calls the rule by which the tokenizer cuts a text into words before the merges.

    Raises ValueError for a rule that is neither GPT-2's nor SmolLM2's: the file's tokens would be others than ours.
    """
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    rules = spec["pre_tokenizer"] or {}
    steps = rules["pretokenizers"] if rules.get("type") == "Sequence" else [rules]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    known = [byte_level], [digits, byte_level]
    found = [{key: value for key, value in step.items() if key != "trim_offsets"} for step in steps]
    model = spec["model"]
    if model["type"] != "BPE" or not model["merges"] or spec["normalizer"] or found not in known:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path} is no byte-level BPE of GPT-2's or SmolLM2's kind: export "
            "without --gguf and convert the folder with convert_hf_to_gguf.py of llama.cpp"
        )
    return PRE_TOKENIZERS[len(steps) == 2]


def write_gguf(
    path: Path, network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", precision: Precision, name: str
) -> None:
    """Write network and tokenizer into one file, which appears whole or not at all.

    Raises ValueError for a network or tokenizer that llama.cpp would compute otherwise.
    """
    from gguf import GGUFWriter

    tensors, pre = list(gguf_tensors(network)), pre_tokenizer_name(tokenizer)
    temporary = path.with_name(f".{path.name}.tmp")
    writer = GGUFWriter(temporary, ARCHITECTURES[network.config.model_type])
    _add_shape(writer, network.config, precision, name)
    _add_tokenizer(writer, tokenizer, network.config.vocab_size, pre)
    for tensor in tensors:
        numbers = tensor.numbers(precision)
        writer.add_tensor_info(tensor.name, numbers.shape, numbers.dtype, numbers.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:  # one at a time: the memory need not hold the model twice
        writer.write_tensor_data(tensor.numbers(precision))
    writer.close()
    temporary.replace(path)


def _add_shape(writer: "GGUFWriter", config: Any, precision: Precision, name: str) -> None:
    """The network's description, without which the weights are only numbers."""
    from gguf import LlamaFileType

    writer.add_name(name)
    writer.add_file_type(LlamaFileType.ALL_F32 if precision == "f32" else LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    rope = config.rope_parameters
    if rope["rope_type"] != "default":
        raise ValueError(f"rotary positions of the type {rope['rope_type']} are not written: export without --gguf")
    writer.add_rope_freq_base(rope["rope_theta"])


def _add_tokenizer(writer: "GGUFWriter", tokenizer: "PreTrainedTokenizerBase", vocab_size: int, pre: str) -> None:
    """Tokens by id with their kinds, merges by rank, named tokens, and the chat template."""
    from gguf import TokenType

    added, vocab = tokenizer.added_tokens_decoder, tokenizer.get_vocab()
    by_id = {i: token for token, i in vocab.items()}
    kinds = [
        TokenType.UNUSED if i not in by_id
        else TokenType.NORMAL if i not in added
        else TokenType.CONTROL if added[i].special
        else TokenType.USER_DEFINED
        for i in range(vocab_size)
    ]  # fmt: skip
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([by_id.get(i, f"[PAD{i}]") for i in range(vocab_size)])
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    # Where none is named, llama.cpp takes the id 11 of GPT-2's time.
    bos = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
    writer.add_add_bos_token(False)  # where the chat template wants one, it writes one
    writer.add_chat_template(str(tokenizer.chat_template))
