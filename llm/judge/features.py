"""What can be measured of an answer without knowing the truth: its likeness to known answers, and its surface.

Likeness is compared: to the nearest correct reference, to the nearest incorrect one, and the difference. All texts are
read as words in lower case without punctuation (llm.corpus.normalise.split_words).
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llm.corpus.normalise import split_words
from llm.corpus.questions import Question
from llm.judge.overlap import token_f1

Floats = NDArray[np.float64]

CHRF_ORDER, CHRF_BETA = 6, 2  # Popović 2015
DECIMALS = 4  # a feature is rounded, so that it is equal on all machines

HEDGES = frozenset(
    split_words(
        "may might could can perhaps maybe possibly probably likely unlikely often sometimes usually generally "
        "typically mostly some many several seems seem appears suggests believed thought considered claimed said "
        "supposedly allegedly unclear unknown depends about approximately roughly"
    )
)
ABSOLUTES = frozenset(
    split_words(
        "always never all every everyone everybody everything nobody none nothing only must completely entirely "
        "totally definitely certainly absolutely exactly any anyone proven fact impossible"
    )
)
NEGATIONS = frozenset(
    split_words(
        "no not never none nobody nothing neither nor without cannot cant dont doesnt didnt isnt arent wasnt werent "
        "wont wouldnt couldnt shouldnt havent hasnt hadnt aint"
    )
)


@dataclass(frozen=True)
class Profile:
    """A text taken apart once, to be compared many times."""

    words: tuple[str, ...]
    counts: "Counter[str]"
    chars: tuple["Counter[str]", ...]  # runs of 1 to CHRF_ORDER characters, spaces left out


@lru_cache(maxsize=1 << 14)
def profile(text: str) -> Profile:
    """The text's words and runs of words and characters."""
    words = tuple(split_words(text))
    joined = "".join(words)
    chars = tuple(Counter(joined[i : i + n] for i in range(len(joined) - n + 1)) for n in range(1, CHRF_ORDER + 1))
    return Profile(words, Counter(words), chars)


def chrf(one: Profile, other: Profile) -> float:
    """chrF (word order 0) of the words: precision and recall of runs of 1 to 6 characters, recall weighing double."""
    precisions, recalls = [], []
    for mine, theirs in zip(one.chars, other.chars, strict=True):
        if mine and theirs:
            shared = (mine & theirs).total()
            precisions.append(shared / mine.total())
            recalls.append(shared / theirs.total())
    precision, recall = (sum(x) / len(x) if x else 0.0 for x in (precisions, recalls))
    weight = CHRF_BETA**2
    return (1 + weight) * precision * recall / (weight * precision + recall) if precision else 0.0


LIKENESSES: Mapping[str, Callable[[Profile, Profile], float]] = {
    "f1": lambda answer, reference: token_f1(answer.counts, reference.counts),
    "chrf": chrf,
}


def _likeness(answer: Profile, correct: Sequence[Profile], incorrect: Sequence[Profile]) -> dict[str, float]:
    """Each likeness to the nearest correct and the nearest incorrect reference, and the contrast of the two."""
    found: dict[str, float] = {}
    for name, likeness in LIKENESSES.items():
        right = max(likeness(answer, reference) for reference in correct)
        wrong = max(likeness(answer, reference) for reference in incorrect)
        found |= {f"{name}_correct": right, f"{name}_incorrect": wrong, f"{name}_contrast": right - wrong}
    return found


def _telling_words(
    question: Profile, answer: Profile, correct: Sequence[Profile], incorrect: Sequence[Profile]
) -> dict[str, float]:
    """Words of the answer that only one side has; those of the question tell nothing."""
    right, wrong = ({word for reference in side for word in reference.counts} for side in (correct, incorrect))
    words = sorted(set(answer.counts) - set(question.counts))
    n = max(1, len(words))
    only_right = sum(word in right and word not in wrong for word in words) / n
    only_wrong = sum(word in wrong and word not in right for word in words) / n
    votes = sum(_share_with(word, correct) - _share_with(word, incorrect) for word in words) / n
    return {
        "words_contrast": only_right - only_wrong,
        "words_votes": votes,
        "words_new": sum(word not in right and word not in wrong for word in words) / n,
    }


