"""Leaks planted among real texts are found, and little else is taken for one."""

import random
from difflib import SequenceMatcher

import pytest

from llm.corpus.normalise import normalise_turns, split_words
from llm.corpus.questions import read_questions
from llm.corpus.truthfulqa import read_truthfulqa
from llm.dialogue import Dialogue
from llm.fetching.download import HttpConfig
from llm.sources.chitchat import read_chitchat
from llm.sources.cornell import CornellConfig, read_cornell
from tests.corpus.planted import curated, measure
from tests.corpus.test_leaks import found

STRANGE = ("Tell me something.", "I would rather not say.")  # the other half of a planted exchange
FILLER = "quite"  # the word put in by an edit


def recased(text, rng):
    """The text in other letters or punctuation, which changes no word."""
    return rng.choice((text, text.upper(), text.replace("?", " ...")))


def edited(text, rng):
    """The text with one word changed, left out or put in, in other letters and punctuation."""
    words = text.split()
    i = rng.randrange(len(words))
    rest = words[i + 1 :]
    words = rng.choice(([*words[:i], FILLER, *rest], [*words[:i], *rest], [*words[:i], FILLER, words[i], *rest]))
    return recased(" ".join(words), rng)


def run_of_words(text, n, rng):
    """`n` words of the text in a row, without the punctuation around them; None when it has no more than that."""
    words = split_words(text)
    if len(words) <= n:
        return None
    start = rng.randrange(len(words) - n)
    return " ".join(words[start : start + n])


def plant(texts, rng):
    """Train dialogues that give held-out texts away, and some that only come close, by kind."""
    planted = {"exact": [], "span": [], "near": [], "harmless": []}
    for text in texts:
        n = len(split_words(text))
        if n >= 13:
            planted["span"].append(
                (STRANGE[0], f"Somebody once wrote {run_of_words(text + ' so', 13, rng)}, and left.")
            )
        if n > 13:
            planted["harmless"].append((STRANGE[0], f"Somebody wrote {run_of_words(text, 12, rng)} {FILLER} once."))
        if n >= 8:
            planted["exact"].append((recased(text, rng), STRANGE[1]))
        if 9 <= n <= 40:
            planted["near"].append((edited(text, rng), STRANGE[1]))
            thinned = " ".join(word if i % 3 else FILLER for i, word in enumerate(text.split()))
            planted["harmless"].append((thinned, STRANGE[1]))
    return {
        kind: [Dialogue(f"planted-{kind}-{i}", "eli5", f"{kind}-{i}", turns) for i, turns in enumerate(rows)]
        for kind, rows in planted.items()
    }


def repeats(dialogue, held):
    """Whether a real dialogue repeats a held-out text, seen without the gate's n-grams: films quote each other.

    A turn shares 13 words in a row with one, or its first turn has, in order, three quarters of its words.
    """
    turns = [split_words(turn) for turn in dialogue.turns]
    texts = [split_words(text) for text in held]
    joined = "\n".join(f" {' '.join(words)} " for words in texts)
    runs = (f" {' '.join(words[i : i + 13])} " for words in turns[1:] for i in range(len(words) - 12))
    if any(run in joined for run in runs):
        return True
    asked = set(turns[0])
    likest = sorted(texts, key=lambda words: -len(asked & set(words)) / max(1, len(asked | set(words))))[:5]
    return any(SequenceMatcher(None, turns[0], words, autojunk=False).ratio() >= 0.75 for words in likest)


def recall_and_precision(train, held, rng, at_most=300):
    """Recall by kind, precision over all, and how many texts of each kind were planted.

    Among the real texts only what `repeats` a held-out one is flagged rightly, of the harmless ones none.
    """
    planted = plant(rng.sample(held, min(len(held), 4 * at_most)), rng)
    planted = {kind: rng.sample(rows, min(len(rows), at_most)) for kind, rows in planted.items()}
    flagged = set().union(*found([*train, *(d for rows in planted.values() for d in rows)], held).values())
    ids = {kind: {dialogue.id for dialogue in rows} for kind, rows in planted.items()}
    leaks = ids["exact"] | ids["span"] | ids["near"]
    recall = {kind: len(ids[kind] & flagged) / len(ids[kind]) for kind in ("exact", "span", "near")}
    real = {dialogue.id for dialogue in train if dialogue.id in flagged and repeats(dialogue, held)}
    return recall, len((leaks | real) & flagged) / len(flagged), {kind: len(rows) for kind, rows in ids.items()}


def check(train, held, at_least):
    """Assert that both figures are .95 or better, with so many leaks of each kind."""
    recall, precision, n = recall_and_precision(train, held, random.Random(1))
    print(f"recall {recall}, precision {precision:.3f}, planted {n}, {len(train)} train dialogues")
    assert min(n.values()) >= at_least
    assert min(recall.values()) >= 0.95
    assert precision >= 0.95


def test_leaks_of_every_kind_are_found_and_little_else(repository):
    recall, harmless, precision = measure(repository)
    assert len(recall) == 11
    assert min(recall.values()) >= 0.98, recall
    assert precision >= 0.98
    assert max(harmless.values()) <= 0.05, harmless


def test_planted_among_the_curated_texts(repository):
    real = curated(repository)
    held = [turn for dialogue in real[::10] for turn in dialogue.turns]
    check([dialogue for i, dialogue in enumerate(real) if i % 10], held, at_least=50)


@pytest.mark.parametrize("name", ["quiz", "false_premise"])
def test_planted_quotations_of_the_questions(repository, name):
    questions = read_questions(repository / f"data/curated/{name}.jsonl")
    check(curated(repository), [text for question in questions for text in question.texts], at_least=50)


def test_planted_quotations_of_truthfulqa(repository, real_data):
    questions = read_truthfulqa(real_data / "truth/TruthfulQA.csv")
    check(curated(repository), [text for question in questions for text in question.texts], at_least=50)


def split(dialogues, every=20):
    """Train dialogues and the turns of every twentieth, repaired as the stage clean does."""
    repaired = [Dialogue(d.id, d.source, d.group, normalise_turns(d.turns)) for d in dialogues if any(d.turns[1:])]
    return [d for i, d in enumerate(repaired) if i % every], [t for d in repaired[::every] for t in d.turns]


def test_planted_among_chats():
    check(*split(list(read_chitchat("dialogue").dialogues)[:1500]), at_least=200)


def test_planted_among_film_dialogues(real_data, tmp_path):
    http = HttpConfig(timeout_s=5.0, retries=0, backoff_s=0.1)
    corpus = read_cornell(CornellConfig(str(real_data / "cornell_movie_dialogs_corpus.zip"), None), "dialogue", http)
    check(*split([d for d in corpus.dialogues if all(normalise_turns((turn, "a")) for turn in d.turns)]), at_least=200)
