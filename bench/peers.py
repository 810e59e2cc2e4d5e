"""What people train a GPT-2 with instead: a plain loop, transformers' model in a loop, transformers' Trainer."""

from collections import deque
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from bench.plain import PlainGPT
from bench.rounds import Lap
from bench.shapes import Shape, fresh_gpt
from llm.hub.export import to_hugging_face

LR = 3e-4


def hub_gpt2(shape: Shape) -> Any:
    """transformers' GPT-2 with the weights of `fresh_gpt`; its replies have no end."""
    model: Any = to_hugging_face(fresh_gpt(shape), eos=[0])
    model.generation_config.eos_token_id = None
    return model


def plain_loop(lap: Lap, shape: Shape, ids: Tensor, fused: bool) -> None:
    """Take steps of the plain GPT-2 on one batch (B, T)."""
    model = PlainGPT(shape.model, shape.vocab_size)
    model.load_state_dict({**fresh_gpt(shape).state_dict(), "lm_head.weight": fresh_gpt(shape).head})
    targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -1)], dim=1)
    with torch.no_grad():
        loss = float(model.eval()(ids, targets))
    optimizer = model.train().make_adamw(LR, fused)
    lap(note=loss)
    while True:
        take_step(model, model(ids, targets), optimizer)
        lap()


def hub_loop(lap: Lap, shape: Shape, ids: Tensor, fused: bool) -> None:
    """Take steps of transformers' GPT-2 on one batch (B, T)."""
    model = hub_gpt2(shape)
    loss = hub_loss(model, ids)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=LR, fused=fused or None)
    lap(note=loss)
    while True:
        take_step(model, model(input_ids=ids, labels=ids).loss, optimizer)
        lap()


def take_step(model: nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Update the weights by the gradients of the loss."""
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def hub_loss(model: Any, ids: Tensor) -> float:
    """Mean loss of one batch."""
    with torch.no_grad():
        return float(model.eval()(input_ids=ids, labels=ids).loss)


def hub_trainer(lap: Lap, shape: Shape, ids: Tensor) -> None:
    """Take steps of transformers' Trainer on batches of the same rows; its AdamW is fused by default."""
    from transformers import default_data_collator

    model = hub_gpt2(shape)
    rows = [{"input_ids": row, "labels": row} for row in ids] * 1000  # an epoch is long: its end costs nothing
    loss = hub_loss(model, ids)
    run_trainer(lap, model, rows, len(ids), default_data_collator, lambda _: 1, loss)


def run_trainer(
    lap: Lap,
    model: Any,
    rows: list[dict[str, Any]],
    batch_size: int,
    collate: Callable[[list[Any]], dict[str, Tensor]],
    count: Callable[[dict[str, Tensor]], float],
    ready: float,
) -> None:
    """Run Trainer with its defaults but for batch size and silence, a lap at each step's end.

    `count` says how much work a batch is, `ready` is the loss that the contender reports before its first step.
    """
    from transformers import Trainer, TrainerCallback, TrainingArguments

    amounts: deque[float] = deque()  # Trainer reads a batch ahead: that of a step is the oldest

    def collate_and_count(features: list[Any]) -> dict[str, Tensor]:
        batch = collate(features)
        amounts.append(count(batch))
        return batch

    class Laps(TrainerCallback):
        """Reports a lap after each step."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            lap(note=ready)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            lap(amounts.popleft())

    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=10**6,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        Trainer(model, arguments, collate_and_count, rows, callbacks=[Laps()]).train()
