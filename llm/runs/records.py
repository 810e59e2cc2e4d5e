"""One row for everything a model found likely and everything it said: the figures are computed again from these.

Rows name items by id; the texts of the items stay in data/. A digest tells an item from another of the same id.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llm.corpus.questions import Question
from llm.dialogue import Dialogue, Example, scored_replies
from llm.evaluation.choice import choice_examples, grade
from llm.evaluation.evaluate import Likelihoods, Measured, Texts
from llm.evaluation.scoring import Score, cut_history
from llm.evaluation.testset import Asked, example_digest

Row = dict[str, Any]

# Kinds of rows of each section: an answer's score, a question's grade.
KINDS = {"choice": ("answer", "question"), "truthfulqa": ("truthfulqa_answer", "truthfulqa_question")}


def score_rows(model: str, asked: Asked, found: Likelihoods) -> list[Row]:
    """How likely the model found each reply and each answer to choose from (nats), and its grade on each question."""
    parts = [("reply", asked.examples, found.replies)]
    rows: list[Row] = []
    for section, answers in found.answers.items():
        questions, (kind, graded) = asked.choices[section], KINDS[section]
        parts.append((kind, choice_examples(questions), answers))
        rows += [
            {"model": model, "kind": graded, "id": question.id, "source": question.area, **asdict(one)}
            for question, one in zip(questions, grade(questions, answers), strict=True)
        ]
    scored = [
        {"model": model, "kind": kind, **_score_row(example, score)}
        for kind, examples, scores in parts
        for example, score in zip(examples, scores, strict=True)
    ]
    return scored + rows


def _score_row(example: Example, score: Score) -> Row:
    return {
        "id": example.id,
        "source": example.source,
        "group": example.group,
        "digest": example_digest(example),
        "bytes": len(example.reply.encode()),
        **asdict(score),
    }


def text_rows(model: str, asked: Asked, shown: Sequence[str], texts: Texts) -> list[Row]:
    """Everything the model said, one row a text."""
    prompt_ids = [example.id for example in asked.prompts]
    kinds = {
        "greedy": zip(prompt_ids, texts.greedy, strict=True),
        "sampled": zip(prompt_ids, texts.sampled, strict=False),
        "truth": zip([question.id for question in asked.truth], texts.truth, strict=True),
        "shown": zip(shown, texts.shown, strict=True),
    }
    return [
        {"model": model, "kind": kind, "id": name, "text": text}
        for kind, pairs in kinds.items()
        for name, text in pairs
    ]


def to_lines(rows: Iterable[Row]) -> bytes:
    """JSON lines; a float stands there to its last digit."""
    return "".join(f"{json.dumps(row, ensure_ascii=False, sort_keys=True, allow_nan=False)}\n" for row in rows).encode()


def read_rows(path: Path) -> dict[str, dict[str, list[Row]]]:
    """The rows of a file by model and kind, in order.

    Raises ValueError naming the line that is no such row, FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro evaluate`, or `dvc checkout` where it ran before")
    rows: dict[str, dict[str, list[Row]]] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                rows.setdefault(row["model"], {}).setdefault(row["kind"], []).append(row)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number}: not a row of a model: {error}") from error
    return rows


@dataclass(frozen=True)
class Items:
    """What the data hold, by id."""

    examples: Mapping[str, Example]  # whole histories
    questions: Mapping[str, Question]

    def example(self, name: str, history_chars: int) -> Example:
        """A reply with what a model sees of its history; ValueError when the data do not have it."""
        if name not in self.examples:
            raise ValueError(f"the test data have no reply {name}: they are not those that were evaluated")
        example = self.examples[name]
        return replace(example, history=cut_history(example.history, history_chars))

    def question(self, name: str) -> Question:
        """A question; ValueError when the data do not have it."""
        if name not in self.questions:
            raise ValueError(f"the data have no question {name}: they are not those that were evaluated")
        return self.questions[name]


def index_items(dialogues: Iterable[Dialogue], questions: Iterable[Question]) -> Items:
    """Every reply of the dialogues, and every question, by id."""
    examples = {example.id: example for dialogue in dialogues for example in scored_replies(dialogue)}
    return Items(examples, {question.id: question for question in questions})


def restore(
    scores: Mapping[str, Sequence[Row]], said: Mapping[str, Sequence[Row]], items: Items, history_chars: int
) -> Measured:
    """What one model did, from its rows of both files and from the data that hold the texts of the items.

    Raises ValueError when the data are others than those the model saw.
    """
    answers = {section: rows for section, (kind, _) in KINDS.items() if (rows := scores.get(kind, []))}
    choices = {
        section: [items.question(name) for name in dict.fromkeys(row["group"] for row in rows)]
        for section, rows in answers.items()
    }
    asked = Asked(
        examples=[items.example(row["id"], history_chars) for row in scores.get("reply", [])],
        prompts=[items.example(row["id"], history_chars) for row in said.get("greedy", [])],
        quiz=choices.get("choice", []),
        truth=[items.question(row["id"]) for row in said.get("truth", [])],
        truthfulqa=choices.get("truthfulqa", []),
    )
    likelihoods = None
    if scores:
        replies = _scores(asked.examples, scores.get("reply", []))
        found = {section: _scores(choice_examples(choices[section]), rows) for section, rows in answers.items()}
        likelihoods = Likelihoods(replies, found)
    texts = [[row["text"] for row in said.get(kind, [])] for kind in ("greedy", "sampled", "truth", "shown")]
    return Measured(asked, likelihoods, Texts(*texts) if said else None)


def _scores(examples: Sequence[Example], rows: Sequence[Row]) -> list[Score]:
    """The score of each example; ValueError where a row is of another text."""
    if len(examples) != len(rows):
        raise ValueError(f"the data have {len(examples)} texts where {len(rows)} were scored: they are others")
    scores = []
    for example, row in zip(examples, rows, strict=True):
        if row["digest"] != example_digest(example):
            raise ValueError(f"{example.id} is another text in the data than the one that was evaluated")
        scores.append(Score(**{name: row[name] for name in Score.__dataclass_fields__}))
    return scores
