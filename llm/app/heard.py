"""What an episode is made from: the two models of a run, what they replied to, and what they found likely."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.app.ear import n_parameters
from llm.app.quote import Quote, quote
from llm.corpus.questions import Question

Rows = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]  # by model and kind
FACTS = ("what_ai_is",)  # areas of pairs that anybody can play, and look up
SCRATCH, FINETUNED, PRETRAINED = "scratch", "mistral", "base"


@dataclass(frozen=True)
class Asked:
    """A question and what each of the two models replied to it."""

    question: str
    right: str  # a true answer, in plain words
    why: str
    starts: str  # what a true answer begins with: yes, no; empty where it begins with neither
    small: Quote
    large: Quote


@dataclass(frozen=True)
class Pair:
    """A true statement and a false one of almost the same words."""

    true: str
    false: str
    note: str
    small_nats: float  # how much likelier the true one is, log-probability; below 0: the false one is
    large_nats: float


@dataclass(frozen=True)
class Trap:
    """A question that assumes something false, and the ready-made answer that the larger model finds likeliest."""

    question: str
    right: str
    why: str
    likeliest: str
    fell: bool  # whether that answer plays along
    n_answers: int


@dataclass(frozen=True)
class Share:
    """A share of items with its 95 % interval, None where there is none."""

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def side(self) -> int:
        """1 above one half, -1 below it, 0 where the items do not tell."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0.5) - int(self.high < 0.5)


@dataclass(frozen=True)
class Model:
    """One of the two models, as far as an episode tells of it."""

    name: str
    description: str
    literacy: Share | None
    premises: Share | None
    own_bits: float | None  # bits for each byte of its own answers

    @property
    def parameters(self) -> float | None:
        """How many weights it has."""
        return n_parameters(self.description)


@dataclass(frozen=True)
class Heard:
    """All that an episode may tell of a run."""

    small: Model
    large: Model
    finetuned: bool
    private: bool  # the data are the user's own: no reply is quoted
    judge_doubt: str | None  # why the automatic judge gave no rate
    talk: Sequence[Asked]  # small talk, where nothing is right or wrong
    shown: Sequence[Asked]  # everyday questions
    quiz: Sequence[Asked]  # the run's draw from the curated questions
    pairs: Sequence[Pair]
    traps: Sequence[Trap]


def larger_model(predictions: Rows) -> str:
    """The fine-tuned model, or without one the pretrained model as it came; ValueError where neither replied."""
    for name in (FINETUNED, PRETRAINED):
        if predictions.get(name, {}).get("shown"):
            return name
    raise ValueError("no pretrained model has replied, so there are no two voices: run `dvc repro evaluate`")


def read_model(name: str, detail: Mapping[str, Any]) -> Model:
    """A model from the file of its detail."""
    own = detail["uncertainty"].get("own_answers")
    shares = {section: read_share(detail[section]) for section in ("literacy", "premises")}
    return Model(name, detail["name"], shares["literacy"], shares["premises"], own and own["value"])


def read_share(section: Mapping[str, Any] | None) -> Share | None:
    """The accuracy of a section of the detail; None where it was not asked."""
    if not section or section["all"]["accuracy"]["value"] is None:
        return None
    found = section["all"]["accuracy"]
    return Share(found["value"], found["low"], found["high"], section["all"]["n"])


def read_asked(questions: Sequence[Question], kind: str, small: str, large: str, predictions: Rows) -> list[Asked]:
    """The questions that both models replied to, in their rows of that kind."""
    replies = [{row["id"]: quote(row["text"]) for row in predictions[name].get(kind, [])} for name in (small, large)]
    return [
        Asked(one.question, one.correct[0], one.explanation, starts_with(one), *(of[one.id] for of in replies))
        for one in questions
        if all(one.id in of for of in replies)
    ]


def starts_with(question: Question) -> str:
    """`yes` or `no` where all correct answers begin so and no incorrect one does, else nothing."""
    first = [{answer.split()[0].strip(",.;:").lower() for answer in answers} for answers in
             (question.correct, question.incorrect)]  # fmt: skip
    common = first[0] - first[1]
    return common.pop() if len(first[0]) == 1 and common <= {"yes", "no"} and common else ""


def read_pairs_heard(pairs: Sequence[Question], small: str, large: str, scores: Rows) -> list[Pair]:
    """The literacy pairs that both models were asked about: those on facts, where there are such."""
    nats = []
    for name in (small, large):
        logprobs = {row["id"]: row["logprob"] for row in scores.get(name, {}).get("statement", [])}
        nats.append(
            {one.id: logprobs[f"{one.id}/0"] - logprobs[f"{one.id}/1"] for one in pairs if f"{one.id}/0" in logprobs}
        )
    both = [one for one in pairs if one.id in nats[0] and one.id in nats[1]]
    told = [one for one in both if one.area in FACTS] or both
    return [Pair(one.correct[0], one.incorrect[0], one.explanation, nats[0][one.id], nats[1][one.id]) for one in told]


def read_traps(premises: Sequence[Question], large: str, scores: Rows) -> list[Trap]:
    """The false premises that the larger model was asked about, letter for letter as their grades are."""
    rates = {
        row["id"]: row["logprob"] / row["bytes"]
        for row in scores.get(large, {}).get("premise_answer", [])
        if math.isfinite(row["logprob"])
    }
    found = []
    for one in premises:
        answers = (*one.correct, *one.incorrect)
        ids = [f"{one.id}/{i}" for i in range(len(answers))]
        if all(name in rates for name in ids):
            best = max(range(len(answers)), key=lambda i: rates[ids[i]])
            fell = best >= len(one.correct)
            found.append(Trap(one.question, one.correct[0], one.explanation, answers[best], fell, len(answers)))
    return found
