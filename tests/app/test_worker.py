import asyncio
import threading
import time
from dataclasses import replace

import pytest

from llm.app import worker as worker_module
from llm.app.streamed_reply import start_reply
from llm.app.worker import MAX_WAITING, STREAM_LENGTH, Busy, End, Job, Stream, Worker
from llm.dialogue import Prompt
from tests.app.served import wait_until
from tests.app.test_batch import DRAWN

ASKED = Prompt(("Why?",))


@pytest.fixture
def worker(base):
    worker = Worker(lambda: base)
    yield worker
    worker.close()
    assert worker.thread is None or not worker.thread.is_alive()


def make_job(speaker, max_tokens=30, seconds=60.0, text="Why?"):
    reply = start_reply(speaker, Prompt((text,)), replace(DRAWN, max_reply_bytes=10_000), max_tokens)
    reply.slot.draft.stop = ()  # it goes on to its last token
    return Job(reply, Stream(asyncio.get_running_loop()), time.monotonic() + seconds)


async def read_all(stream):
    found = [await stream.take()]
    while not isinstance(found[-1], End | str):
        found.append(await stream.take())
    return found


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_a_reply_comes_token_by_token_and_then_its_end(worker, base):
    async def ask():
        job = make_job(base)
        worker.submit(job)
        return await read_all(job.stream)

    *tokens, last = run(ask())
    assert len(tokens) == 30 and last == End("length")


def test_a_slow_client_is_waited_for_and_holds_up_nobody(worker, base):
    async def ask():
        slow, quick = make_job(base, STREAM_LENGTH + 40), make_job(base, 60, text="So?")
        worker.submit(slow)
        while not slow.stream.full:
            await asyncio.sleep(0.01)
        worker.submit(quick)
        found = await read_all(quick.stream)
        behind = slow.stream._sent
        return found, behind, await read_all(slow.stream)

    quick, behind, slow = run(ask())
    assert len(quick) == 61
    assert behind == STREAM_LENGTH
    assert len(slow) == STREAM_LENGTH + 41 and slow[-1] == End("length")


def test_who_has_no_time_left_is_stopped(worker, base):
    async def ask():
        job = make_job(base, 1000, seconds=0.3)
        worker.submit(job)
        late = make_job(base, seconds=-1.0)
        worker.submit(late)
        return await read_all(job.stream), await read_all(late.stream)

    in_time, late = run(ask())
    assert in_time[-1] == End("stopped") and len(in_time) > 1
    assert late == [End("stopped")]


def test_no_more_wait_than_may(worker, base, monkeypatch):
    monkeypatch.setattr(worker_module, "MAX_ROWS", 0)  # the first alone

    async def ask():
        first = make_job(base, 400)
        worker.submit(first)
        await first.stream.take()
        waiting = [make_job(base, 1) for _ in range(MAX_WAITING)]
        for job in waiting:
            worker.submit(job)
        with pytest.raises(Busy):
            worker.submit(make_job(base, 1))
        first.stream.leave()
        return [await read_all(job.stream) for job in waiting]

    assert all(len(found) == 2 for found in run(ask()))


def test_a_failure_is_told_to_those_in_the_batch_and_to_no_one_after(worker, base, monkeypatch):
    async def ask():
        job = make_job(base, 400)
        worker.submit(job)
        await job.stream.take()

        def fail():
            raise RuntimeError("no memory")

        monkeypatch.setattr(worker.batch, "step", fail)
        failed = await read_all(job.stream)
        after = make_job(base, 3)
        worker.submit(after)
        return failed, await read_all(after.stream)

    failed, after = run(ask())
    assert failed[-1] == "RuntimeError: no memory"
    assert after[-1] == End("length")


def test_those_who_wait_are_told_when_the_server_ends(base):
    worker = Worker(lambda: base)

    async def ask():
        job = make_job(base, 1000)
        worker.submit(job)
        await job.stream.take()
        await asyncio.to_thread(worker.close)
        with pytest.raises(Busy):
            worker.submit(make_job(base))
        return await read_all(job.stream)

    assert run(ask())[-1] == "the server ends"
    assert not worker.thread.is_alive()


def test_a_call_is_answered_by_the_thread_of_the_model(worker):
    assert worker.call(lambda _: threading.current_thread()).result(9) is worker.thread
    with pytest.raises(ValueError, match="wrong"):
        worker.call(lambda _: int("wrong")).result(9)


def test_the_model_is_loaded_by_the_first_who_asks_and_once(base):
    loaded = []
    worker = Worker(lambda: loaded.append(1) or base)
    assert loaded == [] and worker.thread is None
    for _ in range(3):
        worker.call(lambda _: None).result(9)
    worker.close()
    assert loaded == [1]


def test_a_batch_holds_no_more_than_its_tokens(worker, base, monkeypatch):
    monkeypatch.setattr(worker_module, "BATCH_TOKENS", 100)

    async def ask():
        jobs = [make_job(base, 40) for _ in range(3)]
        worst = [0]
        for job in jobs:
            worker.submit(job)
        wait_until(lambda: worker.running)
        while not all(job.reply.slot.draft.done for job in jobs):
            worst.append(len(worker.running))
            await asyncio.sleep(0)
        return max(worst), [await read_all(job.stream) for job in jobs]

    most, found = run(ask())
    assert most == 1 and all(len(one) == 41 for one in found)
