"""The leak gate's second opinion: its rules once more, in plain Python on words, without the code of `llm.leaks`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from llm.dialogue import Dialogue
from llm.leaks import LeakRules
from llm.normalise import split_words

NAMED = 10  # leaking dialogues named in the error


def _runs(words: Sequence[str], n: int) -> set[str]:
    return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}


class _NearIndex:
    """Finds texts similar to a given one among many."""

    def __init__(self, texts: Iterable[list[str]], rules: LeakRules) -> None:
        self.rules = rules
        self.sizes: list[int] = []
        self.holders: dict[str, list[int]] = defaultdict(list)
        for words in {tuple(words) for words in texts if len(words) >= rules.min_words}:
            runs = _runs(words, rules.near_ngram)
            for run in runs:
                self.holders[run].append(len(self.sizes))
            self.sizes.append(len(runs))

    def has_near(self, words: list[str]) -> bool:
        if len(words) < self.rules.min_words:
            return False
        runs = _runs(words, self.rules.near_ngram)
        shared = Counter(holder for run in runs for holder in self.holders.get(run, ()))
        return any(n >= self.rules.near * (len(runs) + self.sizes[i] - n) - 1e-9 for i, n in shared.items())


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
    """Nothing; ValueError naming the trained dialogues that give a held-out text away."""
    found = leaking(train, held_out, rules)
    if found:
        named = "; ".join(found[:NAMED])
        raise ValueError(
            f"{len(found)} train dialogues still give held-out texts away: {named}"
            f"{' ...' if len(found) > NAMED else ''}. The gate in llm/leaks.py missed them: please report this"
        )
