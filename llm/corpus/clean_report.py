"""The account of a cleaning: what became of every dialogue read, and what the split gives away."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.leaks import LEAK_RULES, Exchanges, Mask, Overlaps, find_leaks, given_away, leaking_exchanges, mark
from llm.corpus.split import GAP, SPLITS
from llm.dialogue import Dialogue, n_exchanges

RULES = ("empty", "long_turn", "repetition", "exact_duplicate", "near_duplicate", GAP, *LEAK_RULES)
EXAMPLES = 3  # ids named for each rule
DIGITS = 4

Report = dict[str, object]
Outcomes = NDArray[np.str_]


@dataclass
class Ledger:
    """Dialogues and the outcome of each: its split, the rule that dropped it, or "" while undecided."""

    dialogues: list[Dialogue]
    outcomes: list[str]

    def decide(self, numbers: Sequence[int], outcomes: Sequence[str]) -> None:
        """Set the outcomes of the dialogues with these numbers."""
        for number, outcome in zip(numbers, outcomes, strict=True):
            self.outcomes[number] = outcome

    def of(self, *outcomes: str) -> list[Dialogue]:
        """Dialogues with one of these outcomes, in order."""
        return [
            dialogue for dialogue, outcome in zip(self.dialogues, self.outcomes, strict=True) if outcome in outcomes
        ]

    def undecided(self) -> list[int]:
        """Numbers of the dialogues without an outcome."""
        return [i for i, outcome in enumerate(self.outcomes) if not outcome]


def held_texts(overlaps: Overlaps, exchanges: Exchanges, held: Mask) -> Mask:
    """(T,) the prompts and replies of the masked exchanges and all questions."""
    mask = mark(len(overlaps.form), np.concatenate([exchanges.prompt[held], exchanges.reply[held]]))
    mask[len(exchanges.owner) :] = True
    return mask


def exchange_outcomes(exchanges: Exchanges, ledger: Ledger) -> Outcomes:
    """(E,) the outcome of each exchange: that of its dialogue."""
    return np.array(ledger.outcomes, dtype=np.str_)[exchanges.dialogue]


def leak_rates(overlaps: Overlaps, exchanges: Exchanges, ledger: Ledger) -> dict[str, float]:
    """The shares of train exchanges that leak, and of test exchanges given away, in the ledger's split."""
    return _leak_rates(overlaps, exchanges, exchange_outcomes(exchanges, ledger))


def naive_leak_rates(
    overlaps: Overlaps, exchanges: Exchanges, val_share: float, test_share: float, seed: int
) -> dict[str, float]:
    """`leak_rates` of the usual split: every exchange drawn by itself, duplicates and all."""
    place = np.random.default_rng(seed).random(len(exchanges.prompt))
    outcomes = np.select([place < test_share, place < test_share + val_share], ["test", "val"], "train")
    return _leak_rates(overlaps, exchanges, outcomes)


def _leak_rates(overlaps: Overlaps, exchanges: Exchanges, outcomes: Outcomes) -> dict[str, float]:
    train, test = outcomes == "train", outcomes == "test"
    held = held_texts(overlaps, exchanges, test | (outcomes == "val"))
    leaking = leaking_exchanges(find_leaks(overlaps, exchanges, held), exchanges)
    given = given_away(overlaps, exchanges, train)
    given_exchange = given[exchanges.prompt] | given[exchanges.reply]
    return {"train_leaking": _share(leaking[train]), "test_given_away": _share(given_exchange[test])}


def short_prompts_seen(overlaps: Overlaps, exchanges: Exchanges, ledger: Ledger) -> dict[str, float]:
    """By source, the share of test prompts that are short and stand in train word by word: no leak, but easy."""
    outcomes = exchange_outcomes(exchanges, ledger)
    seen = mark(overlaps.form.max(initial=-1) + 1, overlaps.form[exchanges.prompt[outcomes == "train"]])
    easy = (seen[overlaps.form] & ~overlaps.is_long)[exchanges.prompt]
    source = np.array([dialogue.source for dialogue in ledger.dialogues], dtype=np.str_)[exchanges.dialogue]
    return {name: _share(easy[(outcomes == "test") & (source == name)]) for name in np.unique(source).tolist()}


def _share(mask: Mask) -> float:
    return round(float(mask.mean()), DIGITS) if len(mask) else 0.0


def largest_units(ledger: Ledger, units: Sequence[str]) -> dict[str, float]:
    """By source, the share of its dialogues that are in its largest unit of the split."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for dialogue, unit in zip(ledger.dialogues, units, strict=True):
        sizes[dialogue.source][unit] += 1
    return {name: round(max(counts.values()) / counts.total(), DIGITS) for name, counts in sizes.items()}


def account(ledger: Ledger, joined: Mapping[str, int], min_test: int) -> dict[str, Report]:
    """By source, what was read, dropped and kept: read = dropped + kept in dialogues, and + joined in exchanges."""
    parts: dict[str, Ledger] = defaultdict(lambda: Ledger([], []))
    for dialogue, outcome in zip(ledger.dialogues, ledger.outcomes, strict=True):
        parts[dialogue.source].dialogues.append(dialogue)
        parts[dialogue.source].outcomes.append(outcome)
    return {source: _account_source(part, joined[source], min_test) for source, part in parts.items()}


def _account_source(part: Ledger, joined: int, min_test: int) -> Report:
    kept, read = part.of(*SPLITS), _count(part.dialogues)
    by_section = bool(part.of(GAP))
    return {
        "read": {**read, "exchanges": read["exchanges"] + joined},
        "joined": {"exchanges": joined},  # around an empty turn
        "dropped": {rule: _drop(part.of(rule)) for rule in RULES},
        "kept": _count(kept),
        "splits": {split: _split(part.of(split)) for split in SPLITS},
        "split_by": "section" if by_section else "group",
        "small": by_section or len(part.of("test")) < min_test,  # no interval: too few test dialogues, or one group
        "unique_prompts": len({turn for dialogue in kept for turn in dialogue.turns[:-1]}),
        "unique_replies": len({turn for dialogue in kept for turn in dialogue.turns[1:]}),
    }


def _count(dialogues: Sequence[Dialogue]) -> dict[str, int]:
    return {"dialogues": len(dialogues), "exchanges": sum(map(n_exchanges, dialogues))}


def _drop(dialogues: Sequence[Dialogue]) -> Report:
    return {**_count(dialogues), "examples": [dialogue.id for dialogue in dialogues[:EXAMPLES]]}


def _split(dialogues: Sequence[Dialogue]) -> Report:
    return {**_count(dialogues), "groups": len({dialogue.group for dialogue in dialogues})}
