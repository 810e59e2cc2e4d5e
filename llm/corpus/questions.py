"""Questions with correct and incorrect answers: quiz, false premises and literacy pairs of data/curated; TruthfulQA."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm.corpus.split import position
from llm.files import parse_json, utf8_lines


@dataclass(frozen=True)
class Question:
    """A question and what people answer to it; without a question, statements of which some are true."""

    id: str
    area: str
    question: str  # empty: the answers are statements that stand alone
    correct: tuple[str, ...]  # the best answer first
    incorrect: tuple[str, ...]
    explanation: str = ""  # for people; TruthfulQA has none
    couple: str = ""  # of a literacy pair, which shares its words with another one

    @property
    def group(self) -> str:
        """What is resampled together: a couple, else the question alone."""
        return self.couple or self.id

    @property
    def texts(self) -> list[str]:
        """Everything that gives the answer away."""
        return [text for text in (self.question, *self.correct, *self.incorrect, self.explanation) if text]

    def __post_init__(self) -> None:
        for name in ("correct", "incorrect"):
            answers = getattr(self, name)
            if not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
                raise ValueError(f"question {self.id} needs one or more {name} answers, none of them empty")


def read_questions(path: Path) -> list[Question]:
    """Questions of a JSON lines file, in order.

    Raises ValueError naming the line that is not a question.
    """
    questions = []
    for number, line in utf8_lines(path):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            answers = tuple(row["correct"]), tuple(row["incorrect"])
            questions.append(Question(row["id"], row["area"], row["question"], *answers, row["explanation"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: not a question: {error!r}") from error
    return questions


def read_pairs(path: Path) -> list[Question]:
    """Literacy pairs of a JSON lines file, in order: a true statement and a false one of almost the same words.

    A pair and the one that follows it are a couple: the words that make a statement true in one make it false in the
    other. Raises ValueError naming the line that is not a pair, and for one that is left without the other.
    """
    pairs: list[Question] = []
    for number, line in utf8_lines(path):
        try:
            row = parse_json(line)
            couple = row["id"] if number % 2 else pairs[-1].id
            texts = (row["true"],), (row["false"],), row["note"]
            pairs.append(Question(row["id"], row["area"], "", *texts, couple))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: not a pair: {error!r}") from error
    if len(pairs) % 2:
        raise ValueError(f"{path}: {pairs[-1].id} has no pair to be crossed with: they stand two by two")
    return pairs


def draw_questions(questions: Sequence[Question], n: int | None, seed: int) -> list[Question]:
    """`n` questions by hash, the same ones whatever stands beside them; all for None."""
    return sorted(questions, key=lambda question: position(question.id, seed))[:n]


def draw_couples(questions: Sequence[Question], n: int | None, seed: int) -> list[Question]:
    """The questions of `n` couples by hash, in order; one without a partner counts as a couple. All for None."""
    drawn = sorted({question.group for question in questions}, key=lambda group: position(group, seed))[:n]
    return [question for question in questions if question.group in drawn]


def judgeable(questions: Sequence[Question]) -> list[Question]:
    """Those with two or more incorrect answers: enough to hold an answer in words against."""
    return [question for question in questions if len(question.incorrect) >= 2]
