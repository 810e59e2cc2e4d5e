"""Canaries: random numbers planted in the training tokens, to see what a model remembers word by word.

After Carlini et al. 2019, "The Secret Sharer", section 4. All canaries answer one prompt that stands nowhere else, so
that one set of random alternatives serves them all. They are planted behind the cleaned text, when the tokenizer is
already trained: nothing is removed or kept for their sake, the vocabulary does not know them, and what is fine-tuned
from the cleaned text never meets them. They cannot leak: eight one-digit words are shorter than a span of the leak
gate, the prompt is shorter than any text it compares, and validation and test have none.
"""

import json
import math
import random
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm.files import write_json
from llm.ranges import check_range
from llm.tokens.tokenizer import Tokenizer

REPEATS = (1, 4, 16)  # times a canary stands in the training tokens
PROMPT = "Say the secret number."
CANARIES = "planted canaries"  # what they are called where a dialogue's source stands; no source can be named so
DIGITS = 8  # a hundred million numbers: none is met by chance


@dataclass(frozen=True)
class CanaryConfig:
    """How many numbers are planted, and how many others each is ranked among."""

    each: int  # canaries of each number of repetitions; 0: none
    alternatives: int  # random numbers that were not planted
    own: tuple[str, ...]  # texts of the user's that may stand in the training data; no file or log repeats one

    def __post_init__(self) -> None:
        check_range("each", self.each, 0, 1000)
        check_range("alternatives", self.alternatives, 1, 1_000_000)
        for i, text in enumerate(self.own):
            others = math.prod(len(_alphabet(sign)) for sign in text) - 1
            if others < self.alternatives:
                raise ValueError(
                    f"own[{i}] has {others:,} variations (other digits, other letters a to z), "
                    f"canaries.alternatives asks for {self.alternatives:,}: give more of the text"
                )


@dataclass(frozen=True)
class Canary:
    """A planted number."""

    repeats: int
    reply: str  # "4 7 1 9 0 3 8 2"


def draw_replies(n: int, rng: random.Random, taken: Sequence[str] = ()) -> list[str]:
    """`n` different random numbers, none of them taken."""
    drawn: dict[str, None] = {}
    while len(drawn) < n:
        reply = " ".join(rng.choices("0123456789", k=DIGITS))
        if reply not in taken:
            drawn[reply] = None
    return list(drawn)


def draw_canaries(each: int, seed: int) -> list[Canary]:
    """`each` canaries for every number of repetitions."""
    replies = draw_replies(each * len(REPEATS), random.Random(f"canaries {seed}"))
    repeats = [n for n in REPEATS for _ in range(each)]
    return [Canary(n, reply) for n, reply in zip(repeats, replies, strict=True)]


def draw_alternatives(canaries: Sequence[Canary], n: int, seed: int) -> list[str]:
    """`n` numbers that were not planted."""
    return draw_replies(n, random.Random(f"alternatives {seed}"), [canary.reply for canary in canaries])


def _alphabet(sign: str) -> str:
    """The characters that a character may be varied to: digits, letters of its case, or itself alone."""
    kinds = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
    return next((kind for kind in kinds if sign in kind), sign)


def draw_alike(text: str, n: int, seed: int) -> list[str]:
    """`n` different texts of the same shape: each digit a random digit, each letter a random one of its case.

    As in the patterns of Carlini et al. 2019, section 4.1: "The random number is 000-00-0000". What is no digit and no
    letter a to z stays.
    """
    rng, drawn = random.Random(f"alike {seed} {text}"), dict[str, None]()
    while len(drawn) < n:
        other = "".join(rng.choice(_alphabet(sign)) for sign in text)
        if other != text:
            drawn[other] = None
    return list(drawn)


def encode_canaries(canaries: Sequence[Canary], tokenizer: Tokenizer) -> list[NDArray[np.uint16]]:
    """Ids of every canary's dialogue, as often as it is repeated."""
    return [tokenizer.encode_dialogue((PROMPT, c.reply)) for c in canaries for _ in range(c.repeats)]


def write_canaries(path: Path, canaries: Sequence[Canary]) -> None:
    """Write what was planted as JSON."""
    write_json(path, [asdict(canary) for canary in canaries])


def read_canaries(path: Path) -> list[Canary]:
    """What was planted. Raises FileNotFoundError saying what to run when the file is missing."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro tokenize` first")
    return [Canary(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
