"""A reply as people see it: tokens with their text, as soon as their characters are whole."""

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from llm.app.batch import Batch, Slot, Step, take_slot
from llm.app.speaker import Speaker
from llm.dialogue import Prompt, join_speaker_turns
from llm.inference.decoding import Decoding
from llm.inference.replies import HALF

N_ALTERNATIVES = 10
HALF_CHARACTERS = 4  # bytes of the longest character: as many tokens may be needed for it


@dataclass(frozen=True)
class Alternative:
    """A token that may come next."""

    token: int
    text: str
    logprob: float  # at temperature 1
    ends: bool  # whether it would end the reply


@dataclass(frozen=True)
class Token:
    """A token of a reply."""

    token: int
    text: str  # of it and of earlier ones whose character it makes whole
    logprob: float
    alternatives: tuple[Alternative, ...]  # the likeliest first


class TextStream:
    """Text out of ids, one at a time: in all it is the text of all ids, without a character that never became whole."""

    def __init__(self, speaker: Speaker, prefix: Sequence[int] = ()) -> None:
        self.decode = speaker.texts.decode
        self.ids: list[int] = []
        self.shown = 0  # ids whose text was given
        for token in prefix:
            self.feed(token)

    def feed(self, token: int) -> str:
        """The text that is whole now and was not before."""
        self.ids.append(token)
        start = max(0, self.shown - HALF_CHARACTERS)  # behind which the text of the rest is that of the whole
        before, now = self.decode(self.ids[start : self.shown]), self.decode(self.ids[start:])
        if now.endswith(HALF):
            return ""
        self.shown = len(self.ids)
        return now[len(before) :]


@dataclass
class StreamedReply:
    """A reply in the making, with its text."""

    slot: Slot
    text: TextStream
    speaker: Speaker
    room: int  # bytes of text that may still be shown
    begun: bool = False  # the space that opens a reply does not count

    def show(self, step: Step, n_alternatives: int) -> Token | None:
        """The token that was chosen, with so many alternatives; None for the one that ends the reply."""
        if self.slot.draft.ended:
            return None
        others = list_alternatives(self.speaker, self.slot.draft.stop, step.alternatives[:n_alternatives])
        return Token(step.token, self._cut(self.text.feed(step.token)), step.logprob, others)

    def _cut(self, text: str) -> str:
        """What of the text the cap on bytes leaves."""
        if not self.begun and not text.strip():
            return text
        counted = text if self.begun else text.lstrip()
        self.begun = True
        if len(counted.encode()) <= self.room:
            self.room -= len(counted.encode())
            return text
        kept = counted.encode()[: self.room].decode(errors="ignore")
        self.room = 0
        return text[: len(text) - len(counted)] + kept

    @property
    def reason(self) -> str:
        """Why it is over."""
        return "end" if self.slot.draft.ended else "length"


def list_alternatives(
    speaker: Speaker, stop: Collection[int], found: Iterable[tuple[int, float]]
) -> tuple[Alternative, ...]:
    """The tokens (id, log-probability) as people see them, where `stop` are the ids that end the reply."""
    return tuple(Alternative(i, speaker.spell(i), logprob, i in stop) for i, logprob in found)


def start_reply(
    speaker: Speaker, prompt: Prompt, decoding: Decoding, max_tokens: int, prefix: Sequence[int] = ()
) -> StreamedReply:
    """A reply to the prompt, not yet begun; see `take_slot`."""
    slot = take_slot(speaker, prompt, decoding, max_tokens, prefix)
    return StreamedReply(slot, TextStream(speaker, prefix), speaker, decoding.max_reply_bytes)


def stream_reply(speaker: Speaker, prompt: Prompt, decoding: Decoding) -> Iterator[Token]:
    """The reply, token by token: with `TextStream` the text of `generate` of the evaluation."""
    reply = start_reply(speaker, prompt, decoding, decoding.max_reply_bytes + 1)  # as many as have a draw
    batch = Batch(speaker, N_ALTERNATIVES)
    batch.join(reply.slot)
    while not reply.slot.draft.done:
        ((_, step),) = batch.step()
        token = reply.show(step, N_ALTERNATIVES)
        if token is not None:
            yield token


def make_prompt(messages: Sequence[tuple[str, str]]) -> Prompt:
    """What messages (role, text) ask: an optional system message, then turns in alternation, the user's last.

    Messages of one role in a row are one turn. Raises ValueError for another order.
    """
    system = messages[0][1] if messages and messages[0][0] == "system" else None
    rest = messages if system is None else messages[1:]
    if any(role not in ("user", "assistant") for role, _ in rest):
        raise ValueError("one system message may stand first, all others are the user's or the assistant's")
    turns = join_speaker_turns(rest)
    if not turns or rest[0][0] != "user" or rest[-1][0] != "user":
        raise ValueError("the first and the last message have to be the user's")
    if not turns[-1].strip():
        raise ValueError("the last message is empty")
    return Prompt(turns, system)


def new_seed() -> int:
    """A seed where nobody named one."""
    return secrets.randbelow(2**31)
