"""How long our training takes to the validation loss that a plain AdamW loop reaches in its whole time.

All of them train on the laptop's data with its vocabulary and its model size, in turns of some seconds each, and the
clock of each runs only while it trains. The plain loop has our allocator setting and fused AdamW, torch's own choice of
products, a rate that warms up and falls as a cosine of the share of its time, and rows cut anywhere from the stream of
all dialogues.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.base import ROOT
from bench.ours import CPU, LAPTOP, start_training
from bench.peers import take_step
from bench.plain import PlainGPT
from bench.rounds import Contender, Lap, Turn, open_workers
from bench.shapes import SEED
from bench.table import Section, spread
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.packing import TokenCorpus, open_corpus, pack_corpus
from llm.tokens.tokenizer import load_tokenizer
from llm.training.schedule import TrainConfig
from llm.training.step import validation_loss
from stages.params import load

TOKENS = ROOT / "data" / "tokens"
BUDGET_S, SLICE_S = 300.0, 12.0
LRS = (3e-3, 1.5e-3)  # of the plain loop; the better one counts
SHARES = (0.25, 0.5)  # of the laptop's steps; the rate falls to its end within them
VAL_TOKENS = 50_000
WARM_UP, FINAL_LR = 0.05, 0.1  # share of the time, of the peak
EVALUATED = 64  # rows at once


@dataclass(frozen=True)
class Race:
    """What everyone trains on."""

    tokens: Path
    vocab_size: int
    model: ModelConfig  # ours; the plain one is a GPT-2 of the same sizes
    train: TrainConfig
    budget_s: float
    slice_s: float


def head_of(corpus: TokenCorpus, n_tokens: int) -> TokenCorpus:
    """The corpus' first dialogues, at least `n_tokens` in all where there are as many."""
    offsets = np.asarray(corpus.offsets)
    n = min(len(offsets) - 1, int(np.searchsorted(offsets, n_tokens)))
    turns = np.asarray(corpus.turns)
    return TokenCorpus(corpus.ids[: offsets[n]], offsets[: n + 1], turns[turns < offsets[n]], None)


def stream_rows(corpus: TokenCorpus, length: int) -> tuple[Tensor, Tensor]:
    """Ids and targets (B, T) that read the corpus as one stream, each row repeating the last quarter of the one before.

    A dialogue's first token is no target, and every other one is one once, as in packed rows.
    """
    ids = np.asarray(corpus.ids, np.int64)
    learned = np.ones(len(ids), np.bool_)
    learned[np.asarray(corpus.offsets[:-1])] = False
    stride, rows = length - length // 4, []
    for start in range(0, max(1, len(ids) - 1 - length // 4), stride):
        inputs = ids[start : start + length]
        goal = np.where(learned, ids, -1)[start + 1 : start + 1 + length]
        repeated = length // 4 if start else 0
        goal = np.concatenate([np.full(repeated, -1), goal[repeated:]])
        padding = (0, length - len(inputs))
        rows.append((np.pad(inputs, padding), np.pad(goal, (0, length - len(goal)), constant_values=-1)))
    return tuple(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))  # type: ignore[return-value]


@torch.no_grad()
def plain_loss(model: PlainGPT, ids: Tensor, targets: Tensor) -> float:
    """Mean loss over the targets, nats."""
    total, n = 0.0, 0
    model.eval()
    for part in zip(ids.split(EVALUATED), targets.split(EVALUATED), strict=True):
        if learned := int((part[1] >= 0).sum()):
            total, n = total + float(model(*part)) * learned, n + learned
    model.train()
    return total / n


def plain_rate(share: float) -> float:
    """Share of the peak rate when this share of the time has passed.

    >>> [round(plain_rate(share), 2) for share in (0.025, 0.05, 0.525, 1.0)]
    [0.5, 1.0, 0.55, 0.1]
    """
    if share < WARM_UP:
        return share / WARM_UP
    falling = (min(share, 1.0) - WARM_UP) / (1 - WARM_UP)
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * falling))


def plain(lap: Lap, race: Race, lr: float) -> None:
    """Run the plain loop until its time is over, a lap every few seconds with time and loss so far."""
    torch.manual_seed(SEED)
    T, batch_size = race.model.context_length, race.train.batch_size
    model = PlainGPT(race.model, race.vocab_size)
    optimizer = model.make_adamw(lr, fused=True)
    stream = torch.from_numpy(np.asarray(open_corpus(race.tokens, "train").ids, np.int64))
    held_out = stream_rows(head_of(open_corpus(race.tokens, "val"), VAL_TOKENS), T)
    passed = 0.0
    while True:
        lap(note=(passed, plain_loss(model, *held_out), passed >= race.budget_s))
        started, until = time.perf_counter(), min(race.slice_s, race.budget_s - passed)
        while (now := time.perf_counter() - started) < until:
            for group in optimizer.param_groups:
                group["lr"] = lr * plain_rate((passed + now) / race.budget_s)
            starts = torch.randint(len(stream) - T - 1, (batch_size, 1)) + torch.arange(T + 1)
            rows = stream[starts]
            take_step(model, model(rows[:, :-1], rows[:, 1:].contiguous()), optimizer)
        passed += time.perf_counter() - started


