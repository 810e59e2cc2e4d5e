"""What a pretrained or fine-tuned model is called, truthfully, and where it comes from: `tandem.json` in its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INFO = "tandem.json"
HUB = "https://huggingface.co/"  # before the id of a model, as the source of one that came from there


@dataclass(frozen=True)
class Origin:
    """What a base model is called and where it comes from."""

    name: str
    source: str
    revision: str | None  # commit of a hub id, version of a package
    sha256: str  # of the gguf file, else over the weight files
    licence: str
    parameters: int
    stand_in: bool  # takes the place of the Mistral 7B that this machine is too small for
    files: Mapping[str, str]  # SHA-256 of each file, by name


def read_info(folder: Path) -> dict[str, Any]:
    """Name, source and licence of the model in a folder, as its stage wrote them.

    Raises FileNotFoundError naming the stage to run.
    """
    if not (folder / INFO).is_file():
        stage = "download_base" if folder.name == "base" else "finetune_mistral"
        raise FileNotFoundError(f"{folder / INFO} is missing: run `dvc repro {stage}` first")
    return json.loads((folder / INFO).read_text(encoding="utf-8"))


def read_adapter(folder: Path) -> dict[str, Any]:
    """`read_info` of a fine-tuned model; ValueError when fine-tuning was switched off."""
    info = read_info(folder)
    if not info["enabled"]:
        raise ValueError(f"{folder} holds no adapter: set finetune.enabled to true and run `dvc repro`")
    return info


def hub_id_of(origin: Mapping[str, Any]) -> str | None:
    """The hub's name of a base model, None for one that came from elsewhere."""
    source = str(origin["source"])
    return source.removeprefix(HUB) if source.startswith(HUB) else None
