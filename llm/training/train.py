"""The one training loop, for the GPT and for the Mistral alike."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from llm.machine import tune_cpu
from llm.tokens.packing import Packed
from llm.training.checkpoint import State
from llm.training.distributed import is_first, totals
from llm.training.loop import Training
from llm.training.progress import Progress
from llm.training.schedule import TrainConfig

# The code that computes a trajectory whatever the model is: a state saved by other code is not resumed.
ENGINE = (
    *("llm.machine", "llm.tokens.packing", "llm.models.attention", "llm.models.kernels", "llm.models.loss"),
    *("llm.training.average", "llm.training.clock", "llm.training.compilation", "llm.training.distributed"),
    *("llm.training.loop", "llm.training.micro_batch", "llm.training.optim", "llm.training.progress"),
    *("llm.training.schedule", "llm.training.step", "llm.training.train"),
)

logger = logging.getLogger(__name__)


@contextmanager
def _signals_wait() -> Iterator[list[int]]:
    """A list that receives SIGINT and SIGTERM, so that a step in progress ends and the state is saved."""
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda signum, _: received.append(signum))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def fit(
    model: Any, train: Packed, val: Packed, config: TrainConfig, seed: int, device: torch.device, state: State
) -> Progress:
    """What the run reached; the model (a LanguageModel) holds the final weights.

    Goes on from the last state in `state`, where there is one. The best weights (by validation loss) are in
    `best.safetensors` of its folder, periodic ones in `checkpoints`. SIGINT and SIGTERM save the state and raise
    KeyboardInterrupt.
    """
    tune_cpu()
    run = Training(model, train, val, config, seed, device, state)
    (state.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    with _signals_wait() as signals:
        if run.resume():
            logger.info("going on from step %d (%s)", run.progress.step, state.folder)
        else:
            run.begin()
        bar = tqdm(
            total=run.plan.steps,
            initial=run.progress.step,
            unit="step",
            desc="train",
            mininterval=1.0,
            disable=not is_first(),
        )
        with bar:
            while not run.ended:
                run.step()
                stopping = totals(len(signals)) != [0.0]  # a signal to any process stops all
                run.close_step(stopping)
                bar.update()
                bar.set_postfix(val_loss=run.progress.history[-1]["val_loss"], refresh=False)
                if stopping:
                    step = run.progress.step
                    raise KeyboardInterrupt(f"stopped at step {step}: run the same command again to go on from here")
    run.finish()
    return run.progress
