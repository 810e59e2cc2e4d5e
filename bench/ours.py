"""Our training as the stages do it, one step a lap."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.rounds import Lap
from bench.shapes import SEED, Shape, fresh_gpt, one_dialogue_a_row
from llm.models.shape import ModelConfig
from llm.tokens.packing import Packed, pack_corpus
from llm.training.checkpoint import State
from llm.training.loop import training_steps
from llm.training.schedule import TrainConfig
from llm.training.step import validation_loss
from llm.training.trainer import Trainer
from stages.params import load

CPU = torch.device("cpu")
LAPTOP = Path(__file__).resolve().parent.parent / "presets" / "laptop.yaml"
NO_END = 10**9  # steps
DAY_S = 86400.0


def laptop_shape() -> Shape:
    """The model and the batch of the preset."""
    batch_size = load("train.batch_size", int, LAPTOP)
    return Shape("laptop", load("model", ModelConfig, LAPTOP), load("tokenize.vocab_size", int, LAPTOP), batch_size)


def train_config(batch_size: int, **changed: Any) -> TrainConfig:
    """The laptop's training, with AdamW and a batch that is computed at once."""
    config = load("train", TrainConfig, LAPTOP)
    fixed = {"optimizer": "adamw", "batch_size": batch_size, "micro_batch": batch_size, "max_steps": NO_END}
    return replace(config, **(fixed | changed))


def start_training(
    model: torch.nn.Module, data: Packed, config: TrainConfig, folder: Path
) -> tuple[Trainer, Iterator[None]]:
    """A run before its first step, and its steps; between them it neither validates nor writes."""
    steps_only = {"eval_every": NO_END, "checkpoint_every": NO_END, "state_every_s": DAY_S, "val_rows": 1}
    trainer = Trainer(model, data, data, replace(config, **steps_only), SEED, CPU, State(folder))
    steps = training_steps(trainer)
    next(steps)
    return trainer, steps


def train_on_rows(lap: Lap, shape: Shape, ids: torch.Tensor) -> None:
    """Take steps on one batch (B, T)."""
    model = fresh_gpt(shape)
    packed = pack_corpus(one_dialogue_a_row(ids), shape.model.context_length, SEED)
    loss = validation_loss(model, packed, None, len(ids), CPU)
    with TemporaryDirectory() as folder:
        _, steps = start_training(model, packed, train_config(shape.batch_size), Path(folder))
        lap(note=loss)
        for _ in steps:
            lap()
