"""The answers of the server, as /openapi.json describes them."""

from typing import Any, Literal

from pydantic import BaseModel


class Failure(BaseModel):
    """What is wrong, in a line."""

    error: str


class OpenAIError(BaseModel):
    """The same in the form that OpenAI's clients read."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: None
    code: None


class OpenAIFailure(BaseModel):
    """Below /v1/."""

    error: OpenAIError


class ServedModel(BaseModel):
    """A model, and how its tokens are drawn where a request does not say."""

    name: str
    title: str
    parameters: int
    context_length: int
    temperature: float
    top_p: float


class ModelList(BaseModel):
    """GET /api/models."""

    models: list[ServedModel]
    prompts: list[str]


class NextToken(BaseModel):
    """A token that may come next."""

    token: int
    text: str
    logprob: float
    ends: bool


class NextTokens(BaseModel):
    """POST /api/next."""

    alternatives: list[NextToken]
    temperatures: list[float]
    log_sums: list[float]


class OpenAIModel(BaseModel):
    """A model as OpenAI's clients list it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModelList(BaseModel):
    """GET /v1/models."""

    object: Literal["list"]
    data: list[OpenAIModel]


class Usage(BaseModel):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatMessage(BaseModel):
    """A reply."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatTokenLogprob(BaseModel):
    """The log-probability of a token."""

    token: str
    logprob: float
    bytes: list[int]


class ChatLogprob(ChatTokenLogprob):
    """And of the likeliest in its place."""

    top_logprobs: list[ChatTokenLogprob]


class ChatLogprobs(BaseModel):
    """Those of a reply."""

    content: list[ChatLogprob]
    refusal: None


class ChatChoice(BaseModel):
    """The one reply there is."""

    index: int
    finish_reason: Literal["stop", "length"]
    logprobs: ChatLogprobs | None
    message: ChatMessage


class Completion(BaseModel):
    """What both kinds of answer hold."""

    id: str
    created: int
    model: str
    usage: Usage


class ChatCompletion(Completion):
    """POST /v1/chat/completions."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class TextLogprobs(BaseModel):
    """The log-probabilities of a text's tokens."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """How the text goes on."""

    index: int
    finish_reason: Literal["stop", "length"]
    logprobs: TextLogprobs | None
    text: str


class TextCompletion(Completion):
    """POST /v1/completions."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}
REASONS = {
    403: "this server is not asked by its own name, or from its own page",
    404: "there is no such model",
    413: "the body is too long",
    422: "what is wrong with the body",
    500: "a defect",
    503: "too many wait, or the model cannot be loaded",
}
Responses = dict[int | str, dict[str, Any]]


OF_LIST, OF_ONE, OF_BODY = (403, 500), (403, 404, 500), tuple(REASONS)  # failures by kind of route


def failures(model: type[BaseModel], statuses: tuple[int, ...]) -> Responses:
    """How these failures of a route are answered."""
    return {status: {"model": model, "description": REASONS[status]} for status in statuses}


def failure_json(path: str, status: int, line: str) -> dict[str, Any]:
    """What is wrong: a Failure, below /v1/ an OpenAIFailure."""
    if not path.startswith("/v1/"):
        return {"error": line}
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": line, "type": kind, "param": None, "code": None}}
