"""Single exchanges, one dialogue each, as the comparisons of packing and padding are fed them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.shapes import SEED
from llm.fetching.download import HttpConfig
from llm.tokens.packing import TokenCorpus
from llm.tokens.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

CORNELL = "cornell_movie_dialogs_corpus.zip"
MEDIAN, SIGMA = 30, 0.9  # tokens; of the log-normal lengths that stand for Cornell's where its zip is not at hand
VOCAB = 8192


def cornell_zip() -> Path | None:
    """The corpus' zip in the folder that TANDEM_TEST_DATA names, if it is there."""
    folder = os.environ.get("TANDEM_TEST_DATA")
    path = Path(folder) / CORNELL if folder else None
    return path if path and path.is_file() else None


def cornell_exchanges(path: Path, n: int) -> Iterator[tuple[str, str]]:
    """The first `n` turns with the turn before each."""
    from llm.sources.cornell import CornellConfig, read_cornell

    dialogues = read_cornell(CornellConfig(str(path), None), "dialogue", HttpConfig(30.0, 0, 1.0)).dialogues
    pairs = ((before, turn) for d in dialogues for before, turn in zip(d.turns, d.turns[1:], strict=False))
    for _, pair in zip(range(n), pairs, strict=False):
        yield pair


def encode_exchanges(exchanges: list[tuple[str, str]], tokenizer: Tokenizer, limit: int) -> list[list[int]]:
    """Ids of each exchange, cut to `limit`: what is too long for a row is lost to padding anyway."""
    return [tokenizer.encode_dialogue(exchange)[:limit].tolist() for exchange in exchanges]


def draw_lengths(n: int, limit: int) -> np.ndarray:
    """Log-normal lengths of at least 6 and at most `limit` tokens."""
    lengths = np.random.default_rng(SEED).lognormal(np.log(MEDIAN), SIGMA, n)
    return lengths.round().clip(6, limit).astype(np.int64)


def lay_end_to_end(dialogues: list[list[int]]) -> TokenCorpus:
    """The exchanges as one corpus of dialogues."""
    offsets = np.cumsum([0, *map(len, dialogues)])
    ids = np.concatenate([np.array(ids, np.uint16) for ids in dialogues])
    return TokenCorpus(ids, offsets, offsets[:-1], None)


def read_exchanges(n: int, limit: int) -> tuple[TokenCorpus, str]:
    """At most `n` exchanges of at most `limit` tokens, and where they come from."""
    path = cornell_zip()
    if path is None:
        generator = np.random.default_rng(SEED)
        dialogues = [generator.integers(3, VOCAB, length).tolist() for length in draw_lengths(n, limit)]
        return lay_end_to_end(
            dialogues
        ), f"random ids, log-normal lengths of median {MEDIAN} (TANDEM_TEST_DATA not set)"
    exchanges = list(cornell_exchanges(path, n))
    logging.getLogger(__name__).info("%d exchanges of Cornell", len(exchanges))
    tokenizer = train_tokenizer((turn for exchange in exchanges for turn in exchange), TokenizerConfig(VOCAB, 2))
    return lay_end_to_end(encode_exchanges(exchanges, tokenizer, limit)), "Cornell, one exchange a row"
