"""The same models as OpenAI's clients ask for them: /v1/models, /v1/chat/completions, /v1/completions."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field, StringConstraints, field_validator
from starlette.background import BackgroundTask

from llm.app.answers import (
    EVENTS,
    OF_BODY,
    OF_LIST,
    OF_ONE,
    ChatCompletion,
    OpenAIFailure,
    OpenAIModel,
    OpenAIModelList,
    TextCompletion,
    failure_json,
    failures,
)
from llm.app.bodies import Drawing, Message, Messages, Text, read_prompt
from llm.app.limits import DEFAULT_TOKENS, MAX_MESSAGES, MAX_TOKENS
from llm.app.served_models import ReplyFailed, ServedModels, read_stream
from llm.app.stop_text import StopText
from llm.app.streamed_reply import Token
from llm.app.worker import End, Stream
from llm.dialogue import Prompt

Stop = Annotated[str, StringConstraints(min_length=1, max_length=100)]
REASONS = {"end": "stop", "length": "length", "stopped": "length"}  # their word for ours
LOOK_S = 0.5  # between two looks whether a client that waits for all of an answer is still there
DONE = "data: [DONE]\n\n"


class Part(BaseModel):
    """A piece of a message."""

    type: Literal["text"]
    text: Text


class OpenAIMessage(BaseModel):
    """A turn as their clients send it: its text, or pieces of it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part]

    def plain(self) -> Message:
        """As ours."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    include_usage: bool = False


class Common(Drawing):
    """What both kinds of completion have."""

    model: str
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None  # only what changes nothing
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None

    @property
    def stops(self) -> list[str]:
        """Texts of which each ends the reply."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with how many tokens there were."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatBody(Common):
    """POST /v1/chat/completions."""

    messages: Annotated[list[OpenAIMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: Annotated[list[Any], Field(max_length=0)] | None = None  # no model here calls any

    def prompt(self) -> Prompt:
        """What is asked."""
        messages: Messages = [message.plain() for message in self.messages]
        return read_prompt(messages)


class TextBody(Common):
    """POST /v1/completions: how a text goes on, without any template."""

    prompt: Text
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: Literal[False] = False
    best_of: Literal[1] = 1

    @field_validator("prompt", mode="before")
    @classmethod
    def only_one(cls, prompt: Any) -> Any:
        """A list of one text is that text."""
        return prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt


@dataclass
class Answer:
    """One request that is being answered: in what form, and what of it was."""

    body: ChatBody | TextBody
    stream: Stream
    prompt_tokens: int
    n_tokens: int = 0
    offset: int = 0  # characters so far

    def __post_init__(self) -> None:
        self.chat = isinstance(self.body, ChatBody)
        self.id = f"{'chatcmpl' if self.chat else 'cmpl'}-{uuid.uuid4().hex[:24]}"
        self.created = int(time.time())

    async def pieces(self) -> AsyncGenerator[tuple[str, list[Token], str | None], None]:
        """Text with the tokens it came with; the last one with the reason."""
        text = StopText(self.body.stops)
        async with aclosing(read_stream(self.stream)) as items:
            async for item in items:
                if isinstance(item, End):
                    yield text.rest(), [], REASONS[item.reason]
                    return
                self.n_tokens += 1
                shown = text.feed(item.text)
                yield shown, [item], "stop" if text.found else None
                if text.found:
                    return

    def envelope(self, choices: list[dict[str, Any]], chunk: bool) -> dict[str, Any]:
        """The answer around its choices."""
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.body.model, "choices": choices}

    def usage(self) -> dict[str, int]:
        """How many tokens were read and written."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.n_tokens,
            "total_tokens": self.prompt_tokens + self.n_tokens,
        }

    def logprobs(self, tokens: list[Token]) -> dict[str, Any] | None:
        """The tokens' log-probabilities in the form of the kind of request; None where none are asked for."""
        if isinstance(self.body, ChatBody):
            n = self.body.top_logprobs or 0
            return (
                {"content": [chat_logprob(one, n) for one in tokens], "refusal": None} if self.body.logprobs else None
            )
        if self.body.logprobs is None:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self.offset)
            self.offset += len(token.text)
        n = self.body.logprobs
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{one.text: one.logprob for one in token.alternatives[:n]} for token in tokens],
            "text_offset": offsets,
        }

    def choice(self, text: str, tokens: list[Token], reason: str | None, chunk: bool) -> dict[str, Any]:
        """The one choice there is, or the next piece of it."""
        common = {"index": 0, "finish_reason": reason, "logprobs": self.logprobs(tokens)}
        if not self.chat:
            return common | {"text": text}
        if chunk:
            return common | {"delta": {"content": text}}
        return common | {"message": {"role": "assistant", "content": text, "refusal": None}}

    async def whole(self) -> dict[str, Any]:
        """The answer at once."""
        text, tokens, reason = "", list[Token](), None
        async with aclosing(self.pieces()) as pieces:
            async for shown, more, why in pieces:
                text, tokens, reason = text + shown, tokens + more, why
        return self.envelope([self.choice(text, tokens, reason, chunk=False)], chunk=False) | {"usage": self.usage()}

    async def events(self) -> AsyncIterator[str]:
        """The answer piece by piece."""
        if self.chat:
            first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None, "logprobs": None}
            yield event(self.envelope([first], chunk=True))
        try:
            async with aclosing(self.pieces()) as pieces:
                async for text, tokens, reason in pieces:
                    yield event(self.envelope([self.choice(text, tokens, reason, chunk=True)], chunk=True))
        except ReplyFailed as error:
            yield event(failure_json("/v1/", 500, str(error)))
            return
        if self.body.with_usage:
            yield event(self.envelope([], chunk=True) | {"usage": self.usage()})
        yield DONE


