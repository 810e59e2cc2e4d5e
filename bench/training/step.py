"""A training step: ours, three peers as they come and tuned, and the matrix products alone."""

from collections.abc import Iterator

from bench.ours import train_on_rows
from bench.peers import hub_loop, hub_trainer, plain_loop
from bench.replay import flop, replay
from bench.rounds import Contender, alternate, check_equal
from bench.shapes import FULL, SMALL, Shape, draw_ids
from bench.table import Pair, Section, summarise

TUNED = " + allocator, fused AdamW"
MULTIPLIED = f"{TUNED}, products"  # with our setting of matrix products too
PLAIN, LOOP, TRAINER = "plain loop (nanoGPT)", "transformers loop", "transformers.Trainer"
STOCK_PRODUCTS = "matrix products as torch has them"  # without our setting, which matters on AMD
TOLERANCE = 1e-4  # nats a token


def contenders(shape: Shape, peers: tuple[str, ...]) -> list[Contender]:
    """The products, ours, and each peer as it comes and tuned; the plain loop with our setting of products too."""
    ids = draw_ids(shape, shape.batch_size, shape.model.context_length)
    batch = {"shape": shape, "ids": ids}
    found = [
        Contender("matrix products", replay, {"shape": shape}, keeps_memory=True, multiplies_fast=True),
        Contender("ours", train_on_rows, batch, keeps_memory=True, multiplies_fast=True),
        Contender(STOCK_PRODUCTS, replay, {"shape": shape}, keeps_memory=True),
    ]
    for peer in peers:
        for tuned in (False, True):
            name = peer + TUNED if tuned else peer
            if peer == TRAINER:
                found.append(Contender(name, hub_trainer, batch, keeps_memory=tuned))
            else:
                loop = plain_loop if peer == PLAIN else hub_loop
                found.append(Contender(name, loop, {**batch, "fused": tuned}, keeps_memory=tuned))
        if peer == PLAIN:
            arguments = {**batch, "fused": True}
            found.append(Contender(peer + MULTIPLIED, plain_loop, arguments, keeps_memory=True, multiplies_fast=True))
    return found


def compare(shape: Shape, peers: tuple[str, ...], rounds: int) -> Section:
    """Seconds a step of all of them, on one batch from the same weights."""
    entered = contenders(shape, peers)
    ratios: dict[str, Pair] = {
        "step / matrix products": ("ours", "matrix products"),
        f"step / {STOCK_PRODUCTS}": ("ours", STOCK_PRODUCTS),
    }
    for contender in entered[3:]:
        ratios[f"{contender.name} / ours"] = (contender.name, "ours")
    run = alternate(entered, rounds, lambda ready: check_equal(ready, TOLERANCE), describe(shape))
    facts = {"GFLOP of the matrix products": flop(shape) / 1e9, "rows": shape.batch_size}
    return summarise(run, "s/step", ratios, facts)


def describe(shape: Shape) -> str:
    """The comparison's title, `step SMALL, dropout 0.1, attention dropout 0`."""
    return f"step {shape.name}, dropout {shape.model.dropout:g}, attention dropout {shape.model.attn_dropout:g}"


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """SMALL with and without dropout; `full`: with attention dropout too, and FULL, its peers in runs of their own.

    All of them together would not fit into 23 GB.
    """
    rows: list[tuple[str, Shape, tuple[str, ...]]] = [
        ("", SMALL, (PLAIN, TRAINER)),
        (", transformers loop", SMALL, (LOOP,)),
        ("", SMALL.with_dropout(0.1, 0.0), (PLAIN, TRAINER)),
    ]
    if full:
        rows += [
            ("", SMALL.with_dropout(0.1, 0.1), (PLAIN, TRAINER)),
            (", Trainer", FULL, (TRAINER,)),
            (", plain loop", FULL, (PLAIN,)),
            (", Trainer", FULL.with_dropout(0.1, 0.0), (TRAINER,)),
        ]
    for suffix, shape, peers in rows:
        yield describe(shape) + suffix, compare(shape, peers, rounds)
