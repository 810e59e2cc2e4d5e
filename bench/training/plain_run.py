"""The run of `train_scratch` by a plain transformers loop, to hold the two curves side by side.

`python -m bench.training.plain_run FILE` in a project whose stage tokenize has run. Shape and settings are those of
params.yaml, the first weights ours. What is plain: transformers' GPT-2 in a loop with torch's AdamW, rows cut from the
stream of all dialogues, each token once an epoch. A line of the csv FILE holds step, seconds of training, tokens and
the validation loss on the rows that the stage validates on.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from llm.hub.export import to_hugging_face
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.packing import Packed, TokenCorpus, open_corpus, pack_corpus
from llm.tokens.tokenizer import load_tokenizer
from llm.training.schedule import TrainConfig, lr_factor
from stages.params import load

TOKENS = Path("data/tokens")
EVALUATED = 4  # rows at once: with 30,000 tokens a row's logits take 31 MB
ROWS = 8  # of a forward pass, where `train.micro_batch` leaves it open: 32 of GPT-2 124M take 17 GB


def stream_batches(corpus: TokenCorpus, length: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Batches (B, T) of rows cut from the stream, in another order each epoch, without end."""
    n_rows = len(corpus.ids) // length
    rows = np.asarray(corpus.ids[: n_rows * length]).reshape(n_rows, length)
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n_rows)
        for first in range(0, n_rows - batch_size + 1, batch_size):
            yield torch.from_numpy(rows[order[first : first + batch_size]].astype(np.int64))


@torch.no_grad()
def packed_loss(model: Any, data: Packed, n_rows: int) -> float:
    """Mean loss (nats a token) on packed rows, in which no dialogue sees another."""
    total, n = 0.0, 0
    causal = torch.ones(data.context_length, data.context_length, dtype=torch.bool).tril()
    model.eval()
    for first in range(0, n_rows, EVALUATED):
        batch = data.batch(range(first, min(first + EVALUATED, n_rows)))
        seen = (batch.documents[:, :, None] == batch.documents[:, None, :]) & causal  # (B, T, T)
        logits = model(input_ids=batch.ids, position_ids=batch.positions, attention_mask=seen[:, None]).logits
        total += float(
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-1, reduction="sum"
            )
        )
        n += int((batch.targets >= 0).sum())
    model.train()
    return total / n


def train(tokens: Path, vocab_size: int, shape: ModelConfig, config: TrainConfig, seed: int, path: Path) -> None:
    """Take the steps of the configuration on the token files and write the curve, a line as soon as it is known.

    Raises ValueError where the run has no number of steps.
    """
    if config.max_steps is None or config.eval_every is None or config.optimizer != "adamw":
        raise ValueError("train.max_steps and train.eval_every must be numbers and train.optimizer adamw")
    model: Any = to_hugging_face(build_model(shape, vocab_size, torch.Generator().manual_seed(seed)), eos=[0])
    val = pack_corpus(open_corpus(tokens, "val"), shape.context_length, seed)
    n_val = min(len(val), config.val_rows or len(val))
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=betas, weight_decay=config.weight_decay)
    batches = stream_batches(open_corpus(tokens, "train"), shape.context_length, config.batch_size, seed)
    torch.manual_seed(seed)
    seconds = 0.0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["step", "seconds", "tokens", "val_loss"])
        for step in tqdm(range(config.max_steps + 1), desc="plain loop", unit="step"):
            if step % config.eval_every == 0 or step == config.max_steps:
                n_tokens = step * config.batch_size * shape.context_length
                table.writerow([step, round(seconds, 1), n_tokens, round(packed_loss(model, val, n_val), 4)])
                file.flush()
            if step == config.max_steps:
                break
            started = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = config.lr * lr_factor(step, config.max_steps, config)
            ids = next(batches)
            for rows in ids.split(config.micro_batch or ROWS):
                (model(input_ids=rows, labels=rows).loss * len(rows) / len(ids)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seconds += time.perf_counter() - started


def main() -> None:
    """Train with the parameters of this project."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.training.plain_run",
        description=__doc__,
        epilog="example: python -m bench.training.plain_run plain.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path)
    path, vocab_size = parser.parse_args().file, load_tokenizer(TOKENS / "tokenizer.json").vocab_size
    train(TOKENS, vocab_size, load("model", ModelConfig), load("train", TrainConfig), load("seed", int), path)


if __name__ == "__main__":
    main()
