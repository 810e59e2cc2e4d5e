"""Reply tokens scored a second: what the stage evaluate does against a plain loop, one reply at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.base import ROOT, open_base
from bench.ours import LAPTOP
from bench.rounds import Contender, Lap, alternate, check_equal
from bench.shapes import SEED
from bench.table import Section, summarise
from llm.corpus.questions import draw_questions, read_questions
from llm.dialogue import Example, read_table
from llm.evaluation.ask import ask_likelihoods
from llm.evaluation.choice import choice_examples
from llm.evaluation.hub_model import HubModel
from llm.evaluation.items import EvalItems, EvaluateConfig, draw_examples
from llm.hub.chat import encode_prompt, encode_reply, end_id
from llm.hub.info import read_info
from llm.hub.pretrained import load_base
from llm.sources.curated import read_curated
from stages.params import load

TEST, CURATED = ROOT / "data" / "clean" / "test.arrow", ROOT / "data" / "curated"
DIALOGUES, QUESTIONS = 4, 6  # test dialogues of each source, quiz questions
OURS, PEER = "ours", "one reply at a time"
TUNED = PEER + " + allocator"
TOLERANCE = 1e-4  # nats a token


@dataclass(frozen=True)
class ScoredItems:
    """What is scored with which model."""

    base: Path
    eval_items: EvalItems
    batch_tokens: int


def draw_scored_items(base: Path, dialogues: int, questions: int) -> ScoredItems:
    """Test replies as the stage evaluate draws them, and some of the quiz."""
    config = replace(load("evaluate", EvaluateConfig, LAPTOP), dialogues=dialogues)
    parts = [read_curated(CURATED / f"{name}.jsonl", name).dialogues for name in ("eli5", "technical")]
    test = read_table(TEST) if TEST.is_file() else iter([*parts[0], *parts[1]])
    quiz = draw_questions(read_questions(CURATED / "quiz.jsonl"), questions, SEED)
    return ScoredItems(base, EvalItems(draw_examples(test, config, SEED), [], quiz, [], []), config.batch_tokens)


def ours(lap: Lap, items: ScoredItems) -> None:
    """Score all items as the stage evaluate does, again and again."""
    model = HubModel("base", *load_base(items.base), items.batch_tokens)
    note = None
    while True:
        found = ask_likelihoods(model, items.eval_items, lambda _: None)
        scores = [*found.replies, *found.answers["choice"]]
        n_tokens = sum(score.n_tokens + 1 for score in scores)
        note = sum(score.logprob + score.end_logprob for score in scores) / n_tokens
        lap(n_tokens, note)


@torch.no_grad()
def score_plainly(model: Any, tokenizer: Any, examples: Sequence[Example]) -> tuple[float, int]:
    """Summed log-probability of the replies and their end tokens, and how many tokens that is."""
    total, n_tokens = 0.0, 0
    for example in examples:
        prompt = encode_prompt(tokenizer, example.history)
        targets = [*encode_reply(tokenizer, example.reply), end_id(tokenizer)]
        logits = model(input_ids=torch.tensor([[*prompt, *targets[:-1]]])).logits[0, len(prompt) - 1 :]
        total += float(logits.log_softmax(1).gather(1, torch.tensor(targets)[:, None]).sum())
        n_tokens += len(targets)
    return total, n_tokens


def theirs(lap: Lap, items: ScoredItems) -> None:
    """Score all items one reply at a time, again and again."""
    model, tokenizer = load_base(items.base)
    examples = [*items.eval_items.examples, *choice_examples(items.eval_items.quiz)]
    while True:
        total, n_tokens = score_plainly(model, tokenizer, examples)
        lap(n_tokens, total / n_tokens)


def compare(base: Path, dialogues: int, questions: int, rounds: int) -> Section:
    """Tokens a second of both."""
    items = draw_scored_items(base, dialogues, questions)
    contenders = [
        Contender(OURS, ours, {"items": items}, keeps_memory=True, multiplies_fast=True),
        Contender(PEER, theirs, {"items": items}, keeps_memory=False),
        Contender(TUNED, theirs, {"items": items}, keeps_memory=True),
    ]
    run = alternate(contenders, rounds, lambda ready: check_equal(ready, TOLERANCE), "evaluate")
    facts = {
        "base": read_info(base)["name"],
        "data": "data/clean" if TEST.is_file() else "data/curated",
        "replies": len(items.eval_items.examples),
        "answers": len(choice_examples(items.eval_items.quiz)),
    }
    return summarise(run, "tokens/s", {f"{name} / ours": (name, OURS) for name in (PEER, TUNED)}, facts)


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """The base model of the last run where there is one."""
    with open_base() as base:
        yield "scoring replies", compare(base, DIALOGUES, QUESTIONS, rounds)
