"""The bodies of requests: what they may hold, checked before anything is computed."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from llm.app.limits import DEFAULT_TOKENS, MAX_CHARS, MAX_MESSAGES, MAX_TEXT, MAX_TOKENS
from llm.app.streamed_reply import make_prompt, new_seed
from llm.dialogue import Prompt
from llm.evaluation.items import cut_history
from llm.inference.decoding import Decoding

Text = Annotated[str, StringConstraints(max_length=MAX_CHARS)]
Ids = Annotated[list[int], Field(max_length=2 * MAX_TOKENS)]
N_NEXT = 20
MAX_NEXT = 200


class Message(BaseModel):
    """A turn of a conversation, or what the model is told before it."""

    role: Literal["system", "user", "assistant"]
    content: Text


Messages = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]


class Drawing(BaseModel):
    """How tokens are drawn; what is left out is the model's own."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=1_000_000)
    repetition_penalty: float = Field(1.0, ge=0.1, le=10)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)

    def decoding(self, temperature: float, top_p: float) -> Decoding:
        """The same with the model's own values where none are named."""
        return Decoding(
            MAX_TEXT,
            temperature if self.temperature is None else self.temperature,
            self.top_k,
            max(1e-6, top_p if self.top_p is None else self.top_p),
            self.repetition_penalty,
            new_seed() if self.seed is None else self.seed,
        )


class ReplyBody(Drawing):
    """POST /api/reply."""

    model: str
    messages: Messages
    max_tokens: int = Field(DEFAULT_TOKENS, ge=1, le=MAX_TOKENS)
    prefix: Ids = []


class NextBody(BaseModel):
    """POST /api/next."""

    model: str
    messages: Messages
    prefix: Ids = []
    n: int = Field(N_NEXT, ge=1, le=MAX_NEXT)


def read_prompt(messages: list[Message]) -> Prompt:
    """What the messages ask, of a long history the latest. Raises ValueError for an order that is none."""
    prompt = make_prompt([(message.role, message.content) for message in messages])
    return Prompt(cut_history(prompt.history, MAX_CHARS), prompt.system)
