"""Stage train_scratch: data/tokens -> models/scratch, metrics/train_scratch.csv."""

import logging
from dataclasses import asdict
from pathlib import Path

import torch

from llm.files import copy_file, folder_sha256, write_json
from llm.machine import pick_device
from llm.models.registry import build_model, describe_model, n_parameters
from llm.models.shape import ModelConfig
from llm.tokens.mixture import read_times
from llm.tokens.packing import pack_corpus, pack_efficiency
from llm.tokens.token_files import read_corpus
from llm.tokens.tokenizer import load_tokenizer
from llm.training.checkpoint import State, open_state, run_key, save_tensors, state_root
from llm.training.distributed import is_first, process_group
from llm.training.launch import LaunchConfig, start_processes
from llm.training.loop import ENGINE, fit
from llm.training.progress import Progress
from llm.training.schedule import TrainConfig
from stages.logs import Made, run_stage
from stages.params import load

TOKENS, OUT = Path("data/tokens"), Path("models/scratch")
SUMMARY, CURVE = OUT / "summary.json", Path("metrics/train_scratch.csv")
TRAJECTORY = (*ENGINE, "llm.models.gpt", "llm.models.layers", "llm.models.llama")  # code that a saved state depends on
PACKAGES = ("numpy",)  # which it depends on too, beside torch: numpy draws the order of the rows

logger = logging.getLogger(__name__)


def save(state: State, model: torch.nn.Module, run: Progress, described: dict[str, dict[str, object]]) -> None:
    """Write weights, optimizer states, tokenizer, configuration and metrics to models/scratch."""
    for path in sorted((state.folder / "checkpoints").iterdir()):
        copy_file(path, OUT / "checkpoints" / path.name)
    copy_file(state.folder / "best.safetensors", OUT / "best.safetensors")
    save_tensors(OUT / "final.safetensors", dict(model.named_parameters()))
    copy_file(TOKENS / "tokenizer.json", OUT / "tokenizer.json")
    for name, values in described.items():
        write_json(OUT / f"{name}.json", values)
    write_json(OUT / "metrics.json", run.history)


def run_name(
    seed: int, shape: ModelConfig, mixture: dict[str, float], config: TrainConfig, device: torch.device
) -> str:
    """Key of the trajectory: what is computed, from which tokens, by which code on which device."""
    parts = {"seed": seed, "model": asdict(shape), "mixture": mixture, "train": config.trajectory()}
    return run_key({**parts, "inputs": folder_sha256(TOKENS)}, TRAJECTORY, device, PACKAGES)


def main() -> Made | None:
    """Start the processes that train the model, and train it."""
    start_processes(load("launch", LaunchConfig), "stages.train_scratch")
    device = pick_device(load("device", str))
    with process_group(device):
        return train_model(device)


def train_model(device: torch.device) -> Made | None:
    """Take part in the training as one of its processes; the first one writes the outputs."""
    seed = load("seed", int)
    shape, config = load("model", ModelConfig), load("train", TrainConfig)
    vocab_size = load_tokenizer(TOKENS / "tokenizer.json").vocab_size
    mixture = load("mixture", dict[str, float])
    times = read_times(TOKENS, mixture)
    train = pack_corpus(read_corpus(TOKENS, "train"), shape.context_length, seed, times)
    val = pack_corpus(read_corpus(TOKENS, "val"), shape.context_length, seed)
    model = build_model(shape, vocab_size, torch.Generator().manual_seed(seed))
    logger.info("%s of %s parameters, %s rows, %s", shape.architecture, f"{n_parameters(model):,}", len(train), device)
    torch.manual_seed(seed)
    with open_state(state_root(), "scratch", run_name(seed, shape, mixture, config, device)) as state:
        run = fit(model, train, val, config, seed, device, state, CURVE)
        if not is_first():
            return None
        trained = {"seed": seed, **asdict(config), "micro_batch": run.micro_batch, "compiled": run.compiled}
        save(state, model, run, {"config": describe_model(model), "train": trained})
    summary = {"parameters": n_parameters(model), "pack_efficiency": round(pack_efficiency(train), 4)}
    write_json(SUMMARY, {**run.summary(), **summary})
    return Made([SUMMARY], run.seconds)


if __name__ == "__main__":
    run_stage("train_scratch", main)
