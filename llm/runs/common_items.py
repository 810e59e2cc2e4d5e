"""The items that several runs have in common, and each run cut down to them."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from llm.corpus.questions import Question
from llm.dialogue import Example
from llm.evaluation.evaluate import Likelihoods, Measured, Texts
from llm.evaluation.scoring import Score
from llm.evaluation.testset import Asked, digest, example_digest

T = TypeVar("T")
V = TypeVar("V")


def example_key(example: Example) -> Hashable:
    """What makes two replies one item: id, and the texts seen and asked about."""
    return example.id, example_digest(example)


def question_key(question: Question) -> Hashable:
    """What makes two questions one item: id, question and all answers."""
    return question.id, digest(question.question, *question.correct, "", *question.incorrect)


def unequal_runs(runs: Sequence[Measured]) -> list[Measured]:
    """The runs without repetitions: a second run that is equal in everything is the same seed, not another one."""
    found: list[Measured] = []
    for run in runs:
        if not any((run.likelihoods, run.texts) == (one.likelihoods, one.texts) for one in found):
            found.append(run)
    return found


def intersect(runs: Sequence[Measured]) -> tuple[Asked, dict[str, int]]:
    """Items that all runs have, in the order of the first, and how many of each kind only some have.

    Of a kind that some run does not measure at all, no item is shared and none is missed.
    """
    likely, said = all(run.likelihoods for run in runs), all(run.texts for run in runs)
    examples = _common([run.asked.examples for run in runs] if likely else [], example_key)
    prompts = _common([run.asked.prompts for run in runs] if said else [], example_key)
    quiz = _common([run.asked.quiz for run in runs] if likely else [], question_key)
    truth = _common([run.asked.truth for run in runs] if said else [], question_key)
    truthfulqa = _common([run.asked.truthfulqa for run in runs] if likely else [], question_key)
    parts = {"replies": examples, "prompts": prompts, "quiz": quiz, "truth": truth, "truthfulqa": truthfulqa}
    left_out = {kind: n for kind, (_, n) in parts.items()}
    return Asked(examples[0], prompts[0], quiz[0], truth[0], truthfulqa[0]), left_out


def count_kinds(asked: Asked) -> dict[str, int]:
    """How many items of each kind there are."""
    return {
        "replies": len(asked.examples),
        "prompts": len(asked.prompts),
        "quiz": len(asked.quiz),
        "truth": len(asked.truth),
        "truthfulqa": len(asked.truthfulqa),
    }


def _common(lists: Sequence[Sequence[T]], key: Callable[[T], Hashable]) -> tuple[list[T], int]:
    if not lists or not all(lists):
        return [], 0
    keys = [{key(item) for item in items} for items in lists]
    shared, found = set.intersection(*keys), set.union(*keys)
    return [item for item in lists[0] if key(item) in shared], len(found - shared)


def restrict(run: Measured, shared: Asked) -> Measured:
    """The run on the shared items alone, in their order."""
    asked, found, texts = run.asked, run.likelihoods, run.texts
    if found:
        replies = _pick(asked.examples, found.replies, shared.examples, example_key)
        answers = {
            section: _pick_answers(asked.choices[section], found.answers[section], questions)
            for section, questions in shared.choices.items()
        }
        found = Likelihoods(replies, answers)
    if texts:
        greedy = _pick(asked.prompts, texts.greedy, shared.prompts, example_key)
        texts = Texts(greedy, [], _pick(asked.truth, texts.truth, shared.truth, question_key), [])
    return Measured(shared, found, texts)


def _pick_answers(asked: Sequence[Question], scores: Sequence[Score], wanted: Sequence[Question]) -> list[Score]:
    """The scores of the wanted questions' answers."""
    in_turn = iter(scores)
    of_each = [[next(in_turn) for _ in question.correct + question.incorrect] for question in asked]
    return [score for one in _pick(asked, of_each, wanted, question_key) for score in one]


def _pick(items: Sequence[T], values: Sequence[V], wanted: Sequence[T], key: Callable[[T], Hashable]) -> list[V]:
    by_key = {key(item): value for item, value in zip(items, values, strict=True)}
    return [by_key[key(item)] for item in wanted]
