"""Leaks of every kind planted among the curated dialogues, and what the gate finds of them.

`python -m tests.corpus.planted` prints the table.
"""

import json
import random
from pathlib import Path

from llm.corpus.leak_check import leaking
from llm.corpus.leaks import LeakRules
from llm.corpus.normalise import split_words
from llm.dialogue import Dialogue
from tests.corpus.test_leaks import found

RULES = LeakRules(span=13, near_ngram=2, near=0.6, min_words=8)
EACH = 200  # texts planted of each kind
ASK, SAY = "Tell me something.", "I would rather not say."  # the other half of a planted exchange
FILLER = "quite"


def curated(repository):
    """The dialogues of data/curated."""
    return [
        Dialogue(row["id"], source, row["id"], tuple(row["turns"]))
        for source in ("eli5", "technical")
        for row in map(json.loads, (repository / f"data/curated/{source}.jsonl").read_bytes().splitlines())
    ]


def unspaced(n, rng):
    """Texts of 30 Chinese characters."""
    return ["".join(chr(rng.randrange(0x4E00, 0x9F00)) for _ in range(30)) for _ in range(n)]


def run_of_words(text, n, rng):
    """`n` words of the text in a row, in the form in which texts are compared."""
    words = split_words(text)
    start = rng.randrange(len(words) - n + 1)
    return words[start : start + n]


def in_other_letters(words, rng):
    """The words in capitals here and there, with punctuation between."""
    recased = [rng.choice((word, word.upper(), word.capitalize())) for word in words]
    return " ".join(word + rng.choice(("", ",", "!", " –")) for word in recased)


def with_one_changed(text, rng):
    words = split_words(text)
    words[rng.randrange(len(words))] = FILLER
    return " ".join(words)


def dialogue(name, *turns, source="eli5", group=None, **more):
    return Dialogue(name, source, group or name, turns, **more)


def plant_span(kind, i, text, rng):
    """A dialogue that has 13 words of the text in a row; of kind `twelve`, no more than 12."""
    words = run_of_words(text, 12 if kind == "twelve" else 13, rng)
    quoted = f"Somebody once wrote: {FILLER} {' '.join(words)} {FILLER}, and left."
    if kind == "system turn":
        return dialogue(f"{kind}{i}", "Hello.", SAY, system=quoted)
    if kind == "document":
        return dialogue(f"{kind}{i}", quoted, kind="document")
    turns = {
        "prompt": (quoted, SAY),
        "reply": (ASK, quoted),
        "later prompt": (ASK, SAY, quoted, "So it seems."),
        "later reply": (ASK, SAY, "Why not?", quoted),
        "letters and punctuation": (ASK, f"Once {FILLER} {in_other_letters(words, rng)}, {FILLER} so."),
        "another film": (ASK, quoted),
        "without spaces": ("說", f"他{''.join(words)}了"),
        "twelve": (quoted, quoted),
    }[kind]
    film = {"source": "dialogue", "group": f"film {i % 5}"} if kind == "another film" else {}
    return dialogue(f"{kind}{i}", *turns, **film)


def plant_near(kind, i, text, rng):
    """A dialogue whose prompt is the text, or with one word changed; of kind `every third`, too many of them."""
    changed = {
        "same prompt": in_other_letters(split_words(text), rng),
        "one word of a prompt changed": with_one_changed(text, rng),
        "every third": " ".join(word if k % 3 else FILLER for k, word in enumerate(text.split())),
    }[kind]
    return dialogue(f"{kind}{i}", changed, SAY)


SPANS = (
    *("prompt", "reply", "later prompt", "later reply", "system turn", "document", "letters and punctuation"),
    *("another film", "without spaces"),
)
NEAR = ("same prompt", "one word of a prompt changed")
HARMLESS = ("twelve", "every third")


def plant(held, chinese, rng):
    """Planted dialogues by kind, at most EACH."""
    long = [text for text in held if len(split_words(text)) >= 13]
    short = [text for text in held if 9 <= len(split_words(text)) <= 40]
    texts = {kind: chinese if kind == "without spaces" else long for kind in (*SPANS, "twelve")}
    planted = {kind: [plant_span(kind, i, rng.choice(some), rng) for i in range(EACH)] for kind, some in texts.items()}
    return planted | {
        kind: [plant_near(kind, i, rng.choice(short), rng) for i in range(EACH)] for kind in (*NEAR, "every third")
    }


def measure(repository, seed=1):
    """Recall by kind, and the precision: the share of all removed that were planted as leaks or are by definition."""
    rng, real = random.Random(seed), curated(repository)
    chinese = unspaced(100, rng)
    held = [turn for one in real[::10] for turn in one.turns]
    planted = plant(held, chinese, rng)
    train = [one for i, one in enumerate(real) if i % 10] + [one for some in planted.values() for one in some]
    held += chinese
    flagged = set().union(*found(train, held, RULES).values())
    leaks = {one.id for kind in (*SPANS, *NEAR) for one in planted[kind]}
    leaks |= {line.rpartition(" (")[0] for line in leaking([one for one in train if one.id not in leaks], held, RULES)}
    recall = {kind: sum(one.id in flagged for one in planted[kind]) / EACH for kind in (*SPANS, *NEAR)}
    harmless = {kind: sum(one.id in flagged for one in planted[kind]) / EACH for kind in HARMLESS}
    return recall, harmless, len(flagged & leaks) / len(flagged)


def main():
    recall, harmless, precision = measure(Path(__file__).parents[2])
    print(f"| {EACH} planted of each kind | found |\n|---|---|")
    for kind, share in (recall | {f"harmless: {kind}": share for kind, share in harmless.items()}).items():
        print(f"| {kind} | {share:.3f} |")
    print(f"| precision | {precision:.3f} |")


if __name__ == "__main__":
    main()
