"""The models of a server, each with its worker, and how a request has a reply written."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from llm.app.batch import next_logprobs
from llm.app.catalogue import Listed
from llm.app.limits import MAX_SECONDS
from llm.app.speaker import Speaker
from llm.app.streamed_reply import N_ALTERNATIVES, Token, list_alternatives, start_reply
from llm.app.worker import End, Job, Stream, Worker
from llm.dialogue import Prompt
from llm.inference.decoding import Decoding

TEMPERATURES = tuple(round(0.1 * i, 1) for i in range(1, 21))


class UnknownModel(Exception):
    """No model has that name."""


class ReplyFailed(Exception):
    """The reply could not be gone on with."""


class ServedModels:
    """All models that are served."""

    def __init__(self, list_models: Callable[[], Sequence[Listed]]) -> None:
        self.list_models = list_models
        self.listed: dict[str, Listed] = {}
        self.workers: dict[str, Worker] = {}
        self.list_again()

    def list_again(self) -> None:
        """Look which models there are now; one that was asked for something stays as it is."""
        used = {name: one for name, one in self.listed.items() if self.workers[name].thread is not None}
        self.listed = {one.about.name: one for one in self.list_models()} | used
        new = {name: Worker(one.load) for name, one in self.listed.items() if name not in used}
        self.workers = {name: self.workers[name] for name in used} | new

    def find(self, name: str) -> Listed:
        """The model with this name. Raises UnknownModel."""
        if name not in self.listed:
            raise UnknownModel(f"there is no model {name[:100]!r}: {', '.join(self.listed) or 'none is trained'}")
        return self.listed[name]

    async def ask(self, name: str, function: Callable[[Speaker], Any]) -> Any:
        """What the function gives, computed where the model is."""
        return await asyncio.wrap_future(self.workers[name].call(function))

    async def start_reply(
        self,
        name: str,
        prompt: Prompt,
        decoding: Decoding,
        max_tokens: int,
        prefix: Sequence[int] = (),
        n_alternatives: int = N_ALTERNATIVES,
    ) -> tuple[Stream, int]:
        """Tokens to come, and how many the prompt has.

        Raises UnknownModel, ValueError for a prefix that cannot be, and Busy.
        """
        self.find(name)
        deadline = time.monotonic() + MAX_SECONDS
        reply = await self.ask(name, lambda model: start_reply(model, prompt, decoding, max_tokens, prefix))
        stream = Stream(asyncio.get_running_loop())
        self.workers[name].submit(Job(reply, stream, deadline, n_alternatives))
        return stream, len(reply.slot.draft.prompt)

    async def next_tokens(self, name: str, prompt: Prompt, prefix: Sequence[int], n: int) -> dict[str, Any]:
        """The likeliest next tokens, and what their probabilities have to be divided by at each temperature."""
        self.find(name)

        def look(model: Speaker) -> dict[str, Any]:
            logprobs = next_logprobs(model, prompt, prefix)
            best, ids = logprobs.topk(min(n, len(logprobs)))
            found = zip(ids.tolist(), best.tolist(), strict=True)
            alternatives = list_alternatives(model, model.stops(prompt), found)
            return {
                "alternatives": [vars(one) for one in alternatives],
                "temperatures": TEMPERATURES,
                "log_sums": [float((logprobs.double() / t).logsumexp(0)) for t in TEMPERATURES],
            }

        return await self.ask(name, look)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers.values():
            worker.close()


async def read_stream(stream: Stream) -> AsyncGenerator[Token | End, None]:
    """The tokens, and why there are no more; the reply's place is given up when nobody reads on.

    Raises ReplyFailed.
    """
    try:
        while True:
            item = await stream.take()
            if isinstance(item, str):
                raise ReplyFailed(item)
            yield item
            if isinstance(item, End):
                return
    finally:
        stream.leave()
