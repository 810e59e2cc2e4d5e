"""Whether a folder holds a whole model in Hugging Face form: looked at before anything is copied or computed."""

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from llm.failures import describe_error
from llm.fetching.download import DownloadError, check_no_pointer
from llm.files import parse_json
from llm.hub.smollm2 import LAYER_TENSORS, OUTER_TENSORS

ARCHITECTURES = ("mistral", "llama")  # model_type of config.json: the adapter's seven linears have these names
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))  # any of them is enough
WEIGHT_FILES = "*.safetensors"
DESCRIPTION_FILES = (
    *("*.safetensors.index.json", "config.json", "generation_config.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab.json", "merges.txt"),
)
OTHER_FORM = "consolidated*"  # Mistral's own copy of the weights, beside those in Hugging Face form


def model_files(folder: Path) -> list[Path]:
    """The files of the folder's model and its tokenizer."""
    found = {path for pattern in (WEIGHT_FILES, *DESCRIPTION_FILES) for path in folder.glob(pattern) if path.is_file()}
    return sorted(found - {*folder.glob(OTHER_FORM)})


def check_model(folder: Path, name: str) -> None:
    """Raise OSError or ValueError unless the folder's model is whole and one that can be fine-tuned here.

    Of the weights only the headers are read.
    """
    shards = check_description(folder, name, {path.name for path in folder.iterdir() if path.is_file()})
    found = {tensor for shard in shards for tensor in _tensors(folder / shard)}
    missing = [tensor for tensor in _expected(_json(folder / "config.json"), len(found)) if tensor not in found]
    if missing:
        raise DownloadError(
            f"the weights of {name} lack {missing[0]} and {len(missing) - 1} other tensors that its config.json asks "
            "for: they are another model's, or quantised; get those in 16 or 32 bits"
        )
    _read_tokenizer(folder, name)


def check_description(folder: Path, name: str, there: Collection[str]) -> list[str]:
    """Names of the files of the weights, by the small files in the folder; `there` are all that the model has.

    Raises OSError or ValueError unless it can be fine-tuned here and no file is missing.
    """
    if "config.json" not in there or not any(file.endswith(".safetensors") for file in there):
        gguf = next((file for file in sorted(there) if file.endswith(".gguf")), None)
        instead = f", or give the path of {gguf} in it" if gguf else ""
        raise DownloadError(
            f"{name} has no config.json with *.safetensors beside it: save it in Hugging Face form first{instead}"
        )
    kind = _json(folder / "config.json").get("model_type")
    if kind not in ARCHITECTURES:
        raise ValueError(f"base.location names a model of type {kind}, allowed: {', '.join(ARCHITECTURES)}")
    _check_tokenizer(folder, name)
    return _shards(folder, name, there)


def check_room(folder: Path, n_bytes: int, name: str, remedy: str) -> None:
    """Raise DownloadError where the folder's disk has less room than a model takes."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    if n_bytes > (free := shutil.disk_usage(there).free):
        raise DownloadError(
            f"{name} takes {n_bytes / 1e9:,.1f} GB of disk, {free / 1e9:,.1f} GB are free at {there}: {remedy}"
        )


def _json(path: Path) -> dict[str, Any]:
    check_no_pointer(path)
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DownloadError(f"{path} is no JSON ({error}): get it again") from error
    if not isinstance(content, dict):
        raise DownloadError(f"{path} is no JSON object: get it again")
    return content


def _check_tokenizer(folder: Path, name: str) -> None:
    whole = [files for files in TOKENIZERS if all((folder / file).is_file() for file in files)]
    if not whole:
        raise DownloadError(f"{name} has no tokenizer: put tokenizer.json and tokenizer_config.json beside its weights")
    for file in whole[0]:
        check_no_pointer(folder / file)
    if whole[0] == ("tokenizer.json",):
        _json(folder / "tokenizer.json")


def _read_tokenizer(folder: Path, name: str) -> None:
    """Read the tokenizer, as training will. Raises DownloadError where that fails."""
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # its readers raise whatever they meet in a damaged file, a bare Exception too
        raise DownloadError(
            f"the tokenizer of {name} cannot be read ({describe_error(error)}): get it again"
        ) from error


def _shards(folder: Path, name: str, there: Collection[str]) -> list[str]:
    """Files of the weights, all of them there."""
    if WEIGHTS in there:
        return [WEIGHTS]
    if INDEX not in there:
        raise DownloadError(f"{name} has neither {WEIGHTS} nor {INDEX}: get the one that belongs to its weights")
    weight_map = _json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise DownloadError(f"{folder / INDEX} names no weights: get it again")
    named = sorted({str(shard) for shard in weight_map.values()})
    missing = [shard for shard in named if shard not in there]
    if missing:
        raise DownloadError(f"{name} lacks {', '.join(missing)} of {len(named)} files that {INDEX} names: get them too")
    return named


def _tensors(path: Path) -> list[str]:
    """Names in the file's header; that the file is as long as the header says is checked on the way."""
    from safetensors import SafetensorError, safe_open

    check_no_pointer(path)
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise DownloadError(f"{path} is damaged or cut off ({error}): get it again") from error


def _expected(config: dict[str, Any], n_found: int) -> Iterable[str]:
    """Tensors that a Mistral or Llama of that config has at least; of more layers than `n_found` those of so many."""
    yield from (f"{OUTER_TENSORS[part]}.weight" for part in ("token_embd", "output_norm"))
    if not config.get("tie_word_embeddings", False):
        yield f"{OUTER_TENSORS['output']}.weight"
    n_layers = config.get("num_hidden_layers") or 0
    if not isinstance(n_layers, int):
        raise DownloadError(f"config.json says that num_hidden_layers is {n_layers!r}, not a number: get it again")
    for layer in range(min(n_layers, n_found)):
        yield from (f"model.layers.{layer}.{part}.weight" for part in LAYER_TENSORS.values())
