"""Replies of one model, by our `generate` and by transformers' own, the same weights and the same texts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.peers import hub_gpt2
from bench.rounds import Contender, Lap, alternate
from bench.shapes import FULL, SMALL, Shape, draw_ids, fresh_gpt
from bench.table import Section, summarise
from llm.inference.decoding import Decoding
from llm.inference.generate import generate
from llm.inference.replies import TokenTexts

OURS, PEER = "ours", "transformers generate()"
TUNED = PEER + " + allocator"
NO_LIMIT = 10**9  # tokens of a batch


@dataclass(frozen=True)
class Task:
    """What is generated."""

    shape: Shape
    batch_size: int
    prompt_tokens: int
    new_tokens: int


def ours(lap: Lap, task: Task) -> None:
    """Reply greedily by our `generate`, again and again."""
    model, prompts = fresh_gpt(task.shape).eval(), prompts_of(task).tolist()
    decoding = Decoding(NO_LIMIT // 1000, 0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=0)
    draws = torch.zeros(task.batch_size, task.new_tokens)  # and no token has text, so these alone are the limit
    texts = TokenTexts([0] * model.vocab_size, lambda ids: "")
    while True:
        drafts = generate(model, prompts, draws, decoding, (), texts, NO_LIMIT)
        lap(task.batch_size * task.new_tokens, [draft.ids for draft in drafts])


def theirs(lap: Lap, task: Task) -> None:
    """Reply greedily by transformers' `generate`, again and again."""
    model, prompts = hub_gpt2(task.shape).eval(), prompts_of(task)
    mask = torch.ones_like(prompts)
    while True:
        found = model.generate(
            prompts, attention_mask=mask, max_new_tokens=task.new_tokens, do_sample=False, pad_token_id=0
        )
        lap(task.batch_size * task.new_tokens, found[:, task.prompt_tokens :].tolist())


def prompts_of(task: Task) -> Tensor:
    """Prompt ids (B, T)."""
    return draw_ids(task.shape, task.batch_size, task.prompt_tokens)


def check_replies(ready: dict[str, Any]) -> None:
    """Raise ValueError unless all contenders reply the same."""
    expected = ready[OURS]
    for name, replies in ready.items():
        different = sum(a != b for a, b in zip(expected, replies, strict=True))
        if different:
            raise ValueError(f"{name} replies to {different} of {len(expected)} prompts with other tokens than ours")


def compare(task: Task, rounds: int) -> Section:
    """Tokens a second of both."""
    entered = [
        Contender(OURS, ours, {"task": task}, keeps_memory=True, multiplies_fast=True),
        Contender(PEER, theirs, {"task": task}, keeps_memory=False),
        Contender(TUNED, theirs, {"task": task}, keeps_memory=True),
    ]
    run = alternate(entered, rounds, check_replies, describe(task))
    ratios = {f"{name} / ours": (name, OURS) for name in (PEER, TUNED)}
    facts = {"prompt tokens": task.prompt_tokens, "new tokens": task.new_tokens}
    return summarise(run, "tokens/s", ratios, facts)


def describe(task: Task) -> str:
    """The comparison's title, `generation SMALL, batch 32`."""
    return f"generation {task.shape.name}, batch {task.batch_size}"


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """SMALL, one prompt and 32; `full`: FULL with 32 too."""
    tasks = [Task(SMALL, 1, 32, 192), Task(SMALL, 32, 32, 192)]
    for task in [*tasks, Task(FULL, 32, 32, 64)] if full else tasks:
        yield describe(task), compare(task, rounds)
