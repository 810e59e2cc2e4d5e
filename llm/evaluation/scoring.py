"""What evaluation asks of a model: how likely a reply is, and what it would reply itself."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from llm.dialogue import Example
from llm.inference.decoding import Decoding as Decoding
from llm.inference.decoding import item_draws
from llm.inference.generate import generate, prompt_room
from llm.inference.likelihood import Floats, Forward, cut_windows, window_logprobs
from llm.models.gpt import GPT
from llm.models.llama import Llama
from llm.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llm.evaluation.ngram import KneserNey

Encode = Callable[[Sequence[str]], list[int]]


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
class Replier(Protocol):
    """A model that can reply."""

    def generate(self, histories: Sequence[tuple[str, ...]], decoding: Decoding) -> list[str]:
        """A reply to each history."""
        ...


def cut_history(history: tuple[str, ...], max_chars: int) -> tuple[str, ...]:
    """The latest turns of at most `max_chars` characters in all, beginning with a user turn.

    The last user turn always stays; if it alone is too long, its end does, from the start of a word.

    >>> cut_history(("Hi", "Hello", "What is a token?"), 20)
    ('What is a token?',)
    >>> cut_history(("What is a token?",), 10)
    ('a token?',)
    """
    while len(history) > 1 and sum(map(len, history)) > max_chars:
        history = history[2:]
    (*earlier, last) = history
    return (*earlier, _cut_words(last, max_chars))


def _cut_words(text: str, max_chars: int) -> str:
    """The end of a text, from the start of a word; of a single word, its end."""
    text = text if len(text) <= max_chars else text.rstrip()
    start = len(text) - max_chars
    if start <= 0:
        return text
    word = re.search(r"(?<=\s)\S", text[start - 1 :])
    return text[start - 1 + word.start() :] if word else text[start:]


def fit_prompt(history: tuple[str, ...], room: int, encode: Encode) -> list[int]:
    """Ids of the prompt without its oldest exchanges, until it has at most `room` tokens or one turn is left."""
    ids = encode(history)
    while len(ids) > room and len(history) > 1:
        history = history[2:]
        ids = encode(history)
    return ids


@dataclass(frozen=True)
class ScratchModel:
    """A model trained here, with the tokenizer it was trained on."""

    name: str
    gpt: GPT | Llama
    tokenizer: Tokenizer
    batch_tokens: int  # tokens of a forward pass, keys and values of a batch

    def __post_init__(self) -> None:
        self.gpt.eval()

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        prompts = encode_prompts(examples, self.tokenizer.encode_prompt)
        replies = _encode_replies(examples, self.tokenizer)

        def forward(ids: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
            return self.gpt.hidden(ids, positions, mask=mask)

        window = self.gpt.config.context_length
        targets = [[*reply, self.tokenizer.end_id] for reply in replies]
        return score_targets(prompts, targets, forward, self.gpt.head, window, self.batch_tokens)

    def generate(self, histories: Sequence[tuple[str, ...]], decoding: Decoding) -> list[str]:
        """A reply to each history; it ends at any role token."""
        tokenizer = self.tokenizer
        room = prompt_room(self.gpt.config.context_length, decoding.max_new_tokens)
        prompts = [fit_prompt(history, room, tokenizer.encode_prompt) for history in histories]
        stop = (tokenizer.end_id, tokenizer.user_id, tokenizer.assistant_id)
        draws = item_draws(histories, decoding)
        replies = generate(self.gpt, prompts, draws, decoding, stop, self.batch_tokens)
        return [tokenizer.decode(ids).strip() for ids in replies]


@dataclass(frozen=True)
class NgramScorer:
    """A model that counts, over the tokens of the scratch model."""

    name: str
    ngram: "KneserNey"
    tokenizer: Tokenizer

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        prompts = encode_prompts(examples, self.tokenizer.encode_prompt)
        replies = _encode_replies(examples, self.tokenizer)
        scores = []
        for prompt, reply in zip(prompts, replies, strict=True):
            seen = prompt[max(0, len(prompt) - (self.ngram.order - 1)) :]  # no token depends on more
            logprobs = self.ngram.token_logprobs([*seen, *reply, self.tokenizer.end_id])
            scores.append(sum_logprobs([logprobs[len(seen) :]]))
        return scores


def encode_prompts(examples: Sequence[Example], encode: Encode) -> list[list[int]]:
    """Ids of each example's prompt; equal histories are encoded once."""
    prompts = {history: encode(history) for history in dict.fromkeys(example.history for example in examples)}
    return [prompts[example.history] for example in examples]


def _encode_replies(examples: Sequence[Example], tokenizer: Tokenizer) -> list[list[int]]:
    """Ids of each reply, tokenised apart from its prompt."""
    replies = tokenizer.encode_batch([example.reply for example in examples])
    check_lossless(examples, [tokenizer.decode(ids) for ids in replies])
    return replies


def check_lossless(examples: Sequence[Example], decoded: Sequence[str]) -> None:
    """Nothing; raises ValueError where a reply lost something in its tokens: its bytes would be counted for free."""
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
    logprobs = iter(window_logprobs(forward, head, [one for windows in cut for one in windows], batch_tokens))
    return [
        sum_logprobs([next(logprobs) for _ in windows], n_cut=len(prompt) - len(windows[0].context))
        for prompt, windows in zip(prompts, cut, strict=True)
    ]


def sum_logprobs(windows: Sequence[Floats], n_cut: int = 0) -> Score:
    """Score from the log-probabilities of a reply's tokens, the end token's last, window by window."""
    logprobs = np.concatenate(windows)
    return Score(float(logprobs[:-1].sum()), float(logprobs[-1]), len(logprobs) - 1, len(windows), n_cut)
