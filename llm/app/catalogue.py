"""Which models there are to talk to, under their real names, and how each is loaded."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from llm.app.speaker import About, Speaker, hub_speaker, own_speaker
from llm.evaluation.eval_models import describe_base, describe_scratch, template_notes
from llm.evaluation.hub_model import HubModel
from llm.evaluation.items import Sampling
from llm.evaluation.scratch_model import ScratchModel
from llm.hub.info import INFO, read_info
from llm.hub.pretrained import load_base, load_finetuned, load_shipped_tokenizer, quiet_bars, weights_dtype
from llm.machine import pick_device
from llm.models.registry import build_model, load_gpt, n_parameters
from llm.models.shape import ModelConfig
from llm.runs.packed import SETTINGS
from llm.runs.run_files import read_settings
from llm.tokens.tokenizer import load_tokenizer

NAMES = ("scratch", "mistral", "base")
MODELS = Path("models")
BATCH_TOKENS = 8192  # of the calls of the evaluation, which are not used here
USUAL = Sampling(0.8, 0.95)  # where no run says how: of a model from a folder, or before the first evaluation


@dataclass(frozen=True)
class Listed:
    """A model that is there, not loaded yet."""

    about: About
    load: Callable[[], Speaker]
    sampling: Sampling = USUAL  # how its tokens are drawn where nobody says how


def find_model(name: str, models: Path = MODELS) -> Listed:
    """The model of the working tree with this name, or the one in the folder that is named.

    Raises FileNotFoundError naming the stage that makes it.
    """
    if name not in NAMES:
        return _of_folder(Path(name))
    found = _scratch(models / "scratch") if name == "scratch" else _of_base(name, models / "base", models / "mistral")
    settings = models.parent / SETTINGS
    return replace(found, sampling=read_settings(settings).evaluate.sampling.of(name)) if settings.is_file() else found


def list_models(models: Path = MODELS) -> list[Listed]:
    """All models of the working tree that are there."""
    found = []
    for name in NAMES:
        try:
            found.append(find_model(name, models))
        except (FileNotFoundError, ValueError):  # not made yet, or fine-tuning is off
            continue
    return found


def watch_models(models: Path = MODELS) -> Callable[[], list[Listed]]:
    """What gives the models that are there now, and reads about them again only when a file of theirs has changed."""
    seen, found = None, list[Listed]()

    def look() -> list[Listed]:
        nonlocal seen, found
        now = _state_of_files(models)
        if now != seen:
            seen, found = now, list_models(models)
        return found

    return look


def _state_of_files(models: Path) -> list[tuple[str, int, int]]:
    """Name, time and size of each file of a model, and of how they are asked; reading them takes a second."""
    state = []
    for path in [models.parent / SETTINGS, *sorted(models.glob("*/*"))]:
        with contextlib.suppress(FileNotFoundError):  # it is being made anew
            about = path.stat()
            state.append((str(path), about.st_mtime_ns, about.st_size))
    return state


def _scratch(folder: Path) -> Listed:
    if not (folder / "best.safetensors").is_file() or not (folder / "config.json").is_file():
        raise FileNotFoundError(f"there is no model in {folder}: run `dvc repro train_scratch` first")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):  # its shape, without its weights
        gpt = build_model(ModelConfig(**{k: v for k, v in config.items() if k != "vocab_size"}), config["vocab_size"])
    title, n = f"{describe_scratch(gpt)}, trained here from scratch", n_parameters(gpt)

    def load() -> Speaker:
        tokenizer = load_tokenizer(folder / "tokenizer.json")
        model = load_gpt(folder).to(pick_device("auto"))
        return own_speaker(ScratchModel("scratch", model, tokenizer, BATCH_TOKENS), title, n)

    return Listed(About("scratch", title, n, gpt.config.context_length), load)


def _of_base(name: str, base: Path, adapter: Path) -> Listed:
    """The base model, or the fine-tuned one."""
    info = read_info(base)
    of_base, of_mistral = template_notes(base)
    title = describe_base(info) + of_base
    if name == "mistral":
        tuned = read_info(adapter)
        if not tuned["enabled"]:
            raise ValueError(f"{adapter} holds no adapter: set finetune.enabled to true and run `dvc repro`")
        title = tuned["description"] + of_mistral
    window = _window(json.loads((base / "config.json").read_text(encoding="utf-8")))

    def load() -> Speaker:
        device = pick_device("auto")
        if name == "mistral":
            model = HubModel(name, *load_finetuned(base, adapter, device), BATCH_TOKENS)
        else:
            model = HubModel(name, *load_base(base, device), BATCH_TOKENS, load_shipped_tokenizer(base))
        return hub_speaker(model, title, info["parameters"], window)

    return Listed(About(name, title, info["parameters"], window), load)


def _of_folder(folder: Path) -> Listed:
    """A model in Hugging Face form, such as `python -m llm export` writes."""
    if (folder / "adapter_config.json").is_file() or (folder / "best.safetensors").is_file():
        raise ValueError(f"{folder} is not in Hugging Face form: name scratch or mistral, or export it first")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is neither scratch, mistral, base nor a folder with a model (config.json)")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        n, window = _stored_parameters(folder), _window(config)
        name = str(read_info(folder)["name"]) if (folder / INFO).is_file() else f"{config['model_type']} in {folder}"
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ValueError(f"the model in {folder} is damaged ({error!r}): export or fetch it again") from error
    title = f"{name} ({n / 1e6:,.1f}M parameters)"

    def load() -> Speaker:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = pick_device("auto")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with quiet_bars():
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=weights_dtype(device)
            )
        return hub_speaker(HubModel(str(folder), model.to(device), tokenizer, BATCH_TOKENS), title, n, window)

    return Listed(About(str(folder), title, n, window), load)


def _window(config: dict[str, Any]) -> int:
    """Tokens that a Hugging Face model reads at once, all of which every layer sees."""
    length = config.get("max_position_embeddings") or config.get("n_positions") or 1024
    return min(length, config.get("sliding_window") or length)


def _stored_parameters(folder: Path) -> int:
    """Numbers in the weight files of a folder."""
    from safetensors import safe_open

    n = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                shape = file.get_slice(key).get_shape()
                n += int(torch.Size(shape).numel())
    return n
