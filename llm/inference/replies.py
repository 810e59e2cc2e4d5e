"""Replies in the making, of any model: until they end, are as long as they may be, or have to slide in the window.

The cap is bytes of text: tokens are of other lengths in other tokenizers, and longer texts score higher.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from llm.inference.decoding import Decoding, mark_seen, next_ids
from llm.inference.likelihood import group_by_length

# Bytes of a token, at least, by which batches are made: the tokenizer trained here has 3.5, that of SmolLM2 5. A reply
# of shorter tokens is gone on with in another batch.
TOKEN_BYTES = 3
HALF = "\ufffd"  # what a character whose last bytes are missing is decoded to


@dataclass(frozen=True)
class Reply:
    """What a model replied."""

    text: str  # of `max_reply_bytes` at most
    ended: bool  # by the model itself, not cut


def cut_reply(text: str, ended: bool, max_bytes: int) -> Reply:
    """The text without the space around it, cut between two characters where it is longer than `max_bytes`.

    >>> cut_reply(" naïve ", True, 3)  # the ï takes two bytes
    Reply(text='na', ended=False)
    """
    text = text.strip()
    if len(text.encode()) > max_bytes:
        return Reply(text.encode()[:max_bytes].decode(errors="ignore").rstrip(), False)
    return Reply(text if ended else text.removesuffix(HALF).rstrip(), ended)


@dataclass
class Draft:
    """A reply in the making."""

    prompt: list[int]
    draws: Tensor  # (n,) in [0, 1), one for each token: there are no more than n
    stop: Collection[int]  # ids of which each ends it
    ids: list[int] = field(default_factory=list)  # without the one that ended it
    n_bytes: int = 0  # of its text, at most
    ended: bool = False
    too_long: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing is added any more."""
        return self.ended or self.too_long or len(self.ids) == len(self.draws)

    def add(self, token: int, texts: "TokenTexts", max_bytes: int) -> None:
        """Take the next token."""
        if token in self.stop:
            self.ended = True
            return
        self.ids.append(token)
        self.n_bytes += texts.n_bytes[token]
        if self.n_bytes > max_bytes:
            self.too_long = texts.exceed(self.ids, max_bytes)

    def context(self, window: int) -> list[int]:
        """What the model reads before the next token: everything, or half a window where there is more than a window.

        So the oldest part is dropped, and the rest read again, once for every half window.
        """
        ids = self.prompt + self.ids
        return ids if len(ids) <= window else ids[len(ids) - window // 2 :]


@dataclass(frozen=True)
class TokenTexts:
    """What a tokenizer's ids stand for."""

    n_bytes: Sequence[int]  # of each token's text, at most
    decode: Callable[[Sequence[int]], str]

    def exceed(self, ids: Sequence[int], max_bytes: int) -> bool:
        """Whether the text is longer than `max_bytes`; a character that is not whole yet does not count."""
        return len(self.decode(ids).strip().removesuffix(HALF).encode()) > max_bytes

    def reply(self, draft: Draft, max_bytes: int) -> Reply:
        """The reply that became of a draft."""
        return cut_reply(self.decode(draft.ids), draft.ended, max_bytes)


class Rows(Protocol):
    """Texts that a model has read side by side, one a row."""

    def step(self, ids: Tensor) -> Tensor:
        """Logits (B, V) behind one more token (B,) of each row."""
        ...

    def keep(self, rows: list[int]) -> None:
        """Drop all but these rows."""
        ...


# Contexts and how many tokens are added to each at most -> the rows that hold them, and the logits (B, V) behind them.
Read = Callable[[list[list[int]], int], tuple[Rows, Tensor]]


def prompt_room(context_length: int) -> int:
    """Tokens that a prompt may have: three quarters of the window, the reply slides."""
    return context_length - context_length // 4


def write_replies(
    drafts: Sequence[Draft], decoding: Decoding, texts: TokenTexts, window: int, batch_tokens: int, read: Read
) -> None:
    """Bring the drafts to their ends.

    A batch holds at most `batch_tokens` keys and values, or one draft. What an item's reply is depends on no other.
    """
    at_once = max(1, decoding.max_reply_bytes // TOKEN_BYTES)
    while open_drafts := [draft for draft in drafts if not draft.done]:
        contexts = [draft.context(window) for draft in open_drafts]
        room = [
            min(window - len(context) + 1, len(draft.draws) - len(draft.ids), at_once)
            for draft, context in zip(open_drafts, contexts, strict=True)
        ]
        for batch in group_by_length([len(c) + n for c, n in zip(contexts, room, strict=True)], batch_tokens):
            _write_batch(
                [open_drafts[i] for i in batch], [contexts[i] for i in batch], [room[i] for i in batch], decoding,
                texts, read,
            )  # fmt: skip


@torch.inference_mode()
def _write_batch(
    drafts: list[Draft],
    contexts: list[list[int]],
    room: list[int],
    decoding: Decoding,
    texts: TokenTexts,
    read: Read,
) -> None:
    """Add tokens to each draft until it is done or has no room left."""
    rows, logits = read(contexts, max(room))
    device, vocab_size = logits.device, logits.size(1)
    stop = torch.tensor(sorted({token for draft in drafts for token in draft.stop}), dtype=torch.long, device=device)
    draws = torch.zeros(len(drafts), max(room))
    for row, draft in enumerate(drafts):
        draws[row, : room[row]] = draft.draws[len(draft.ids) :][: room[row]]
    draws = draws.to(device)
    seen = None
    if decoding.repetition_penalty != 1:
        seen = mark_seen([draft.prompt + draft.ids for draft in drafts], vocab_size).to(device)
    for step in range(max(room)):
        chosen = next_ids(logits, seen, stop, draws[:, step], decoding)
        for draft, token, n in zip(drafts, chosen.tolist(), room, strict=True):
            if step < n and not draft.done:
                draft.add(token, texts, decoding.max_reply_bytes)
        kept = [i for i, (draft, n) in enumerate(zip(drafts, room, strict=True)) if step + 1 < n and not draft.done]
        if not kept:
            return
        if 4 * len(kept) <= 3 * len(drafts):  # not at once: each time copies the cache
            rows.keep(kept)
            drafts, room, draws, chosen = [drafts[i] for i in kept], [room[i] for i in kept], draws[kept], chosen[kept]
            seen = None if seen is None else seen[kept]
        if seen is not None:
            seen.scatter_(1, chosen[:, None], True)
        logits = rows.step(chosen)
