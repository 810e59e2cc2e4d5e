"""Token files read with their sizes and places checked: a half-copied or foreign one is no corpus, and says so."""

from pathlib import Path
from tokenize import TokenError

import numpy as np

from llm.tokens.packing import TokenCorpus, open_corpus

# What numpy raises over bytes that are no array; the header is a Python literal, which it takes apart in many ways.
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, EOFError, MemoryError, RecursionError)
MAGIC = np.lib.format.MAGIC_PREFIX
NO_LITERAL = (SyntaxError, TokenError)


def read_corpus(folder: Path, split: str) -> TokenCorpus:
    """The corpus written by the stage `tokenize`, memory-mapped.

    Raises ValueError when a file of it is damaged or belongs to others, FileNotFoundError when it is missing.
    """
    remedy = "run `dvc repro tokenize`, or `dvc checkout` where it ran before"
    try:
        for path in folder.glob(f"{split}.*.npy"):
            _check_begin(path)
        corpus = open_corpus(folder, split)
        fault = _fault(corpus)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename} is missing: {remedy}") from error
    except (*DAMAGE, *NO_LITERAL) as error:
        fault = " ".join(str(error).split())[:120] or type(error).__name__
    if fault:
        raise ValueError(f"the token files {folder / split}.*.npy are damaged ({fault}): {remedy}")
    return corpus


def _check_begin(path: Path) -> None:
    """Raise ValueError for a file that is no array: of others numpy tries whether they are zip files or pickles."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path.name} is no array")


def _fault(corpus: TokenCorpus) -> str | None:
    """What is wrong with the arrays beside one another, None where nothing is."""
    ids, offsets, turns, supervised = corpus.ids, corpus.offsets, corpus.turns, corpus.supervised
    if not all(isinstance(array, np.ndarray) and array.ndim == 1 for array in (ids, offsets, turns)):
        return "they are no rows of numbers"
    if ids.dtype not in (np.uint16, np.uint32) or offsets.dtype != np.int64 or turns.dtype != np.int64:
        return f"their numbers are {ids.dtype}, {offsets.dtype} and {turns.dtype}, not uint16, int64 and int64"
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(ids) or (np.diff(offsets) < 0).any():
        return f"the places of dialogues are not those of {len(ids):,} tokens"
    if len(turns) and (turns[0] < 0 or turns[-1] >= len(ids) or (np.diff(turns) < 0).any()):
        return f"the places of turns are not those of {len(ids):,} tokens"
    if not np.isin(offsets[:-1][np.diff(offsets) > 0], turns).all():
        return "a dialogue begins with no turn"
    if supervised is not None and (supervised.dtype != np.bool_ or supervised.shape != ids.shape):
        return f"{supervised.shape} marks of what is learned for {len(ids):,} tokens"
    return None
