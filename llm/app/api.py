"""The server's application: the page, what the page asks, and how every error is answered, as JSON."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from llm.app.answers import EVENTS, OF_BODY, OF_LIST, Failure, ModelList, NextTokens, failure_json, failures
from llm.app.bodies import NextBody, ReplyBody, read_prompt
from llm.app.guard import Application, Guard
from llm.app.limits import RETRY_AFTER_S
from llm.app.openai_api import add_openai, event
from llm.app.served_models import ReplyFailed, ServedModels, UnknownModel, read_stream
from llm.app.streamed_reply import Token
from llm.app.worker import Busy, End, LoadFailed, Stream
from llm.failures import describe_error

STATIC = Path(__file__).parent / "static"
PROMPTS = (
    "What is overfitting?",
    "Hi, how are you?",
    "What is a neural network?",
    "Why is the sky blue?",
    "How does a chatbot decide which word comes next?",
    "Where would you travel if you could go anywhere?",
)

STATUS: dict[type[Exception], int] = {UnknownModel: 404, ReplyFailed: 500, LoadFailed: 503}  # of what says enough

logger = logging.getLogger(__name__)


def make_app(served: ServedModels, host: str, static: Path = STATIC) -> Application:
    """The application, behind its guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        served.close()

    app = FastAPI(title="Tandem", docs_url=None, redoc_url=None, openapi_url="/openapi.json", lifespan=lifespan)
    _add_errors(app)
    _add_routes(app, served)
    add_openai(app, served)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        if not (static / "index.html").is_file():
            raise HTTPException(404, "there is no page; /api/models is there")
        return FileResponse(static / "index.html")

    if static.is_dir():
        app.mount("/static", StaticFiles(directory=static))
    return Guard(app, host)


def _add_routes(app: FastAPI, served: ServedModels) -> None:
    of_body = failures(Failure, OF_BODY)

    @app.get("/api/models", response_model=ModelList, responses=failures(Failure, OF_LIST))
    async def models() -> dict[str, Any]:
        served.list_again()
        return {"models": [vars(one.about) | vars(one.sampling) for one in served.listed.values()], "prompts": PROMPTS}

    @app.post("/api/reply", response_class=StreamingResponse, responses={200: {"content": EVENTS}, **of_body})
    async def reply(body: ReplyBody) -> Response:
        how = served.find(body.model).sampling
        decoding = body.decoding(how.temperature, how.top_p)
        stream, n = await served.start_reply(
            body.model, read_prompt(body.messages), decoding, body.max_tokens, body.prefix
        )
        about = {"seed": decoding.seed, "prompt_tokens": n}
        return StreamingResponse(
            _events(stream, about), media_type="text/event-stream", background=BackgroundTask(stream.leave)
        )

    @app.post("/api/next", response_model=NextTokens, responses=of_body)
    async def next_tokens(body: NextBody) -> dict[str, Any]:
        return await served.next_tokens(body.model, read_prompt(body.messages), body.prefix, body.n)


async def _events(stream: Stream, about: dict[str, int]) -> AsyncIterator[str]:
    """Server-sent events: each token, then the end or what went wrong."""
    n = 0
    try:
        async with aclosing(read_stream(stream)) as items:
            async for item in items:
                if isinstance(item, End):
                    yield event({"done": True, "reason": item.reason, "tokens": n, **about})
                else:
                    n += 1
                    yield event(token_json(item))
    except ReplyFailed as error:
        yield event({"error": str(error)})


def token_json(token: Token) -> dict[str, Any]:
    """A token as the page reads it."""
    return {**vars(token), "alternatives": [vars(one) for one in token.alternatives]}


def _add_errors(app: FastAPI) -> None:
    """Answer every failure as JSON, in the form that OpenAI's clients read where they ask."""

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        return failure(request, error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def of_body(request: Request, error: RequestValidationError) -> Response:
        return failure(request, 422, "; ".join(map(_describe, error.errors()[:5])))

    @app.exception_handler(Busy)
    async def of_busy(request: Request, _: Busy) -> Response:
        line = f"too many requests are waiting: try again in {RETRY_AFTER_S} s"
        return failure(request, 503, line, {"retry-after": str(RETRY_AFTER_S)})

    async def of_ours(request: Request, error: Exception) -> Response:
        return failure(request, STATUS[type(error)], str(error))

    for kind in STATUS:
        app.add_exception_handler(kind, of_ours)

    @app.exception_handler(ValueError)
    async def of_value(request: Request, error: ValueError) -> Response:
        return failure(request, 422, describe_error(error))

    @app.exception_handler(Exception)
    async def of_defect(request: Request, error: Exception) -> Response:
        return failure(request, 500, describe_error(error))


def _describe(error: Any) -> str:
    """One fault of a body in a line."""
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{place}: {error['msg']}" if place else str(error["msg"])


def failure(request: Request, status: int, line: str, headers: dict[str, str] | None = None) -> Response:
    """The answer that says what is wrong."""
    return JSONResponse(failure_json(request.url.path, status, line), status, headers)
