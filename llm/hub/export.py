"""The trained models in Hugging Face form: what transformers, lm-eval, vLLM and others load without this project."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llm.files import copy_file, write_json
from llm.hub.chat import FALLBACK_TEMPLATE, SPLIT_MESSAGES, encode_prompt, end_id
from llm.hub.info import hub_id_of, read_adapter
from llm.hub.pretrained import load_adapted, load_base, merge, quiet_bars
from llm.models.gpt import GPT
from llm.models.layers import NORM_EPS, ROPE_BASE, mlp_width
from llm.models.llama import Llama
from llm.models.registry import load_gpt
from llm.tokens.tokenizer import ASSISTANT, END, ROLES, SYSTEM, USER, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

CHAT_TEMPLATE = (  # the ids of Tokenizer.encode_prompt and encode_dialogue
    SPLIT_MESSAGES + "{% if system is not none %}" + SYSTEM + "{{ system }}{% endif %}"
    "{% for message in turns %}{% if message['role'] == 'user' %}" + USER + "{{ message['content'] }}"
    "{% else %}" + ASSISTANT + "{{ message['content'] }}" + END + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)
LAYER_NORM_EPS = 1e-5  # torch's default, used by llm/models/gpt.py
# Part of a block here -> part of a block there; those of GPT-2 hold input x output matrices.
GPT2_LINEARS = {"attn.qkv": "attn.c_attn", "attn.proj": "attn.c_proj", "mlp.fc": "mlp.c_fc", "mlp.proj": "mlp.c_proj"}
LLAMA_PARTS = {
    "norm_1": "input_layernorm",
    "attn.norm_q": "self_attn.q_norm",
    "attn.norm_k": "self_attn.k_norm",
    "attn.proj": "self_attn.o_proj",
    "norm_2": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.proj": "mlp.down_proj",
}


@dataclass(frozen=True)
class HubForm:
    """A model as transformers knows it: the network in evaluation mode, the tokenizer with a chat template."""

    network: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def gpt2_tensors(gpt: GPT) -> dict[str, Tensor]:
    """Weights under the names of GPT2LMHeadModel, linears transposed."""
    tensors = {
        "transformer.wte.weight": gpt.tokens.weight,
        "transformer.wpe.weight": gpt.positions.weight,
        "transformer.ln_f.weight": gpt.ln_f.weight,
        "transformer.ln_f.bias": gpt.ln_f.bias,
        "lm_head.weight": gpt.head,
    }
    for i, block in enumerate(gpt.blocks):
        for name, tensor in block.named_parameters():
            part, _, kind = name.rpartition(".")
            there = tensor.T if part in GPT2_LINEARS and kind == "weight" else tensor
            tensors[f"transformer.h.{i}.{GPT2_LINEARS.get(part, part)}.{kind}"] = there
    return tensors


def llama_tensors(llama: Llama) -> dict[str, Tensor]:
    """Weights under the names of LlamaForCausalLM, or Qwen3ForCausalLM.

    All turn the two halves of a head, so rows keep their order.
    """
    tensors = {
        "model.embed_tokens.weight": llama.tokens.weight,
        "model.norm.weight": llama.norm_f.weight,
        "lm_head.weight": llama.head,
    }
    for i, block in enumerate(llama.blocks):
        for name, tensor in block.named_parameters():
            part = name.removesuffix(".weight")
            if part == "attn.qkv":
                for letter, matrix in zip("qkv", tensor.chunk(3), strict=True):
                    tensors[f"model.layers.{i}.self_attn.{letter}_proj.weight"] = matrix
            else:
                tensors[f"model.layers.{i}.{LLAMA_PARTS[part]}.weight"] = tensor
    return tensors


def _gpt2(gpt: GPT, ids: dict[str, Any]) -> "PreTrainedModel":
    """An empty GPT2LMHeadModel of the same shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=gpt.vocab_size,
        n_positions=gpt.config.context_length,
        n_embd=gpt.config.n_embd,
        n_layer=gpt.config.n_layer,
        n_head=gpt.config.n_head,
        activation_function="gelu_new",
        resid_pdrop=gpt.config.dropout,
        embd_pdrop=gpt.config.dropout,
        attn_pdrop=gpt.config.attn_dropout,
        layer_norm_epsilon=LAYER_NORM_EPS,
        tie_word_embeddings=True,
        **ids,
    )
    return GPT2LMHeadModel(config)


