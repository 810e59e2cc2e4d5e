"""The leak gate's second opinion: its rules once more, in plain Python on words, without the code of leaks.py."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from llm.corpus.leaks import LeakRules
from llm.corpus.normalise import split_words
from llm.dialogue import Dialogue

NAMED = 10  # leaking dialogues named in the error


def _runs(words: Sequence[str], n: int) -> set[int]:
    """Every run of n words, as Python's 64-bit hash: a tenth of the memory of the text."""
    return {hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1)}


class _NearIndex:
    """Finds whether any of many texts is similar to a given one."""

    def __init__(self, texts: Iterable[list[str]], rules: LeakRules) -> None:
        self.rules = rules
        self.sets = [_runs(words, rules.near_ngram) for words in texts if len(words) >= rules.min_words]
        self.holders: dict[int, list[int]] = defaultdict(list)
        for i, runs in enumerate(self.sets):
            for run in runs:
                self.holders[run].append(i)

    def has_near(self, words: list[str]) -> bool:
        if len(words) < self.rules.min_words:
            return False
        runs = _runs(words, self.rules.near_ngram)
        # A similar text holds at least this many of the runs, so it holds one of any len(runs) - needed + 1.
        needed = math.ceil(self.rules.near * len(runs) - 1e-9)
        rarest = sorted(runs, key=lambda run: len(self.holders.get(run, ())))[: len(runs) - needed + 1]
        candidates = {i for run in rarest for i in self.holders.get(run, ())}
        return any(len(runs & self.sets[i]) >= self.rules.near * len(runs | self.sets[i]) - 1e-9 for i in candidates)


def leaking(train: Iterable[Dialogue], held_out: Iterable[str], rules: LeakRules) -> list[str]:
    """One line for each trained dialogue that gives a held-out text away: its id, the rule and the turn."""
    held = [split_words(text) for text in held_out]
    spans = {run for words in held for run in _runs(words, rules.span)}
    index = _NearIndex(held, rules)
    found = []
    for dialogue in train:
        turns = [split_words(turn) for turn in dialogue.turns]
        span = [i for i, words in enumerate(turns) if i and not spans.isdisjoint(_runs(words, rules.span))]
        near = [i for i, words in enumerate(turns[:-1]) if index.has_near(words)]
        if span or near:
            found.append(f"{dialogue.id} (leak_ngram in turns {span}, leak_prompt in turns {near})")
    return found


def check_no_leaks(train: Iterable[Dialogue], held_out: Iterable[str], rules: LeakRules) -> None:
    """Raise ValueError naming the trained dialogues that give a held-out text away, if there are any."""
    found = leaking(train, held_out, rules)
    if found:
        named = "; ".join(found[:NAMED])
        raise ValueError(
            f"{len(found)} train dialogues still give held-out texts away: {named}"
            f"{' ...' if len(found) > NAMED else ''}. The gate in llm/corpus/leaks.py missed them: please report this"
        )
