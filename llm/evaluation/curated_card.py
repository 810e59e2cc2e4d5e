"""What the curated texts are like: how many, how varied, how hard to read; the table of data/curated/README.md."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm.corpus.normalise import split_words
from llm.corpus.questions import read_questions
from llm.judge.surface import surface_report

CONVERSATIONS, QUESTIONS = ("eli5", "technical"), ("quiz", "false_premise")
GRADE_PERCENTILES = (5, 25, 50, 75, 95)
OPENING = 4  # words
SURFACE_SEED = 1  # of the shuffles behind the surface figures
_VOWELS = re.compile(r"[aeiouy]+")
# Vowels that are not spoken: a last e (but not "table"), that of -ed (but not "needed") and -es (but not "changes").
_SILENT = re.compile(r"(?:(?<![aeiouy])(?<![^aeiouy]l)e|(?<=[^aeiouydt])ed|(?<![aeioscxzgh])(?<![^aeiouy]l)es)$")
# Neighbours that are two syllables: "idea", "create", "situation", "doing", "layer"; not "million".
_APART = re.compile(
    r"(?<![ctsgln])i[ao]|(?<![ct])ie(?=n[ct]|t|ty$)|(?<![qg])ua(?!r[de])|[aeiouy]ing|[aeo]yer|[ei]al(?=i|$)(?<![ct]ial)|"
    r"cre(?=at)|ea$|ea[rn]$(?<=[nl]ear)|(?<!g)eo(?!u|p)|(?:th|s)m$|poe|[fd]ue[ln]"
)
_SUFFIX = re.compile(r"(?<=e)(?:ly|ment|ments|less|ness|ful)$|(?<=some)(?:thing|times|one|how|what|where)$")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|\n+")


@dataclass(frozen=True)
class Statistics:
    """One curated set."""

    items: int
    prompts: int  # questions asked in it
    most_frequent_opening: int  # prompts that begin with the same four words
    words: int
    vocabulary: int  # distinct words
    grades: tuple[float, ...]  # Flesch-Kincaid at GRADE_PERCENTILES of its replies or explanations


def syllables(word: str) -> int:
    """Syllables of an English word in lower case, by its groups of vowels; right for nine words of ten.

    >>> [syllables(word) for word in ("cat", "make", "table", "learning", "machine", "idea")]
    [1, 1, 2, 2, 2, 3]
    """
    if suffix := _SUFFIX.search(word):
        return syllables(word[: suffix.start()]) + syllables(suffix[0])
    groups = len(_VOWELS.findall(word)) - bool(_SILENT.search(word)) + len(_APART.findall(word))
    return max(1, groups)


def reading_grade(text: str) -> float:
    """Flesch-Kincaid grade: school years a reader needs (Kincaid et al. 1975).

    >>> round(reading_grade("The cat sat on the mat."), 2)  # 0.39 * 6 + 11.8 * 1 - 15.59
    -1.45
    """
    words = split_words(text)
    sentences = [part for part in _SENTENCE_END.split(text) if split_words(part)]
    if not words:
        raise ValueError("a text without words has no reading grade")
    return 0.39 * len(words) / len(sentences) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


def _prompts_and_replies(folder: Path, name: str) -> tuple[list[str], list[str]]:
    """What is asked in a set, and what explains it; the replies, or the explanations of its questions."""
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    if name in CONVERSATIONS:
        return [t for row in rows for t in row["turns"][::2]], [t for row in rows for t in row["turns"][1::2]]
    return [row["question"] for row in rows], [row["explanation"] for row in rows]


def _all_words(folder: Path, name: str) -> Iterable[str]:
    """Every word of a set, right and wrong answers too."""
    prompts, replies = _prompts_and_replies(folder, name)
    texts = [*prompts, *replies]
    if name in QUESTIONS:
        texts += [a for q in read_questions(folder / f"{name}.jsonl") for a in (*q.correct, *q.incorrect)]
    return (word for text in texts for word in split_words(text))


def describe_set(folder: Path, name: str) -> Statistics:
    """Statistics of `name`.jsonl."""
    prompts, replies = _prompts_and_replies(folder, name)
    openings = Counter(tuple(prompt.lower().split()[:OPENING]) for prompt in prompts)
    words = Counter(_all_words(folder, name))
    grades = np.percentile([reading_grade(reply) for reply in replies], GRADE_PERCENTILES)
    items = len((folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return Statistics(items, len(prompts), max(openings.values()), words.total(), len(words), tuple(grades.tolist()))


def _table(rows: Sequence[Sequence[object]]) -> list[str]:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def statistics_page(folder: Path) -> str:
    """Both tables in Markdown: of the four sets, and of what surface alone reaches on the questions."""
    rows: list[Sequence[object]] = [
        (
            "set",
            "items",
            "prompts",
            "most frequent opening",
            "words",
            "vocabulary",
            "reading grade 5 / 25 / 50 / 75 / 95 %",
        )
    ]
    for name in (*CONVERSATIONS, *QUESTIONS):
        s = describe_set(folder, name)
        opening = f"{s.most_frequent_opening} ({100 * s.most_frequent_opening / s.prompts:.1f} %)"
        grades = " / ".join(f"{grade:.1f}" for grade in s.grades)
        rows.append((f"`{name}`", s.items, s.prompts, opening, f"{s.words:,}", f"{s.vocabulary:,}", grades))
    found = surface_report({name: read_questions(folder / f"{name}.jsonl") for name in QUESTIONS}, SURFACE_SEED)
    surface: list[Sequence[object]] = [
        ("set", "chance", "length, negations, hedges, overlap", "and commas, digits, word length")
    ]
    surface += [(f"`{n}`", *(f"{f[k]:.3f}" for k in ("chance", "accuracy", "accuracy_wide"))) for n, f in found.items()]
    return "\n".join([*_table(rows), "", *_table(surface)]) + "\n"
