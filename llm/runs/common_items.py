"""The items that several runs have in common, and the outputs of each run on these alone."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from llm.corpus.questions import Question
from llm.dialogue import Example
from llm.evaluation.ask import Generations, Likelihoods, Outputs
from llm.evaluation.items import EvalItems, count_items, example_digest, text_digest
from llm.evaluation.scoring import Score

T = TypeVar("T")
V = TypeVar("V")


def example_key(example: Example) -> Hashable:
    """What makes two replies one item: id, and the texts seen and asked about."""
    return example.id, example_digest(example)


def question_key(question: Question) -> Hashable:
    """What makes two questions one item: id, question and all answers."""
    return question.id, text_digest(question.question, *question.correct, "", *question.incorrect)


def drop_repeated(runs: Sequence[Outputs]) -> list[Outputs]:
    """The runs without repetitions: a second run that is equal in everything is the same seed, not another one."""
    found: list[Outputs] = []
    for run in runs:
        if not any((run.likelihoods, run.generations) == (one.likelihoods, one.generations) for one in found):
            found.append(run)
    return found


def find_common(runs: Sequence[Outputs]) -> tuple[EvalItems, dict[str, int]]:
    """Items that all runs have, in the order of the first, and how many of each kind only some have.

    Of a kind that some run does not measure at all, no item is shared and none is missed.
    """
    scored, generated = all(run.likelihoods for run in runs), all(run.generations for run in runs)
    examples = _common([run.items.examples for run in runs] if scored else [], example_key)
    prompts = _common([run.items.prompts for run in runs] if generated else [], example_key)
    truth = _common([run.items.truth for run in runs] if generated else [], question_key)
    chosen = {
        kind: _common([getattr(run.items, kind) for run in runs] if scored else [], question_key)
        for kind in ("pairs", "premises", "quiz", "truthfulqa")
    }
    left_out = {"replies": examples[1], "prompts": prompts[1], "truth": truth[1]}
    left_out |= {kind: n for kind, (_, n) in chosen.items()}
    shared = EvalItems(
        examples[0],
        prompts[0],
        quiz=chosen["quiz"][0],
        truth=truth[0],
        truthfulqa=chosen["truthfulqa"][0],
        pairs=chosen["pairs"][0],
        premises=chosen["premises"][0],
    )
    return shared, left_out


def count_shared(shared: EvalItems) -> dict[str, int]:
    """Number of shared items of each kind; dialogues are no items."""
    return {kind: n for kind, n in count_items(shared).items() if kind != "dialogues"}


def _common(lists: Sequence[Sequence[T]], key: Callable[[T], Hashable]) -> tuple[list[T], int]:
    if not lists or not all(lists):
        return [], 0
    keys = [{key(item) for item in items} for items in lists]
    shared, found = set.intersection(*keys), set.union(*keys)
    return [item for item in lists[0] if key(item) in shared], len(found - shared)


def restrict(run: Outputs, shared: EvalItems) -> Outputs:
    """The outputs on the shared items alone, in their order."""
    items, found, texts = run.items, run.likelihoods, run.generations
    if found:
        replies = _pick(items.examples, found.replies, shared.examples, example_key)
        answers = {
            section: _pick_answers(items.choices[section], found.answers[section], questions)
            for section, questions in shared.choices.items()
        }
        found = Likelihoods(replies, answers)
    if texts:
        greedy = _pick(items.prompts, texts.greedy, shared.prompts, example_key)
        texts = Generations(greedy, [], _pick(items.truth, texts.truth, shared.truth, question_key), [])
    return Outputs(shared, found, texts)


def _pick_answers(questions: Sequence[Question], scores: Sequence[Score], wanted: Sequence[Question]) -> list[Score]:
    """The scores of the wanted questions' answers."""
    in_turn = iter(scores)
    of_each = [[next(in_turn) for _ in question.correct + question.incorrect] for question in questions]
    return [score for one in _pick(questions, of_each, wanted, question_key) for score in one]


def _pick(items: Sequence[T], values: Sequence[V], wanted: Sequence[T], key: Callable[[T], Hashable]) -> list[V]:
    by_key = {key(item): value for item, value in zip(items, values, strict=True)}
    return [by_key[key(item)] for item in wanted]