def _share_with(word: str, references: Sequence[Profile]) -> float:
    return sum(word in reference.counts for reference in references) / len(references)


def _opening(text: Profile) -> int:
    """1 for a text that opens with yes, -1 for one that opens with no, else 0."""
    return {"yes": 1, "no": -1}.get(text.words[0], 0) if text.words else 0


def _negated(text: Profile) -> int:
    return 1 if _count(text, NEGATIONS) else -1


def _count(text: Profile, words: Collection[str]) -> int:
    return sum(word in words for word in text.words)


def _agreement(
    stance: Callable[[Profile], int], answer: Profile, correct: Sequence[Profile], incorrect: Sequence[Profile]
) -> float:
    """How much the answer's yes or no is rather the correct references' than the incorrect ones', -2 to 2."""
    right, wrong = (sum(map(stance, side)) / len(side) for side in (correct, incorrect))
    return stance(answer) * (right - wrong)


def _surface(answer: Profile, text: str) -> dict[str, float]:
    """What can be seen without question and references."""
    return {
        "n_words": len(answer.words),
        "n_chars": len(text),
        "hedges": _count(answer, HEDGES),
        "absolutes": _count(answer, ABSOLUTES),
        "negations": _count(answer, NEGATIONS),
        "digits": sum(character.isdigit() for character in text),
        "capitals": sum(character.isupper() for character in text),
        "opens_yes": float(_opening(answer) == 1),
        "opens_no": float(_opening(answer) == -1),
    }


def answer_features(question: str, answer: str, correct: Sequence[str], incorrect: Sequence[str]) -> dict[str, float]:
    """Every feature of an answer by name, rounded; the names and their order are the same for all answers."""
    of_question, of_answer = profile(question), profile(answer)
    right, wrong = [profile(text) for text in correct], [profile(text) for text in incorrect]
    surface = _surface(of_answer, answer)
    found = {
        **_likeness(of_answer, right, wrong),
        **_telling_words(of_question, of_answer, right, wrong),
        "yes_no_agreement": _agreement(_opening, of_answer, right, wrong),
        "negation_agreement": _agreement(_negated, of_answer, right, wrong),
        "f1_question": token_f1(of_answer.counts, of_question.counts),
        **surface,
    }
    return {name: round(float(value), DECIMALS) for name, value in found.items()}


FEATURES = tuple(answer_features("?", "a", ["b"], ["c"]))
SURFACE = tuple(_surface(profile("a"), "a"))

# Whether an answer is rather like a correct or an incorrect reference: each is 0 for one that is like neither.
TELLING = ("chrf_contrast", "words_contrast", "words_votes", "yes_no_agreement", "negation_agreement")


def feature_rows(questions: Sequence[Question], answers: Sequence[str]) -> Floats:
    """(n, n_features) of one answer to each question."""
    rows = [
        list(answer_features(q.question, answer, q.correct, q.incorrect).values())
        for q, answer in zip(questions, answers, strict=True)
    ]
    return np.array(rows, np.float64).reshape(len(rows), len(FEATURES))


def columns(features: Floats, names: Sequence[str]) -> Floats:
    """(n, len(names)) of (n, n_features)."""
    return features[:, [FEATURES.index(name) for name in names]]


def topic_rows(features: Floats) -> Floats:
    """(n, 3): how much an answer has to do with its question, whichever side it takes."""
    nearest = columns(features, ("chrf_correct", "chrf_incorrect")).max(axis=1, keepdims=True)
    return np.hstack([nearest, columns(features, ("words_new", "f1_question"))])
