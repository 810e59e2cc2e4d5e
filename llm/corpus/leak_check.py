"""The leak gate's second opinion: the definition of a leak once more, on runs of words, without the code of the rules.

It shares with them only what a word is (`split_words`) and the rules' numbers. Runs are compared by Python's own 64-bit
hash of a tuple of words, kept in sorted arrays: 8 bytes a run of the held-out texts, whatever is trained on.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.leaks import LeakRules
from llm.corpus.normalise import split_words
from llm.dialogue import Dialogue

NAMED = 10  # leaking dialogues named in the error
RARE = 8  # held-out texts: a run that more of them have leads to none of them, or a common phrase leads to all

Runs = NDArray[np.int64]


def _runs(words: Sequence[str], n: int) -> Runs:
    """Every run of n words."""
    return np.fromiter(map(hash, zip(*(words[i:] for i in range(n)), strict=False)), np.int64)


def _concatenate(arrays: Sequence[Runs]) -> Runs:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _is_member(values: Runs, members: Runs) -> bool:
    """Whether any of the values stands among the ascending members."""
    at = np.searchsorted(members, values)
    return bool((members[np.minimum(at, len(members) - 1)] == values).any()) if len(members) else False


@dataclass(frozen=True)
class HeldOut:
    """What the held-out texts have that no trained text may repeat."""

    spans: Runs  # ascending
    whole: frozenset[int]  # each text of enough words
    sets: list[Runs]  # by such a text, its different short runs
    run: Runs  # all of them, ascending
    text: NDArray[np.int32]  # and the text each is of


def _hold_out(texts: Iterable[str], rules: LeakRules) -> HeldOut:
    spans, sets, whole = [], [], set[int]()
    for words in map(split_words, texts):
        spans.append(_runs(words, rules.span))
        key = hash(tuple(words))
        if len(words) >= rules.min_words and key not in whole:
            whole.add(key)
            sets.append(np.unique(_runs(words, rules.near_ngram)))
    run = _concatenate(sets)
    order = np.argsort(run, kind="stable")
    text = np.repeat(np.arange(len(sets), dtype=np.int32), [len(one) for one in sets])
    return HeldOut(np.unique(_concatenate(spans)), frozenset(whole), sets, run[order], text[order])


def _is_near(words: Sequence[str], held: HeldOut, rules: LeakRules) -> bool:
    """Whether a prompt is a held-out text in the same words, or is similar to one that shares a rare run with it."""
    if len(words) < rules.min_words:
        return False
    if hash(tuple(words)) in held.whole:
        return True
    runs = np.unique(_runs(words, rules.near_ngram))
    first, last = (np.searchsorted(held.run, runs, side) for side in ("left", "right"))
    rare = np.flatnonzero(last - first <= RARE)
    sharing = {i for k in rare.tolist() for i in held.text[first[k] : last[k]].tolist()}
    own = set(runs.tolist())
    return any(_similarity(own, held.sets[i], rules.near) >= rules.near - 1e-9 for i in sharing)


def _similarity(runs: set[int], other: Runs, enough: float) -> float:
    """Jaccard similarity of two sets; 0 where their sizes alone keep it below `enough`."""
    if min(len(runs), len(other)) < math.floor(enough * max(len(runs), len(other))):
        return 0.0
    both = len(runs.intersection(other.tolist()))
    return both / (len(runs) + len(other) - both)


def _leaks_of(dialogue: Dialogue, held: HeldOut, rules: LeakRules) -> str:
    """What of the dialogue leaks and by which rule, turns counted from 0; empty when nothing does."""
    turns = [split_words(turn) for turn in dialogue.turns]
    spans: list[int | str] = [i for i, words in enumerate(turns) if _is_member(_runs(words, rules.span), held.spans)]
    if _is_member(_runs(split_words(dialogue.system or ""), rules.span), held.spans):
        spans.append("system")
    prompts = turns if dialogue.kind == "document" else turns[:-1]
    near = [i for i, words in enumerate(prompts) if _is_near(words, held, rules)]
    return f"{dialogue.id} (leak_ngram in turns {spans}, leak_prompt in turns {near})" if spans or near else ""


def leaking(train: Iterable[Dialogue], held_out: Iterable[str], rules: LeakRules) -> list[str]:
    """One line for each trained dialogue that gives a held-out text away: its id, the rule and the turn."""
    held = _hold_out(held_out, rules)
    return [line for dialogue in train if (line := _leaks_of(dialogue, held, rules))]


def check_no_leaks(train: Iterable[Dialogue], held_out: Iterable[str], rules: LeakRules) -> None:
    """Raise ValueError naming the trained dialogues that give a held-out text away, if there are any."""
    found = leaking(train, held_out, rules)
    if found:
        named = "; ".join(found[:NAMED])
        raise ValueError(
            f"{len(found)} train dialogues still give held-out texts away: {named}"
            f"{' ...' if len(found) > NAMED else ''}. The gate in llm/corpus/leaks.py missed them: please report this"
        )
