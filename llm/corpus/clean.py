"""From raw dialogues to train, val and test: repaired, each kept once, split by what belongs together, and no leaks.

The report accounts for every dialogue read: it is in a split or dropped by one named rule.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from tqdm import tqdm

from llm.corpus.clean_report import (
    Ledger,
    account,
    exchange_outcomes,
    held_texts,
    largest_units,
    leak_rates,
    naive_leak_rates,
    short_prompts_seen,
)
from llm.corpus.dedup import Ints, exact_duplicates, hash_words, repeated, text_forms
from llm.corpus.leak_check import check_no_leaks
from llm.corpus.leaks import (
    Exchanges,
    LeakRules,
    Overlaps,
    find_leaks,
    find_links,
    find_overlaps,
    learned_texts,
    list_exchanges,
)
from llm.corpus.near import similar_forms
from llm.corpus.normalise import broken_rule, normalise_text, normalise_turns
from llm.corpus.split import GAP, SPLITS, join_groups, split_units
from llm.dialogue import Dialogue, n_exchanges
from llm.ranges import check_range

# Per cent of the stage's time: to read and repair, find overlaps, split, check. The bar shows no count, for these are
# unequal things.
READ, OVERLAPS, SPLIT, CHECKED = 15, 35, 15, 35
BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleanConfig:
    """What a dialogue must be to be learned from, and how the held-out ones are chosen and protected."""

    max_turn_chars: int
    max_repetition: float
    near_ngram: int  # words
    near_duplicate: float  # Jaccard similarity of two whole dialogues
    near_prompt: float  # Jaccard similarity of a prompt and a held-out text
    near_min_words: int
    leak_ngram: int  # words
    join_share: float
    val_share: float
    test_share: float
    min_test_dialogues: int
    truth_data: str | None  # path or URL of TruthfulQA.csv
    truth_data_sha256: str | None

    def __post_init__(self) -> None:
        check_range("max_turn_chars", self.max_turn_chars, 1, 1_000_000)
        check_range("max_repetition", self.max_repetition, 0.01, 1)
        check_range("near_ngram", self.near_ngram, 1, 20)
        check_range("near_duplicate", self.near_duplicate, 0.1, 1)
        check_range("near_prompt", self.near_prompt, 0.1, 1)
        check_range("near_min_words", self.near_min_words, self.near_ngram, 1000)
        check_range("leak_ngram", self.leak_ngram, 3, 100)
        check_range("join_share", self.join_share, 0, 1)
        check_range("val_share", self.val_share, 0.001, 0.4)
        check_range("test_share", self.test_share, 0.001, 0.4)
        check_range("min_test_dialogues", self.min_test_dialogues, 1, 100_000)
        if self.truth_data is None and self.truth_data_sha256 is not None:
            raise ValueError("truth_data_sha256 is given, truth_data is null: name TruthfulQA.csv there, path or URL")

    @property
    def leak_rules(self) -> LeakRules:
        """The part that the leak gate needs."""
        return LeakRules(self.leak_ngram, self.near_ngram, self.near_prompt, self.near_min_words)


@dataclass(frozen=True)
class Cleaned:
    """The dialogues of each split, in the order read, and the account of all that were read."""

    splits: dict[str, list[Dialogue]]
    report: dict[str, object]


def repair(sources: Mapping[str, Iterable[Dialogue]], config: CleanConfig) -> tuple[Ledger, Counter[str]]:
    """All dialogues read and repaired, those that break a rule dropped; exchanges lost by joining turns, by source.

    Raises ValueError when two dialogues have one id.
    """
    ledger, joined, ids = Ledger([], []), Counter[str](), set()
    for source, dialogues in sources.items():
        for dialogue in dialogues:
            if dialogue.id in ids:
                raise ValueError(f"{source}: the id {dialogue.id!r} occurs twice: make ids unique over all sources")
            ids.add(dialogue.id)
            turns = normalise_turns(dialogue.turns)
            rule = broken_rule(turns, config.max_turn_chars, config.max_repetition)
            ledger.dialogues.append(dialogue if rule == "empty" else replace(dialogue, turns=turns))
            ledger.outcomes.append(rule or "")
            joined[source] += n_exchanges(dialogue) - n_exchanges(ledger.dialogues[-1])
    return ledger, joined


def find_duplicates(dialogues: Sequence[Dialogue], config: CleanConfig) -> tuple[list[str], Ints]:
    """The outcome of each dialogue, "" for the first of its kind, and all pairs that are nearly the same.

    Dialogues are compared as wholes. Each repetition of the same words is paired with the first only.
    """
    words = hash_words(" ".join(dialogue.turns) for dialogue in dialogues)
    form = text_forms(words)
    near = similar_forms(words, form, config.near_ngram, config.near_duplicate, config.near_min_words)
    first = np.unique(form, return_index=True)[1]  # by form
    again = np.flatnonzero((words.counts >= config.near_min_words) & (np.arange(len(form)) != first[form]))
    near_copy = repeated(len(first), near)[form] & (words.counts >= config.near_min_words)
    near_copy[again] = True
    exact = exact_duplicates([dialogue.turns for dialogue in dialogues])
    outcomes = [
        "exact_duplicate" if earlier is not None else "near_duplicate" if is_near else ""
        for earlier, is_near in zip(exact, near_copy.tolist(), strict=True)
    ]
    return outcomes, np.concatenate([first[near], np.stack([first[form[again]], again], axis=1)])


def find_units(dialogues: Sequence[Dialogue], links: Ints, join_share: float) -> list[str]:
    """The unit of the split that each dialogue belongs to: its group and the groups of its source linked to it."""
    sources = np.array([dialogue.source for dialogue in dialogues])
    within = links[sources[links[:, 0]] == sources[links[:, 1]]]
    return join_groups([f"{dialogue.source}/{dialogue.group}" for dialogue in dialogues], within, join_share)


def assign_splits(ledger: Ledger, units: Sequence[str], config: CleanConfig, seed: int) -> None:
    """Put every undecided dialogue into a split, each source split by itself.

    Raises ValueError naming the source that is too small.
    """
    by_source: dict[str, list[int]] = defaultdict(list)
    for i in ledger.undecided():
        by_source[ledger.dialogues[i].source].append(i)
    for source, numbers in by_source.items():
        names = [units[i] for i in numbers]
        try:
            chosen = split_units(names, config.val_share, config.test_share, config.min_test_dialogues, seed)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        if GAP in chosen:
            logger.warning("%s: no two groups are small enough to be held out; it is split by section", source)
        ledger.decide(numbers, chosen)


def drop_leaks(ledger: Ledger, overlaps: Overlaps, exchanges: Exchanges, config: CleanConfig) -> None:
    """Drop train dialogues that give a held-out text away, by the rule they break.

    Raises ValueError naming a source of which nothing is left.
    """
    held = held_texts(overlaps, exchanges, np.isin(exchange_outcomes(exchanges, ledger), ("val", "test")))
    for rule, leaking in find_leaks(overlaps, exchanges, held).items():
        numbers = [i for i in np.unique(exchanges.owner[leaking]).tolist() if ledger.outcomes[i] == "train"]
        ledger.decide(numbers, [rule] * len(numbers))
    trained, held_out = (
        {dialogue.source for dialogue in ledger.of(*splits)} for splits in (["train"], ["val", "test"])
    )
    for source in sorted(held_out - trained):
        raise ValueError(
            f"{source}: whatever would be trained on shares {config.leak_ngram} words in a row with what is held "
            "out, or nearly repeats it: take out what its texts have in common, a template perhaps"
        )


def verify(ledger: Ledger, questions: Sequence[str], rules: LeakRules, advance: Callable[[int], object]) -> None:
    """Raise ValueError when the separately written check finds a leak that the gate left."""
    train = ledger.of("train")
    held_out = [turn for dialogue in ledger.of("val", "test") for turn in dialogue.turns]
    logger.info("checking %d train dialogues against the held-out texts", len(train))
    check_no_leaks(watched(train, advance), [*held_out, *questions], rules)


def watched(dialogues: Sequence[Dialogue], advance: Callable[[int], object]) -> Iterator[Dialogue]:
    """The dialogues; `advance` is told how many per cent more are done, CHECKED of them in all."""
    for i, dialogue in enumerate(dialogues):
        yield dialogue
        advance((i + 1) * CHECKED // len(dialogues) - i * CHECKED // len(dialogues))


def clean(
    sources: Mapping[str, Iterable[Dialogue]], questions: Sequence[str], config: CleanConfig, seed: int
) -> Cleaned:
    """The cleaned, split and leak-free dialogues of all sources, each source in the order read.

    `questions` are the texts of held-out question sets. Of duplicates the one read first is kept.
    Raises ValueError if the gate's own verification finds a leak.
    """
    questions = [normalise_text(text) for text in questions]
    with tqdm(total=100, desc="clean", bar_format=BAR, mininterval=1.0) as bar:
        read, joined = repair(sources, config)
        fit = read.undecided()
        ledger = Ledger([read.dialogues[i] for i in fit], [])
        logger.info("%d of %d dialogues pass the rules", len(fit), len(read.outcomes))
        bar.update(READ)
        learned = (text for dialogue in ledger.dialogues for text in learned_texts(dialogue))
        overlaps = find_overlaps(hash_words(chain(learned, questions)), config.leak_rules)
        exchanges = list_exchanges(ledger.dialogues)
        bar.update(OVERLAPS)
        ledger.outcomes, near = find_duplicates(ledger.dialogues, config)
        links = np.concatenate([find_links(overlaps, exchanges), near])
        units = find_units(ledger.dialogues, links, config.join_share)
        assign_splits(ledger, units, config, seed)
        before_gate = leak_rates(overlaps, exchanges, ledger)
        drop_leaks(ledger, overlaps, exchanges, config)
        bar.update(SPLIT)
        verify(ledger, questions, config.leak_rules, bar.update)
    read.decide(fit, ledger.outcomes)
    report = {
        "leaks": {
            "naive_split": naive_leak_rates(overlaps, exchanges, config.val_share, config.test_share, seed),
            "before_gate": before_gate,
            "after_gate": leak_rates(overlaps, exchanges, ledger),
        },
        "sources": account(read, joined, config.min_test_dialogues),
        "short_prompts_seen": short_prompts_seen(overlaps, exchanges, ledger),
        "largest_unit": largest_units(ledger, units),
    }
    return Cleaned({split: read.of(split) for split in SPLITS}, report)
