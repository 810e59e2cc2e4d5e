"""What evaluation asks of a model: how likely a reply is, and what it would reply itself."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from llm.dialogue import Example, Prompt
from llm.evaluation.items import cut_history
from llm.inference.decoding import Decoding
from llm.inference.likelihood import Floats, Forward, Window, cut_windows, window_logprobs
from llm.inference.replies import Reply
from llm.tokens.tokenizer import Tokenizer

Encode = Callable[[Prompt], list[int]]


@dataclass(frozen=True)
class Score:
    """How likely a model finds a reply, given its history."""

    logprob: float  # of the reply's text, nats
    end_logprob: float  # of the end token after it
    n_tokens: int  # of the reply's text, the end token not counted; 0 from a model without tokens
    n_windows: int = 1  # more where prompt and reply are longer than the model's window
    n_cut: int = 0  # tokens of the history that were left out for the window's sake


@runtime_checkable
class Scorer(Protocol):
    """A model that can tell how likely a text is."""

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        ...


@runtime_checkable
class TokenScorer(Protocol):
    """A model whose tokens are known one by one: with another of the same tokens it can be mixed."""

    def token_logprobs(self, examples: Sequence[Example]) -> list[Floats]:
        """Log-probabilities (nats) of the tokens of each example's reply, the end token's last."""
        ...


@runtime_checkable
class Replier(Protocol):
    """A model that can reply."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, n_greedy: int = 0) -> list[Reply]:
        """What follows each prompt: a reply, or how it goes on; of the first `n_greedy` the likeliest token each time.

        All in one call: many prompts at once is what makes generation fast.
        """
        ...


@dataclass(frozen=True)
class EvalModel:
    """A model that is not loaded yet."""

    name: str
    real_name: str
    tasks: tuple[str, ...]  # replies, choices and English it scores, generations and continuations, canaries
    load: Callable[[], Scorer | Replier]
    made_from: tuple[Path, ...]  # files and folders whose content makes the model
    seed: int | None = None  # of the weights that are drawn when it is loaded; None where files alone make it


def fit_prompt(prompt: Prompt, room: int, encode: Encode) -> list[int]:
    """Ids of the prompt with the latest of its history, as `cut_history` cuts it, that at most `room` tokens hold.

    The system turn stays, and the beginning of a document that is gone on with.
    """
    ids = encode(prompt)
    if len(ids) <= room or not prompt.history:
        return ids

    def cut(chars: int) -> list[int]:
        return encode(replace(prompt, history=cut_history(prompt.history, chars)))

    chars = range(1, sum(map(len, prompt.history)))
    return cut(max(1, bisect_right(chars, room, key=lambda n: len(cut(n)))))


def encoder(tokenizer: Tokenizer) -> Encode:
    """How a prompt becomes ids of a model trained here."""
    return lambda prompt: tokenizer.encode_prompt(prompt.history, prompt.system) + tokenizer.encode(prompt.opening)


def encode_prompts(examples: Sequence[Example], encode: Encode) -> list[list[int]]:
    """Ids of each example's prompt; equal ones are encoded once."""
    prompts = {prompt: encode(prompt) for prompt in dict.fromkeys(example.prompt for example in examples)}
    return [prompts[example.prompt] for example in examples]


def encode_replies(examples: Sequence[Example], tokenizer: Tokenizer) -> list[list[int]]:
    """Ids of each reply, tokenised apart from its prompt."""
    replies = tokenizer.encode_batch([example.reply for example in examples])
    check_lossless(examples, [tokenizer.decode(ids) for ids in replies])
    return replies


def check_lossless(examples: Sequence[Example], decoded: Sequence[str]) -> None:
    """Raise ValueError where a reply lost something in its tokens: its bytes would be counted for free."""
    for example, text in zip(examples, decoded, strict=True):
        if text.strip() != example.reply.strip():
            raise ValueError(f"the tokenizer turns reply {example.id} into {text[:80]!r}: bits per byte need it whole")


def score_targets(
    prompts: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    forward: Forward,
    head: Tensor,
    window: int,
    batch_tokens: int,
) -> list[Score]:
    """Score of each reply from the ids of its prompt and of its text and end token."""
    cut = [cut_windows(prompt, target, window) for prompt, target in zip(prompts, targets, strict=True)]
    return [
        sum_logprobs(logprobs, n_cut=len(prompt) - len(windows[0].context))
        for prompt, windows, logprobs in zip(
            prompts, cut, reply_logprobs(cut, forward, head, batch_tokens), strict=True
        )
    ]


def reply_logprobs(
    replies: Sequence[Sequence[Window]], forward: Forward, head: Tensor, batch_tokens: int
) -> list[list[Floats]]:
    """Log-probabilities of the tokens of each reply, window by window."""
    found = iter(window_logprobs(forward, head, [one for windows in replies for one in windows], batch_tokens))
    return [[next(found) for _ in windows] for windows in replies]


def sum_logprobs(windows: Sequence[Floats], n_cut: int = 0) -> Score:
    """Score from the log-probabilities of a reply's tokens, the end token's last, window by window."""
    logprobs = np.concatenate(windows)
    return Score(float(logprobs[:-1].sum()), float(logprobs[-1]), len(logprobs) - 1, len(windows), n_cut)
