"""From raw dialogues to train, val and test: repaired, each kept once, split by what belongs together, and no leaks.

The report accounts for every dialogue read: it is in a split or dropped by one named rule. All of them lie in an Arrow
file; in memory are hashes, and of the texts a batch at a time.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llm.corpus.clean_report import (
    Report,
    account,
    exchange_outcomes,
    held_texts,
    largest_units,
    leak_rates,
    naive_leak_rates,
    short_prompts_seen,
)
from llm.corpus.dedup import Ints, Words, join_texts, map_words, repeated, select_texts, text_forms
from llm.corpus.leak_check import check_no_leaks
from llm.corpus.leaks import (
    SYSTEM,
    Exchanges,
    LeakRules,
    Overlaps,
    find_leaks,
    find_links,
    find_overlaps,
    learned_texts,
    list_exchanges,
)
from llm.corpus.ledger import CODE, Codes, Ledger, LedgerWriter, codes, first_equal
from llm.corpus.near import similar_forms
from llm.corpus.normalise import broken_rule, normalise_text, normalise_turns
from llm.corpus.split import GAP, SPLITS, join_groups, split_units
from llm.dialogue import Dialogue, Table, n_exchanges, open_table, write_table
from llm.files import working_folder
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


def repaired(dialogue: Dialogue) -> Dialogue | None:
    """The dialogue or document with its texts repaired; None when too little of it is left."""
    if dialogue.kind == "document":
        text = normalise_text(dialogue.turns[0])
        return replace(dialogue, turns=(text,)) if text else None
    turns, system = normalise_turns(dialogue.turns), normalise_text(dialogue.system or "") or None
    return replace(dialogue, turns=turns, system=system) if len(turns) > 1 else None


def repair(sources: Mapping[str, Iterable[Dialogue]], config: CleanConfig, path: Path) -> tuple[Ledger, Counter[str]]:
    """Write all dialogues repaired as the table `path`; the account of them, and exchanges lost by joining turns.

    A dialogue that breaks a rule is in the table too, one without texts as it was read. The exchanges are by source.
    Raises ValueError when two dialogues have one id.
    """
    writer, joined = LedgerWriter(tuple(sources)), Counter[str]()

    def noted() -> Iterator[Dialogue]:
        for source, dialogues in sources.items():
            for dialogue in dialogues:
                kept = repaired(dialogue)
                rule = broken_rule(kept.texts, config.max_turn_chars, config.max_repetition) if kept else "empty"
                kept = kept or dialogue
                writer.add(source, kept, rule or "")
                joined[source] += n_exchanges(dialogue) - n_exchanges(kept)
                yield kept

    write_table(path, noted())
    ledger, again = writer.close()
    if again is not None:
        (dialogue,) = open_table(path).read(np.array([again]))
        source = ledger.sources[ledger.source[again]]
        raise ValueError(f"{source}: the id {dialogue.id!r} occurs twice: make ids unique over all sources")
    return ledger, joined


def find_duplicates(words: Words, ledger: Ledger, config: CleanConfig) -> tuple[Codes, Ints]:
    """The outcome of each dialogue, undecided for the first of its kind, and all pairs that are nearly the same.

    `words` are those of the dialogues as wholes. Each repetition of the same words is paired with the first only.
    """
    form = text_forms(words)
    near = similar_forms(words, form, config.near_ngram, config.near_duplicate, config.near_min_words)
    first = np.unique(form, return_index=True)[1]  # by form
    again = np.flatnonzero((words.counts >= config.near_min_words) & (np.arange(len(form)) != first[form]))
    near_copy = repeated(len(first), near)[form] & (words.counts >= config.near_min_words)
    near_copy[again] = True
    outcomes = np.where(near_copy, CODE["near_duplicate"], CODE[""]).astype(np.uint8)
    outcomes[first_equal(ledger.content) != np.arange(len(form))] = CODE["exact_duplicate"]
    return outcomes, np.concatenate([first[near], np.stack([first[form[again]], again], axis=1)])


def find_units(dialogues: Iterable[Dialogue], ledger: Ledger, links: Ints, join_share: float) -> list[str]:
    """The unit of the split that each dialogue belongs to: its group and the groups of its source linked to it."""
    within = links[ledger.source[links[:, 0]] == ledger.source[links[:, 1]]]
    return join_groups([f"{dialogue.source}/{dialogue.group}" for dialogue in dialogues], within, join_share)


def assign_splits(ledger: Ledger, units: Sequence[str], config: CleanConfig, seed: int) -> None:
    """Put every undecided dialogue into a split, each source split by itself.

    Raises ValueError naming the source that is too small.
    """
    undecided = ledger.of("")
    for source in np.unique(ledger.source[undecided]):
        numbers = undecided[ledger.source[undecided] == source]
        names = [units[i] for i in numbers.tolist()]
        try:
            chosen = split_units(names, config.val_share, config.test_share, config.min_test_dialogues, seed)
        except ValueError as error:
            raise ValueError(f"{ledger.sources[source]}: {error}") from error
        if GAP in chosen:
            logger.warning(
                "%s: too few groups to hold two of them out whole, it is cut in three: to train, validate and test",
                ledger.sources[source],
            )
        elif (n_test := chosen.count("test")) < config.min_test_dialogues:
            tied = max(Counter(names).values())
            logger.warning(
                "%s: %d test dialogues, its figures have no interval%s",
                ledger.sources[source],
                n_test,
                f"; {tied} of its {len(names)} dialogues belong together or nearly repeat one another, so that none of "
                "these can be held out without the others"
                if 2 * tied > len(names)
                else "",
            )
        ledger.outcome[numbers] = codes(chosen)


def drop_leaks(ledger: Ledger, overlaps: Overlaps, exchanges: Exchanges, config: CleanConfig) -> None:
    """Drop train dialogues that give a held-out text away, by the rule they break.

    Raises ValueError naming a source of which nothing is left.
    """
    held = np.isin(exchange_outcomes(exchanges, ledger), codes(("val", "test")))
    for rule, leaking in find_leaks(overlaps, exchanges, held_texts(overlaps, exchanges, held)).items():
        numbers = np.unique(exchanges.owner[leaking])
        ledger.outcome[numbers[ledger.outcome[numbers] == CODE["train"]]] = CODE[rule]
    for source in np.setdiff1d(ledger.source[ledger.of("val", "test")], ledger.source[ledger.of("train")]):
        raise ValueError(
            f"{ledger.sources[source]}: whatever would be trained on shares {config.leak_ngram} words in a row with "
            "what is held out, or nearly repeats it: take out what its texts have in common, a template perhaps"
        )


def verify(
    table: Table, ledger: Ledger, questions: Sequence[str], rules: LeakRules, advance: Callable[[int], object]
) -> None:
    """Raise ValueError when the separately written check finds a leak that the gate left."""
    train = ledger.of("train")
    held_out = (turn for dialogue in table.read(ledger.of("val", "test")) for turn in dialogue.turns)
    logger.info("checking %d train dialogues against the held-out texts", len(train))
    check_no_leaks(watched(table.read(train), len(train), advance), chain(held_out, questions), rules)


def watched(dialogues: Iterable[Dialogue], n: int, advance: Callable[[int], object]) -> Iterator[Dialogue]:
    """The `n` dialogues; `advance` is told how many per cent more are done, CHECKED of them in all."""
    for i, dialogue in enumerate(dialogues):
        yield dialogue
        advance((i + 1) * CHECKED // n - i * CHECKED // n)


def clean(
    sources: Mapping[str, Iterable[Dialogue]], questions: Sequence[str], config: CleanConfig, seed: int, folder: Path
) -> Report:
    """Write the cleaned, leak-free dialogues into `folder`, <split>.arrow each, in the order read; the report.

    `questions` are the texts of held-out question sets. Of duplicates the one read first is kept.
    Raises ValueError if the gate's own verification finds a leak.
    """
    with working_folder(folder.with_name(f".{folder.name}")) as working:
        return _clean(sources, [normalise_text(text) for text in questions], config, seed, folder, working)


def _clean(
    sources: Mapping[str, Iterable[Dialogue]],
    questions: Sequence[str],
    config: CleanConfig,
    seed: int,
    folder: Path,
    working: Path,
) -> Report:
    with tqdm(total=100, desc="clean", bar_format=BAR, mininterval=1.0) as bar:
        read, joined = repair(sources, config, working / "repaired.arrow")
        table, fit = open_table(working / "repaired.arrow"), read.of("")
        ledger = read.select(fit)
        logger.info("%d of %d dialogues pass the rules", len(fit), len(read.outcome))
        bar.update(READ)
        learned = (text for dialogue in table.read(fit) for text in learned_texts(dialogue))
        words = map_words(chain(learned, questions), working / "words.bin")
        overlaps = find_overlaps(words, config.leak_rules)
        exchanges = list_exchanges(table.read(fit))
        bar.update(OVERLAPS)
        if (system := exchanges.role == SYSTEM).any():
            words = select_texts(words, np.flatnonzero(~system))
        whole = join_texts(words, ledger.n_turns)
        ledger.outcome[:], near = find_duplicates(whole, ledger, config)
        del words, whole
        links = np.concatenate([find_links(overlaps, exchanges), near])
        units = find_units(table.read(fit), ledger, links, config.join_share)
        assign_splits(ledger, units, config, seed)
        largest = largest_units(ledger, units)
        del links, units
        before_gate = leak_rates(overlaps, exchanges, ledger)
        drop_leaks(ledger, overlaps, exchanges, config)
        bar.update(SPLIT)
        read.outcome[fit] = ledger.outcome
        report = {
            "leaks": {
                "naive_split": naive_leak_rates(overlaps, exchanges, config.val_share, config.test_share, seed),
                "before_gate": before_gate,
                "after_gate": leak_rates(overlaps, exchanges, ledger),
            },
            "sources": account(table, read, joined, config.min_test_dialogues),
            "short_prompts_seen": short_prompts_seen(overlaps, exchanges, ledger),
            "largest_unit": largest,
        }
        del overlaps, exchanges
        verify(table, read, questions, config.leak_rules, bar.update)
        for split in SPLITS:
            table.copy(read.of(split), folder / f"{split}.arrow")
    return report
