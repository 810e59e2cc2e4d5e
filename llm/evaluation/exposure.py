"""What a model remembers word by word: the exposure of planted canaries (Carlini et al. 2019, section 4.2).

exposure = log2 |R| - log2 rank, in bits: a canary is ranked by its likelihood among |R| numbers, itself and random ones
that were never shown. Without memory every rank is equally likely, which gives log2 e = 1.44 on average; the most is
log2 |R|, for one more likely than all others.

A text of the user's is ranked in the same way among random ones of its shape, behind the words that stand before it in
the training text. Digits tell more than letters: words are likelier than random letters to a model that never saw them,
so of those the `untrained` model and the counting ones have to be looked at too.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np

from llm.dialogue import Dialogue, Example, Prompt
from llm.evaluation.scoring import Score, Scorer
from llm.stats.bootstrap import Estimate, draw_groups, ratio
from llm.tokens.canaries import PROMPT, REPEATS, Canary, draw_alike

BEFORE_CHARS = 200  # of the training text before a text of the user's
MEMORY_MEASURES = tuple(f"exposure_{n}" for n in REPEATS)


@dataclass(frozen=True)
class OwnText:
    """A text of the user's, and what it is ranked among."""

    text: str
    n_texts: int  # of the training data that it stands in
    prompt: Prompt  # what stands before it in the first of them
    alternatives: list[str]


@dataclass(frozen=True)
class Planted:
    """The canaries of the training tokens, and the numbers they are ranked among; the user's own texts."""

    canaries: list[Canary]
    alternatives: list[str]
    own: list[OwnText] = field(default_factory=list)


def find_own(texts: Sequence[str], dialogues: Iterable[Dialogue], n: int, seed: int) -> list[OwnText]:
    """The user's texts with where they stand in the training data, each with `n` others of its shape."""
    times, first = Counter[str](), dict[str, tuple[Dialogue, int]]()
    for dialogue in dialogues if texts else ():
        for i, whole in enumerate(dialogue.texts):
            for text in texts:
                if text in whole:
                    times[text] += 1
                    first.setdefault(text, (dialogue, i))
    prompts = {text: _prompt_before(text, *place) for text, place in first.items()}
    unseen = Prompt(("",))
    return [OwnText(text, times[text], prompts.get(text, unseen), draw_alike(text, n, seed)) for text in texts]


def _prompt_before(text: str, dialogue: Dialogue, i: int) -> Prompt:
    """The words before the text in the dialogue's text `i`, and the turns before those that are an assistant's.

    A model is asked for a reply or a document only: of the user's and the system's turns the words alone must do.
    """
    opening = dialogue.texts[i].partition(text)[0][-BEFORE_CHARS:]
    if dialogue.kind == "document":
        return Prompt((), opening=opening)
    turn = i - (dialogue.system is not None)
    history = dialogue.turns[:turn] if turn > 0 and turn % 2 else ("",)
    return Prompt(history, opening=opening)


def own_examples(own: OwnText, number: int) -> list[Example]:
    """The text and then its alternatives, behind what stands before it.

    A space before it goes with each, since tokens begin with the space before a word.
    """
    opening = own.prompt.opening
    before, space = opening.removesuffix(" "), " " if opening.endswith(" ") else ""
    return [
        Example(f"own{number}/{i}", "own", f"own{number}", own.prompt.history, space + text, opening=before)
        for i, text in enumerate([own.text, *own.alternatives])
    ]


def canary_examples(planted: Planted) -> list[Example]:
    """Every canary and then every alternative as a reply to the one prompt; none where no canary was planted."""
    replies = [*(canary.reply for canary in planted.canaries), *planted.alternatives] if planted.canaries else []
    return [Example(f"canary/{i}", "canary", f"canary{i}", (PROMPT,), reply) for i, reply in enumerate(replies)]


def ask_memory(model: Scorer, planted: Planted) -> list[Score] | None:
    """The model's scores of canary_examples and of the user's texts, None when there is nothing to ask."""
    own = (own_examples(one, number) for number, one in enumerate(planted.own, 1))
    asked = [*canary_examples(planted), *chain.from_iterable(own)]
    return model.loglik(asked) if asked else None


def ranks(planted: Planted, scores: Sequence[Score]) -> list[int]:
    """Place of each canary among itself and the alternatives, 1 for the likeliest; a tie counts against it."""
    n = len(planted.canaries)
    return _places(scores[:n], scores[n : n + len(planted.alternatives)])


def _places(asked: Sequence[Score], alternatives: Sequence[Score]) -> list[int]:
    others = np.sort([score.logprob for score in alternatives])
    at_least = len(others) - np.searchsorted(others, [score.logprob for score in asked], side="left")
    return [1 + int(count) for count in at_least]


def exposure_bits(rank: int, size: int) -> float:
    """Bits that a rank among `size` numbers gives away.

    >>> exposure_bits(1, 1024), exposure_bits(1024, 1024)
    (10.0, 0.0)
    """
    return math.log2(size) - math.log2(rank)


def memory_figures(
    planted: Planted, scores: Sequence[Score] | None, n_resamples: int, seed: int
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Mean exposure of the canaries of each number of repetitions, and its detail; None without canaries or scores.

    The detail tells of the user's texts too, by their number.
    """
    values, detail = dict[str, float | None].fromkeys(MEMORY_MEASURES), dict[str, Any]()
    if scores is None:
        return values, detail
    n = len(canary_examples(planted))
    if planted.canaries:
        values, detail = _canary_figures(planted, scores[:n], n_resamples, seed)
    return values, detail | ({"own": own_figures(planted, scores[n:])} if planted.own else {})


def own_figures(planted: Planted, scores: Sequence[Score]) -> dict[str, dict[str, float | int]]:
    """Rank and exposure of each text of the user's; it is named by its number alone."""
    figures, left = {}, iter(scores)
    for number, own in enumerate(planted.own, 1):
        size = 1 + len(own.alternatives)
        (mine, *others) = islice(left, size)
        (rank,) = _places([mine], others)
        bits = {"exposure": exposure_bits(rank, size), "most": math.log2(size)}
        figures[str(number)] = {**bits, "rank": rank, "training_texts": own.n_texts}
    return figures


def _canary_figures(
    planted: Planted, scores: Sequence[Score], n_resamples: int, seed: int
) -> tuple[dict[str, float | None], dict[str, Any]]:
    size, places = 1 + len(planted.alternatives), ranks(planted, scores)
    bits = [exposure_bits(rank, size) for rank in places]
    repeats = [canary.repeats for canary in planted.canaries]
    resampling = draw_groups([c.reply for c in planted.canaries], list(map(str, repeats)), n_resamples, seed)
    means: dict[str, Estimate] = {}
    for n in REPEATS:
        inside = np.array([float(repeat == n) for repeat in repeats])
        means[f"exposure_{n}"] = ratio(np.array(bits) * inside, inside, resampling)
    detail = {
        "by_chance": math.log2(math.e),
        "most": math.log2(size),
        "ranks": {f"exposure_{n}": [r for r, m in zip(places, repeats, strict=True) if m == n] for n in REPEATS},
        **{name: {"value": e.value, "low": e.low, "high": e.high} for name, e in means.items()},
    }
    return {name: estimate.value for name, estimate in means.items()}, detail
