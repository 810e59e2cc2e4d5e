"""Replies of several conversations advanced together, one token each a forward pass; others join between two tokens."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llm.app.speaker import Speaker
from llm.dialogue import Prompt
from llm.inference.decoding import Decoding, item_draws, mark_seen, next_ids
from llm.inference.replies import Draft, Rows


@dataclass(frozen=True)
class Step:
    """A token as it was chosen."""

    token: int
    logprob: float  # at temperature 1, of the model itself: nothing penalised, nothing left out
    alternatives: tuple[tuple[int, float], ...]  # the likeliest tokens with theirs, this one among them where it is


@dataclass(eq=False)
class Slot:
    """A reply in the making, and how its tokens are chosen."""

    draft: Draft
    decoding: Decoding
    n_read: int = 0  # of its tokens, in the model's cache
    left: bool = False  # nobody waits for it any more


def take_slot(
    speaker: Speaker, prompt: Prompt, decoding: Decoding, max_tokens: int, prefix: Sequence[int] = ()
) -> Slot:
    """A reply to the prompt that begins with the ids `prefix` and gets `max_tokens` more at most.

    Its draws are those of the evaluation: they follow from the seed and the texts, and a branch goes on in them.
    Raises ValueError for a prefix that no reply can begin with.
    """
    stop = speaker.stops(prompt)
    check_prefix(speaker, stop, prefix)
    draws = item_draws([prompt.texts], decoding)[0][: len(prefix) + max_tokens]
    n_bytes = sum(speaker.texts.n_bytes[token] for token in prefix)
    return Slot(Draft(speaker.encode(prompt), draws, stop, list(prefix), n_bytes), decoding)


def check_prefix(speaker: Speaker, stop: Collection[int], prefix: Sequence[int]) -> None:
    """Raises ValueError for a prefix that no reply can begin with, where `stop` are the ids that end a reply."""
    for token in prefix:
        if not 0 <= token < speaker.vocab_size or token in stop:
            raise ValueError(f"no reply of {speaker.about.name} can hold the token {token} of the prefix")


class Batch:
    """The replies that are being written."""

    def __init__(self, speaker: Speaker, n_alternatives: int) -> None:
        self.speaker, self.n_alternatives = speaker, n_alternatives
        self.slots: list[Slot] = []  # in the order of the rows
        self.joining: list[Slot] = []
        self.rows: Rows | None = None

    def join(self, slot: Slot) -> None:
        """Take part from the next token on."""
        self.joining.append(slot)

    def rejoin(self, slot: Slot) -> None:
        """Take part again, from the next token on: what it has read may have left the cache."""
        slot.left = False
        if slot not in self.slots and slot not in self.joining:
            self.joining.append(slot)

    @torch.inference_mode()
    def step(self) -> list[tuple[Slot, Step]]:
        """Add a token to each reply that is not done; which ones, and how they were chosen."""
        logits = self._advance()
        if logits is None:
            return []
        chosen = self._choose(logits)
        logprobs = logits.float().log_softmax(1)
        best, ids = logprobs.topk(min(self.n_alternatives, logprobs.size(1)), dim=1)
        taken = logprobs.gather(1, chosen[:, None]).squeeze(1)
        rows = zip(self.slots, chosen.tolist(), taken.tolist(), ids.tolist(), best.tolist(), strict=True)
        steps = [(slot, Step(i, p, tuple(zip(others, theirs, strict=True)))) for slot, i, p, others, theirs in rows]
        for slot, step in steps:
            slot.draft.add(step.token, self.speaker.texts, slot.decoding.max_reply_bytes)
        return steps

    def _advance(self) -> Tensor | None:
        """Logits (B, V) behind each reply that goes on; those that are done or were left drop out."""
        window = self.speaker.about.context_length
        open_rows = [i for i, slot in enumerate(self.slots) if not (slot.left or slot.draft.done)]
        stay = [i for i in open_rows if self.slots[i].n_read < window]
        slide = [self.slots[i] for i in open_rows if self.slots[i].n_read >= window]
        fresh = slide + [slot for slot in self.joining if not (slot.left or slot.draft.done)]
        self.joining = []
        parts = [part for part in (self._step_rows(stay), self._read_rows(fresh)) if part is not None]
        return torch.cat(parts) if parts else None

    def _step_rows(self, stay: list[int]) -> Tensor | None:
        """Logits behind the last token of these rows; all others leave the cache."""
        if len(stay) < len(self.slots):
            self.slots = [self.slots[i] for i in stay]
            if self.rows is not None and stay:
                self.rows.keep(stay)
        if not stay or self.rows is None:
            self.rows = None
            return None
        self.rows = self.speaker.with_room(self.rows)
        last = torch.tensor([(slot.draft.prompt + slot.draft.ids)[-1] for slot in self.slots])
        for slot in self.slots:
            slot.n_read += 1
        return self.rows.step(last.to(self.speaker.device))

    def _read_rows(self, fresh: list[Slot]) -> Tensor | None:
        """Logits behind all that these see, who are then the last rows."""
        if not fresh:
            return None
        contexts = [slot.draft.context(self.speaker.about.context_length) for slot in fresh]
        for slot, context in zip(fresh, contexts, strict=True):
            slot.n_read = len(context)
        rows, logits = self.speaker.read(contexts, 1)
        self.rows, self.slots = self.speaker.append(self.rows, rows), self.slots + fresh
        return logits

    def _choose(self, logits: Tensor) -> Tensor:
        """The next token of each row, (B,), by the one rule of llm/inference; rows of one way of choosing at once."""
        groups: dict[Decoding, list[int]] = {}
        for i, slot in enumerate(self.slots):
            groups.setdefault(replace(slot.decoding, seed=0), []).append(i)
        chosen = torch.empty(len(self.slots), dtype=torch.long, device=logits.device)
        for decoding, rows in groups.items():
            drafts = [self.slots[i].draft for i in rows]
            ends = sorted({token for draft in drafts for token in draft.stop})
            stop = torch.tensor(ends, dtype=torch.long, device=logits.device)
            draws = torch.stack([draft.draws[len(draft.ids)] for draft in drafts]).to(logits.device)
            seen = None
            if decoding.repetition_penalty != 1:
                seen = mark_seen([draft.prompt + draft.ids for draft in drafts], logits.size(1)).to(logits.device)
            chosen[rows] = next_ids(logits[rows], seen, stop, draws, decoding)
        return chosen


@torch.inference_mode()
def next_logprobs(speaker: Speaker, prompt: Prompt, prefix: Sequence[int]) -> Tensor:
    """Log-probabilities (V,) of what comes next. Raises ValueError for a prefix that no reply can begin with."""
    check_prefix(speaker, speaker.stops(prompt), prefix)
    window = speaker.about.context_length
    ids = [*speaker.encode(prompt), *prefix]
    context = ids if len(ids) <= window else ids[-(window // 2) :]
    _, logits = speaker.read([context], 1)
    return logits[0].float().log_softmax(0)
