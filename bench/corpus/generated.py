"""Rows made of random words, as many as wanted: `python -m bench.corpus.generated FOLDER N [SOURCE]`.

Word frequencies follow Zipf's law, so that runs of two words are shared as in a real corpus and runs of thirteen are
not: nearly all rows survive cleaning. The same numbers give the same rows on every machine.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llm.dialogue import Dialogue, write_dialogues
from llm.files import file_sha256, write_json

VOCABULARY = 200_000  # words; 180 million words of English web text have about 2 million, most of them seen once
SYLLABLES = [a + b for a in (*"bcdfghklmnprstvw", "st", "tr", "ch", "sh") for b in (*"aeiou", "ai", "ea")]
PROMPT_WORDS, REPLY_WORDS = (5, 40), (20, 136)  # shortest, longest; about 100 an exchange
SENTENCE = 12  # words in the mean
NOT_ASCII = 0.2  # of the turns hold a curly quote, which takes the slower way of the repair
BLOCK = 10_000  # rows drawn at once


def draw_vocabulary(rng: np.random.Generator) -> list[str]:
    """Different words of one to three syllables, the shorter the more frequent."""
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        n = 1 if len(words) < 50 else 2 if len(words) < 5000 else 3
        words["".join(SYLLABLES[i] for i in rng.integers(len(SYLLABLES), size=n))] = None
    return list(words)


def draw_turns(rng: np.random.Generator, words: np.ndarray, cumulative: np.ndarray, lengths: np.ndarray) -> list[str]:
    """A turn of each length, in sentences."""
    drawn = np.searchsorted(cumulative, rng.random(lengths.sum()))
    ends = np.cumsum(lengths)
    stop = rng.random(len(drawn)) < 1 / SENTENCE
    stop[ends - 1] = True
    spelled = words[drawn + stop * VOCABULARY].tolist()  # the second half of the words end in a full stop
    turns = [" ".join(spelled[end - n : end]) for end, n in zip(ends.tolist(), lengths.tolist(), strict=True)]
    quoted = rng.random(len(turns)) < NOT_ASCII
    return [f"“{turn}”" if with_quotes else turn for turn, with_quotes in zip(turns, quoted, strict=True)]


def draw_dialogues(n: int, source: str, seed: int) -> Iterator[Dialogue]:
    """`n` questions with an answer, two to a group."""
    rng = np.random.default_rng(seed)
    vocabulary = draw_vocabulary(rng)
    words = np.array(vocabulary + [word + "." for word in vocabulary], dtype=object)
    weights = 1 / (np.arange(VOCABULARY) + 2.7)  # Zipf's law as Mandelbrot (1953) corrected it
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    for first in range(0, n, BLOCK):
        lengths = np.stack([rng.integers(low, high + 1, BLOCK) for low, high in (PROMPT_WORDS, REPLY_WORDS)], axis=1)
        turns = draw_turns(rng, words, cumulative, lengths.ravel())
        for i in range(first, min(n, first + BLOCK)):
            at = 2 * (i - first)
            yield Dialogue(f"{source}-{i}", source, f"g{i // 2}", (turns[at], turns[at + 1]))


def write_source(folder: Path, n: int, source: str, seed: int = 1) -> None:
    """Write data/raw/<source>.jsonl of a project folder and where it comes from, as the stage download would."""
    path = folder / f"data/raw/{source}.jsonl"
    write_dialogues(path, draw_dialogues(n, source, seed))
    provenance = {
        "source": source,
        "limit": n,
        "dialogues": n,
        "exchanges": n,
        "failed": [],
        "sha256": file_sha256(path),
    }
    served = {"provider": "generated", "location": f"bench.corpus.generated, seed {seed}", "dialogues": n, "used": n}
    write_json(folder / f"data/raw/{source}.provenance.json", {**provenance, "served": [served]})


if __name__ == "__main__":
    write_source(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4] or ["dialogue"])