def _llama(llama: Llama, ids: dict[str, Any]) -> "PreTrainedModel":
    """An empty LlamaForCausalLM, or Qwen3ForCausalLM, of the same shape."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
    config_class, network_class = kinds[llama.config.architecture]
    config = config_class(
        vocab_size=llama.vocab_size,
        hidden_size=llama.config.n_embd,
        intermediate_size=mlp_width(llama.config.n_embd),
        num_hidden_layers=llama.config.n_layer,
        num_attention_heads=llama.config.n_head,
        num_key_value_heads=llama.config.n_head,
        head_dim=llama.config.n_embd // llama.config.n_head,
        hidden_act="silu",
        max_position_embeddings=llama.config.context_length,
        rms_norm_eps=NORM_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        attention_dropout=llama.config.attn_dropout,
        tie_word_embeddings=True,
        **ids,
    )
    return network_class(config)


def to_hugging_face(model: GPT | Llama, eos: list[int]) -> "PreTrainedModel":
    """The same network as a class of transformers, in evaluation mode; replies end at the ids `eos`.

    Raises RuntimeError when a weight has no place there.
    """
    from transformers import GenerationConfig

    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": eos[0], "pad_token_id": eos[0]}
    network = _llama(model, ids) if isinstance(model, Llama) else _gpt2(model, ids)
    tensors = llama_tensors(model) if isinstance(model, Llama) else gpt2_tensors(model)
    with torch.no_grad():
        network.load_state_dict(tensors)
    network.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=eos[0], do_sample=False)  # type: ignore[no-untyped-call]
    return network.eval()  # type: ignore[no-untyped-call]


def to_hugging_face_tokenizer(path: Path, context_length: int) -> "PreTrainedTokenizerFast":
    """The tokenizer saved at `path` with a chat template that gives the ids our models are prompted with.

    As everywhere in Hugging Face's form, a text that spells a role token becomes that token.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(path),
        eos_token=END,
        pad_token=END,
        extra_special_tokens=[role for role in ROLES if role != END],
        chat_template=CHAT_TEMPLATE,
        model_max_length=context_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def scratch_form(source: Path, weights: str = "best") -> HubForm:
    """The model of the stage train_scratch: GPT-2's class for gpt2, Llama's for llama, Qwen3's for qwen3."""
    model, path = load_gpt(source, weights), source / "tokenizer.json"
    ours = load_tokenizer(path)
    network = to_hugging_face(model, [ours.end_id, *(role for role in ours.role_ids if role != ours.end_id)])
    return HubForm(network, to_hugging_face_tokenizer(path, model.config.context_length))


def merged_form(base: Path, adapter: Path, texts: Sequence[str]) -> tuple[HubForm, float]:
    """The base model with the adapter merged into its unquantised weights, and what the merge costs.

    That is the largest difference of a logit behind any token of the texts, each asked as a first turn.
    """
    adapted, tokenizer = load_adapted(base, adapter)
    form = _templated(adapted, tokenizer)
    asked = [torch.tensor([encode_prompt(form.tokenizer, [text])]) for text in texts]
    with torch.no_grad():
        before = [adapted(input_ids=ids).logits for ids in asked]
        network = merge(adapted)
        costs = [
            float((network(input_ids=ids).logits - old).abs().max()) for ids, old in zip(asked, before, strict=True)
        ]
    return HubForm(network, form.tokenizer), max(costs)


def _templated(network: Any, tokenizer: Any) -> HubForm:
    """A pretrained model with a chat template, its replies ended as that says."""
    tokenizer.chat_template = tokenizer.chat_template or FALLBACK_TEMPLATE
    end = end_id(tokenizer)
    network.generation_config.update(eos_token_id=end, pad_token_id=end)
    return HubForm(network, tokenizer)


def save_form(form: HubForm, folder: Path) -> None:
    """Write model and tokenizer into a new folder. Raises FileExistsError like check_new."""
    check_new(folder)
    with quiet_bars():
        form.network.save_pretrained(folder)
    form.tokenizer.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors leaves it readable by its owner alone


def save_adapter_form(base: Path, adapter: Path, folder: Path) -> None:
    """Write the adapter in peft's form into a new folder, and what it belongs to.

    A base model of the hub is named with its commit; any other is written into the folder `base` below, for an adapter
    is worth nothing beside other weights. Raises FileExistsError like check_new.
    """
    check_new(folder)
    origin = read_adapter(adapter)["base"]
    form = _templated(*load_base(base))
    form.tokenizer.save_pretrained(folder)
    hub_id = hub_id_of(origin)
    if hub_id is None:
        save_form(form, folder / "base")
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    named = {"base_model_name_or_path": hub_id or "base", "revision": hub_id and origin["revision"]}
    write_json(folder / "adapter_config.json", config | named)
    copy_file(adapter / "adapter_model.safetensors", folder / "adapter_model.safetensors")


def check_new(folder: Path) -> None:
    """Raise FileExistsError when there is something in the folder: files of two models would mix."""
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder or empty it first")