def chat_logprob(token: Token, n: int) -> dict[str, Any]:
    """A token's log-probability with those of the n likeliest, as chat completions tell them."""

    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}

    others = [one(other.text, other.logprob) for other in token.alternatives[:n]]
    return one(token.text, token.logprob) | {"top_logprobs": others}


def event(data: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data)}\n\n"


def model_json(name: str) -> dict[str, Any]:
    """A model as their clients list it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "tandem"}


async def unless_gone(request: Request, answer: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """The answer, given up when the client goes. Raises ReplyFailed then."""
    task = asyncio.ensure_future(answer)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if not task.done() and await request.is_disconnected():
                raise ReplyFailed("the client has gone")
        return task.result()
    finally:
        task.cancel()


def add_openai(app: FastAPI, served: ServedModels) -> None:
    """Serve the routes of OpenAI's form."""

    async def answer(
        request: Request, body: ChatBody | TextBody, prompt: Prompt, max_tokens: int | None, n: int
    ) -> Response:
        how = served.find(body.model).sampling
        decoding = body.decoding(how.temperature, how.top_p)
        stream, n_prompt = await served.start_reply(
            body.model, prompt, decoding, max_tokens or DEFAULT_TOKENS, n_alternatives=max(1, n)
        )
        made = Answer(body, stream, n_prompt)
        if body.stream:
            leave = BackgroundTask(stream.leave)
            return StreamingResponse(made.events(), media_type="text/event-stream", background=leave)
        return JSONResponse(await unless_gone(request, made.whole()))

    of_body = failures(OpenAIFailure, OF_BODY)

    @app.get("/v1/models", response_model=OpenAIModelList, responses=failures(OpenAIFailure, OF_LIST))
    async def models() -> dict[str, Any]:
        served.list_again()
        return {"object": "list", "data": [model_json(name) for name in served.listed]}

    @app.get("/v1/models/{name:path}", response_model=OpenAIModel, responses=failures(OpenAIFailure, OF_ONE))
    async def model(name: str) -> dict[str, Any]:
        return model_json(served.find(name).about.name)

    @app.post("/v1/chat/completions", responses={200: {"model": ChatCompletion, "content": EVENTS}, **of_body})
    async def chat(request: Request, body: ChatBody) -> Response:
        max_tokens = body.max_completion_tokens or body.max_tokens
        return await answer(request, body, body.prompt(), max_tokens, body.top_logprobs or 0)

    @app.post("/v1/completions", responses={200: {"model": TextCompletion, "content": EVENTS}, **of_body})
    async def text(request: Request, body: TextBody) -> Response:
        return await answer(request, body, Prompt((), opening=body.prompt), body.max_tokens, body.logprobs or 0)
