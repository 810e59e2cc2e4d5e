"""The account of a cleaning: what became of every dialogue read, and what the split gives away."""

from collections.abc import Mapping, Sequence

import numpy as np

from llm.corpus.dedup import Ints
from llm.corpus.leaks import Exchanges, Mask, Overlaps, find_leaks, given_away, leaking_exchanges, mark
from llm.corpus.ledger import CODE, RULES, Codes, Ledger
from llm.corpus.split import GAP, SPLITS
from llm.dialogue import Table

EXAMPLES = 3  # ids named for each rule
DIGITS = 4

Report = dict[str, object]


def held_texts(overlaps: Overlaps, exchanges: Exchanges, held: Mask) -> Mask:
    """(T,) the prompts and replies of the masked exchanges and all questions."""
    mask = mark(len(overlaps.form), np.concatenate([exchanges.prompt[held], exchanges.reply[held]]))
    mask[len(exchanges.owner) :] = True
    return mask


def exchange_outcomes(exchanges: Exchanges, ledger: Ledger) -> Codes:
    """(E,) the outcome of each exchange: that of its dialogue."""
    return ledger.outcome[exchanges.dialogue]


def leak_rates(overlaps: Overlaps, exchanges: Exchanges, ledger: Ledger) -> dict[str, float]:
    """The shares of train exchanges that leak, and of test exchanges given away, in the ledger's split."""
    return _leak_rates(overlaps, exchanges, exchange_outcomes(exchanges, ledger))


def naive_leak_rates(
    overlaps: Overlaps, exchanges: Exchanges, val_share: float, test_share: float, seed: int
) -> dict[str, float]:
    """`leak_rates` of the usual split: every exchange drawn by itself, duplicates and all."""
    place = np.random.default_rng(seed).random(len(exchanges.prompt))
    outcomes = np.full(len(place), CODE["train"], np.uint8)
    outcomes[place < test_share + val_share] = CODE["val"]
    outcomes[place < test_share] = CODE["test"]
    return _leak_rates(overlaps, exchanges, outcomes)


def _leak_rates(overlaps: Overlaps, exchanges: Exchanges, outcomes: Codes) -> dict[str, float]:
    train, test = outcomes == CODE["train"], outcomes == CODE["test"]
    held = held_texts(overlaps, exchanges, test | (outcomes == CODE["val"]))
    leaking = leaking_exchanges(find_leaks(overlaps, exchanges, held), exchanges)
    given = given_away(overlaps, exchanges, train)
    given_exchange = given[exchanges.prompt] | given[exchanges.reply]
    return {"train_leaking": _share(leaking[train]), "test_given_away": _share(given_exchange[test])}


def short_prompts_seen(overlaps: Overlaps, exchanges: Exchanges, ledger: Ledger) -> dict[str, float]:
    """By source, the share of test prompts that are short and stand in train word by word: no leak, but easy."""
    outcomes = exchange_outcomes(exchanges, ledger)
    trained = exchanges.prompt[outcomes == CODE["train"]]
    seen = mark(overlaps.form.max(initial=-1) + 1, overlaps.form[trained])
    easy = (seen[overlaps.form] & ~overlaps.is_long)[exchanges.prompt]
    source = ledger.source[exchanges.dialogue]
    return {
        ledger.sources[number]: _share(easy[(outcomes == CODE["test"]) & (source == number)])
        for number in np.unique(source)
    }


def _share(mask: Mask) -> float:
    return round(float(mask.mean()), DIGITS) if len(mask) else 0.0


def largest_units(ledger: Ledger, units: Sequence[str]) -> dict[str, float]:
    """By source, the share of its dialogues that are in its largest unit of the split."""
    numbers: dict[str, int] = {}
    unit = np.array([numbers.setdefault(name, len(numbers)) for name in units], np.int64)
    largest = {}
    for number in np.unique(ledger.source):
        sizes = np.bincount(unit[ledger.source == number])
        largest[ledger.sources[number]] = round(float(sizes.max() / sizes.sum()), DIGITS)
    return largest


def account(table: Table, ledger: Ledger, joined: Mapping[str, int], min_test: int) -> dict[str, Report]:
    """By source, what was read, dropped and kept: read = dropped + kept in dialogues, and + joined in exchanges."""
    report = {}
    for number in np.unique(ledger.source):
        numbers = np.flatnonzero(ledger.source == number)
        source = ledger.sources[number]
        report[source] = _account_source(table, numbers, ledger.select(numbers), joined[source], min_test)
    return report


def _account_source(table: Table, numbers: Ints, part: Ledger, joined: int, min_test: int) -> Report:
    """`part` holds the dialogues of one source, `numbers` are their rows in the table."""
    kept, read = part.select(part.of(*SPLITS)), _count(part, np.arange(len(numbers)))
    last, by_section = np.cumsum(kept.n_turns) - 1, len(part.of(GAP)) > 0
    return {
        "read": {**read, "exchanges": read["exchanges"] + joined},
        "joined": {"exchanges": joined},  # around an empty turn
        "dropped": {rule: _drop(table, numbers, part, part.of(rule)) for rule in RULES},
        "kept": _count(kept, np.arange(len(kept.outcome))),
        "splits": {split: _split(part, part.of(split)) for split in SPLITS},
        "split_by": "section" if by_section else "group",
        "small": by_section or len(part.of("test")) < min_test,  # no interval: too few test dialogues, or one group
        "unique_prompts": len(np.unique(np.delete(kept.turn, last))),
        "unique_replies": len(np.unique(np.delete(kept.turn, last - kept.n_turns + 1))),
    }


def _count(part: Ledger, chosen: Ints) -> dict[str, int]:
    return {"dialogues": len(chosen), "exchanges": int(part.n_exchanges[chosen].sum())}


def _drop(table: Table, numbers: Ints, part: Ledger, dropped: Ints) -> Report:
    examples = [dialogue.id for dialogue in table.read(numbers[dropped[:EXAMPLES]])]
    return {**_count(part, dropped), "examples": examples}


def _split(part: Ledger, chosen: Ints) -> Report:
    return {**_count(part, chosen), "groups": len(np.unique(part.group[chosen]))}
