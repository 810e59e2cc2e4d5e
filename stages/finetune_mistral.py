"""Stage finetune_mistral: data/clean and models/base -> models/mistral, metrics/finetune_mistral.csv."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from llm.dialogue import read_table
from llm.files import file_sha256, write_bytes, write_json
from llm.hub.chat import takes_system
from llm.hub.info import INFO, read_info
from llm.hub.pretrained import CPU, check_trainable, load_base, load_tokenizer, weights_dtype
from llm.machine import pick_device
from llm.tokens.packing import Packed, pack_corpus, pack_efficiency
from llm.training.checkpoint import open_state, run_key, state_root
from llm.training.distributed import is_first, n_processes, process_group, shard
from llm.training.launch import LaunchConfig, start_processes
from llm.training.loop import ENGINE, fit
from llm.training.lora import (
    FinetuneConfig,
    PackedModel,
    Selection,
    add_lora,
    describe,
    load_trained,
    save_adapter,
    select,
)
from stages.logs import Made, run_stage
from stages.params import load

CLEAN, BASE, OUT = Path("data/clean"), Path("models/base"), Path("models/mistral")
SUMMARY, CURVE = OUT / "summary.json", Path("metrics/finetune_mistral.csv")
TRAJECTORY = (*ENGINE, "llm.training.lora", "llm.hub.chat", "llm.hub.pretrained")  # code that a saved state depends on
PACKAGES = ("jinja2", "numpy", "peft", "tokenizers", "transformers")  # whose code it depends on too

logger = logging.getLogger(__name__)


def write_disabled() -> None:
    """Write outputs that say that there is no fine-tuned model."""
    logger.info("finetune.enabled is false: no model is fine-tuned")
    for path in (OUT / INFO, SUMMARY):
        write_json(path, {"enabled": False})
    write_bytes(CURVE, b"step,val_loss\n")


def run_name(seed: int, data_seed: int, config: FinetuneConfig, device: torch.device) -> str:
    """Key of the trajectory: what is computed, from which data and weights, by which code on which device."""
    shape = {**asdict(config), "train": config.train.trajectory()}
    inputs = {path.name: file_sha256(path) for path in (CLEAN / "train.arrow", CLEAN / "val.arrow")}
    inputs |= {"base": read_info(BASE)["files"]}  # hashed once, when they were fetched
    return run_key(
        {"seed": seed, "data_seed": data_seed, "finetune": shape, "inputs": inputs}, TRAJECTORY, device, PACKAGES
    )


def summarise(base: dict[str, Any], model: PackedModel, train: Selection, packed: Packed) -> dict[str, object]:
    """The facts for the metrics: the model, its size, and the data it was trained on."""
    return {
        "enabled": True,
        "base": base["name"],
        "stand_in": base["stand_in"],
        "parameters": base["parameters"],
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "dialogues": train.dialogues,
        "drawn_tokens": len(train.corpus.ids),
        "supervised_tokens": train.supervised_tokens,
        "rows": len(packed),
        "pack_efficiency": round(pack_efficiency(packed), 4),
    }


def load_model(config: FinetuneConfig, device: torch.device, sharded: bool, seed: int) -> Any:
    """The base model with fresh adapters, off the device while it is not yet shared out."""
    place = CPU if sharded else device
    network, _ = load_base(BASE, place, config.quantize, weights_dtype(device))
    torch.manual_seed(seed)
    return add_lora(network, config)


def main() -> Made | None:
    """Fine-tune the base model, or write that this is disabled."""
    launch, config = load("launch", LaunchConfig), load("finetune", FinetuneConfig)
    if not config.enabled:
        write_disabled()
        return None
    start_processes(launch, "stages.finetune_mistral")
    device = pick_device(load("device", str))
    check_trainable(config.quantize, device)
    with process_group(device):
        return finetune(config, device, sharded=launch.shard and n_processes() > 1)


def finetune(config: FinetuneConfig, device: torch.device, sharded: bool) -> Made | None:
    """Take part in the fine-tune as one of its processes; the first one writes the outputs."""
    seed, data_seed, base = load("seed", int), load("data_seed", int), read_info(BASE)
    tokenizer = load_tokenizer(BASE)
    val_tokens = config.train.val_rows and config.train.val_rows * config.context_length
    train = select(read_table(CLEAN / "train.arrow"), tokenizer, config.train_tokens, seed)
    train = train.learned_whole() if config.learn == "all" else train
    val = select(read_table(CLEAN / "val.arrow"), tokenizer, val_tokens, data_seed)
    if train.with_system:
        place = (
            "in the chat template" if takes_system(tokenizer) else "before their first turn, the template takes none"
        )
        logger.info("%s dialogues have a system turn: it stands %s", f"{train.with_system:,}", place)
    packed = pack_corpus(train.corpus, config.context_length, seed)
    val_packed = pack_corpus(val.corpus, config.context_length, data_seed)  # the same rows for every `seed`
    peft_model = load_model(config, device, sharded, seed)  # only now: a device would wait for the texts
    model = PackedModel(peft_model)
    if sharded:
        shard(model, device)
    logger.info("%s, %s tokens in %s rows, %s", base["name"], f"{len(train.corpus.ids):,}", len(packed), device)
    with open_state(state_root(), "mistral", run_name(seed, data_seed, config, device)) as state:
        run = fit(model, packed, val_packed, config.train, seed, device, state, CURVE)
        load_trained(model, state.folder / "best.safetensors")
    save_adapter(OUT, peft_model)
    if not is_first():
        return None
    write_json(OUT / INFO, {**describe(base, config), "compiled": run.compiled})
    write_json(
        SUMMARY,
        {**run.summary(), **summarise(base, model, train, packed), "start_val_loss": run.history[0]["val_loss"]},
    )
    return Made([SUMMARY], run.seconds)


if __name__ == "__main__":
    run_stage("finetune_mistral", main)