def ours(lap: Lap, race: Race, share: float) -> None:
    """Train ours with that share of the laptop's steps, a lap every few seconds with time and loss so far."""
    torch.manual_seed(SEED)
    T, n_steps = race.model.context_length, round(share * (race.train.max_steps or 0))
    train = pack_corpus(open_corpus(race.tokens, "train"), T, SEED)
    val = pack_corpus(head_of(open_corpus(race.tokens, "val"), VAL_TOKENS), T, SEED)
    model = build_model(race.model, race.vocab_size, torch.Generator().manual_seed(SEED))
    passed = 0.0
    with TemporaryDirectory() as folder:
        trainer, steps = start_training(model, train, replace(race.train, max_steps=n_steps), Path(folder))
        while True:
            loss = validation_loss(model, val, None, EVALUATED, CPU)
            lap(note=(passed, loss, trainer.progress.step >= n_steps))
            started = time.perf_counter()
            while time.perf_counter() - started < race.slice_s and trainer.progress.step < n_steps:
                next(steps)
            passed += time.perf_counter() - started


def run_race(contenders: list[Contender]) -> dict[str, list[Turn]]:
    """The turns of each until it says that it is done."""
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    with open_workers(contenders) as workers, tqdm(desc="time to loss", unit="turn") as bar:
        for worker in workers:
            turns[worker.contender.name].append(worker.wait())
        running = list(workers)
        while running:
            for worker in list(running):
                turn = worker.take_turn()
                turns[worker.contender.name].append(turn)
                bar.update()
                if turn.note[2]:
                    running.remove(worker)
    return turns


def time_to(turns: list[Turn], target: float) -> float | None:
    """Seconds of training after which the loss was at most `target`, on a line between two validations; None: never."""
    before = turns[0].note
    for turn in turns:
        seconds, loss, _ = turn.note
        if loss <= target:
            if loss == before[1]:
                return seconds
            return before[0] + (seconds - before[0]) * (before[1] - target) / (before[1] - loss)
        before = turn.note
    return None


def summarise_race(turns: dict[str, list[Turn]], peers: list[str]) -> Section:
    """Who reached the best plain loop's loss when."""
    best = min(peers, key=lambda name: min(turn.note[1] for turn in turns[name]))
    target = min(turn.note[1] for turn in turns[best])
    contenders, ratios = {}, {}
    reached = {name: time_to(found, target) for name, found in turns.items()}
    plain_s = reached[best]
    assert plain_s is not None
    for name, seconds in reached.items():
        last = turns[name][-1]
        if seconds is not None:
            peak, faults = last.peak_bytes / 1e9, last.faults
            contenders[name] = {"values": [seconds], **spread([seconds]), "peak_gb": peak, "page_faults": faults}
            if name not in peers:
                ratios[f"{name} / {best}"] = {**spread([seconds / plain_s]), "pair": [name, best]}
    facts: dict[str, Any] = {"loss to reach, nats a token": target}
    facts |= {f"lowest loss, {name}": min(turn.note[1] for turn in found) for name, found in turns.items()}
    facts |= {f"time, {name}": found[-1].note[0] for name, found in turns.items()}
    return {"unit": "s to the loss", "contenders": contenders, "ratios": ratios, "facts": facts}


def compare(race: Race, lrs: tuple[float, ...], shares: tuple[float, ...]) -> Section:
    """Time to the loss that the best of the plain loops ends with."""
    peers = [Contender(f"plain AdamW loop, rate {lr:g}", plain, {"race": race, "lr": lr}, True) for lr in lrs]
    own = [
        Contender(f"ours, {share:g} of the steps", ours, {"race": race, "share": share}, True, True) for share in shares
    ]
    return summarise_race(run_race([*peers, *own]), [peer.name for peer in peers])


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """The laptop's data; one race, however many rounds are asked for."""
    vocab_size = load_tokenizer(TOKENS / "tokenizer.json").vocab_size
    model, train = load("model", ModelConfig, LAPTOP), load("train", TrainConfig, LAPTOP)
    yield "time to loss", compare(Race(TOKENS, vocab_size, model, train, BUDGET_S, SLICE_S), LRS, SHARES)
