"""Step 5, write: one row for every output of a model, and the way back; the figures are computed again from these.

Rows name items by id; the texts of the items are rows of their own. A digest tells an item from another of the same id.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llm.corpus.questions import Question
from llm.dialogue import Example
from llm.evaluation.ask import Generations, Likelihoods, Outputs
from llm.evaluation.choice import choice_examples, grade
from llm.evaluation.items import EvalItems, continued_prompt, example_digest
from llm.evaluation.samples import OPENING_CHARS, OWN, first_words
from llm.evaluation.scoring import Score
from llm.files import parse_json, utf8_lines

OutputRow = dict[str, Any]

# Kinds of rows of each section: an answer's score, a question's grade.
KINDS = {
    "choice": ("answer", "question"),
    "literacy": ("statement", "pair"),
    "premises": ("premise_answer", "premise"),
    "truthfulqa": ("truthfulqa_answer", "truthfulqa_question"),
}


def score_rows(model: str, items: EvalItems, found: Likelihoods) -> list[OutputRow]:
    """How likely the model found each reply and each answer to choose from (nats), and its grade on each question."""
    parts = [("reply", items.examples, found.replies)]
    rows: list[OutputRow] = []
    for section, answers in found.answers.items():
        questions, (kind, graded) = items.choices[section], KINDS[section]
        parts.append((kind, choice_examples(questions), answers))
        rows += [
            {"model": model, "kind": graded, "id": question.id, "source": question.area, **one}
            for question, one in zip(questions, grade(section, questions, answers), strict=True)
        ]
    scored = [
        {"model": model, "kind": kind, **_score_row(example, score)}
        for kind, examples, scores in parts
        for example, score in zip(examples, scores, strict=True)
    ]
    return scored + rows


def _score_row(example: Example, score: Score) -> OutputRow:
    return {
        "id": example.id,
        "source": example.source,
        "group": example.group,
        "digest": example_digest(example),
        "bytes": len(example.reply.encode()),
        **asdict(score),
    }


def generation_rows(model: str, items: EvalItems, found: Generations) -> list[OutputRow]:
    """Every text that the model generated."""
    prompt_ids = [example.id for example in items.prompts]
    kinds = {
        "greedy": (prompt_ids, found.greedy),
        "sampled": (prompt_ids[: len(found.sampled)], found.sampled),
        "truth": ([question.id for question in items.truth], found.truth),
        "shown": (items.shown, found.shown),
        "shown_sampled": (items.shown[: len(found.shown_sampled)], found.shown_sampled),
        "continued": ([example.id for example in items.continued], found.continued),
    }
    return [
        {"model": model, "kind": kind, "id": name, "text": text, "ended": ended}
        for kind, (names, texts) in kinds.items()
        for name, text, ended in zip(names, texts, found.ended_in(kind), strict=True)
    ]


def item_rows(items: EvalItems) -> list[OutputRow]:
    """What the models are asked about, once: replies and what stands before them, questions with their answers."""
    questions = {one.id: one for asked in (*items.choices.values(), items.truth) for one in asked}
    return [
        *({"kind": "reply", **asdict(example)} for example in items.examples),
        *({"kind": "question", **asdict(replace(one, explanation=""))} for one in questions.values()),  # for people
    ]


def sample_texts(items: EvalItems, own: Collection[str]) -> dict[str, list[OutputRow]]:
    """What samples.md shows of the test set: its prompts, those of the sources `own`, and what documents begin with."""
    prompts = [(one, " / ".join(one.prompt.texts), one.reply) for one in items.prompts]
    texts = {
        "prompts": prompts,
        "own": [one for one in prompts if one[0].source in own][:OWN],
        "continued": [
            (one, begun, first_words(one.reply[len(begun) :].strip(), OPENING_CHARS))
            for one in items.continued
            for begun in [continued_prompt(one).opening]
        ],
    }
    return {
        section: [{"id": one.id, "source": one.source, "text": text, "real": real} for one, text, real in rows]
        for section, rows in texts.items()
    }


def jsonl_bytes(rows: Iterable[OutputRow]) -> bytes:
    """JSON lines; a float stands there to its last digit."""
    return "".join(f"{json.dumps(row, ensure_ascii=False, sort_keys=True, allow_nan=False)}\n" for row in rows).encode()


def read_output_rows(path: Path) -> dict[str, dict[str, list[OutputRow]]]:
    """The rows of a file by model and kind, in order.

    Raises ValueError naming the line that is no such row, FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro evaluate`, or `dvc checkout` where it ran before")
    rows: dict[str, dict[str, list[OutputRow]]] = {}
    for number, line in utf8_lines(path):
        try:
            row = parse_json(line)
            rows.setdefault(row["model"], {}).setdefault(row["kind"], []).append(row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: not a row of a model: {error}") from error
    return rows


@dataclass(frozen=True)
class ItemIndex:
    """What a run's models were asked about, by id."""

    examples: Mapping[str, Example]
    questions: Mapping[str, Question]

    def example(self, name: str) -> Example:
        """A reply with what a model sees of its history; ValueError when there is none of that name."""
        if name not in self.examples:
            raise ValueError(f"the items have no reply {name}: they are not those that were evaluated")
        return self.examples[name]

    def question(self, name: str) -> Question:
        """A question; ValueError when there is none of that name."""
        if name not in self.questions:
            raise ValueError(f"the items have no question {name}: they are not those that were evaluated")
        return self.questions[name]


def _with_tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def read_items(path: Path) -> ItemIndex:
    """The items of a file of `item_rows`.

    Raises ValueError naming the line that is none, FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro evaluate`, or `dvc checkout` where it ran before")
    examples, questions = dict[str, Example](), dict[str, Question]()
    for number, line in utf8_lines(path):
        try:
            row = _with_tuples(parse_json(line))
            if row.pop("kind") == "reply":
                examples[row["id"]] = Example(**row)
            else:
                questions[row["id"]] = Question(**row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: not an item ({error!r}): run `dvc repro evaluate`") from error
    return ItemIndex(examples, questions)


def restore_outputs(
    scored: Mapping[str, Sequence[OutputRow]],
    generated: Mapping[str, Sequence[OutputRow]],
    index: ItemIndex,
) -> Outputs:
    """The outputs of one model, from its rows of both files and from the texts of the items.

    Raises ValueError when the items are others than those the model saw.
    """
    answers = {section: rows for section, (kind, _) in KINDS.items() if (rows := scored.get(kind, []))}
    choices = {
        section: [index.question(name) for name in dict.fromkeys(row["group"] for row in rows)]
        for section, rows in answers.items()
    }
    items = EvalItems(
        examples=[index.example(row["id"]) for row in scored.get("reply", [])],
        prompts=[index.example(row["id"]) for row in generated.get("greedy", [])],
        quiz=choices.get("choice", []),
        truth=[index.question(row["id"]) for row in generated.get("truth", [])],
        truthfulqa=choices.get("truthfulqa", []),
        shown=tuple(row["id"] for row in generated.get("shown", [])),
        continued=[index.example(row["id"]) for row in generated.get("continued", [])],
        pairs=choices.get("literacy", []),
        premises=choices.get("premises", []),
    )
    likelihoods = None
    if scored:
        replies = _scores(items.examples, scored.get("reply", []))
        found = {section: _scores(choice_examples(choices[section]), rows) for section, rows in answers.items()}
        likelihoods = Likelihoods(replies, found)
    kinds = ("greedy", "sampled", "truth", "shown", "shown_sampled", "continued")
    texts, ended = ({kind: [row[of] for row in generated.get(kind, [])] for kind in kinds} for of in ("text", "ended"))
    return Outputs(items, likelihoods, Generations(**texts, ended=ended) if generated else None)


def _scores(examples: Sequence[Example], rows: Sequence[OutputRow]) -> list[Score]:
    """The score of each example; ValueError where a row is of another text."""
    if len(examples) != len(rows):
        raise ValueError(f"the items have {len(examples)} texts where {len(rows)} were scored: they are others")
    scores = []
    for example, row in zip(examples, rows, strict=True):
        if row["digest"] != example_digest(example):
            raise ValueError(f"{example.id} is another text in the items than the one that was evaluated")
        scores.append(Score(**{name: row[name] for name in Score.__dataclass_fields__}))
    return scores
