"""What many clients at once get of `python -m llm serve`, alone and beside clients that ask or read slowly.

    cd A_FINISHED_RUN && python -m tests.app.load                   # 50 clients, and 200 slow ones of each kind beside
    python -m tests.app.load --clients 10 --slow 400 --model mistral

Printed are requests, errors, seconds to the first token and to the whole reply, and the server's peak memory so far.
"""

import argparse
import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = {  # of slow clients: how many bytes of a request each sends at once, and whether it sends a byte a second then
    "none": None,
    "send nothing": (0, False),
    "send half a body": (-20, False),
    "send a byte a second": (60, True),
    "read nothing": (None, False),
}
LONG_TOKENS = 1024  # of a reply that nobody reads
TIMEOUT_S = 120.0  # for a whole reply
RECEIVE_BYTES = 4096  # of the system's buffer for it


@dataclass(frozen=True)
class Answer:
    """What one client got."""

    first_s: float | None  # to the first token
    whole_s: float
    problem: str | None


def request_bytes(model: str, n_tokens: int, seed: int) -> bytes:
    """One request for a reply."""
    asked = [{"role": "user", "content": f"What is overfitting, number {seed}?"}]
    body = json.dumps({"model": model, "messages": asked, "max_tokens": n_tokens, "seed": seed}).encode()
    head = "POST /api/reply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def ask(port: int, request: bytes) -> Answer:
    """Send the request, and read the reply to its end."""
    began, first, status, ended = time.monotonic(), None, "no answer", False
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            async for line in reader:
                status = line.decode().split()[1] if status == "no answer" else status
                if b'"token"' in line and first is None:
                    first = time.monotonic() - began
                ended = ended or b'"done"' in line
            writer.close()
    except (OSError, TimeoutError) as error:
        status = type(error).__name__
    status = "cut off" if status == "200" and not ended else status
    return Answer(first, time.monotonic() - began, None if status == "200" else status)


async def ask_all(port: int, model: str, n_clients: int, rounds: int, n_tokens: int) -> list[Answer]:
    """The answers to so many clients at once, each of which asks so often."""

    async def client(number: int) -> list[Answer]:
        requests = [request_bytes(model, n_tokens, number * rounds + turn) for turn in range(rounds)]
        return [await ask(port, request) for request in requests]

    return [answer for answers in await asyncio.gather(*map(client, range(n_clients))) for answer in answers]


@contextlib.asynccontextmanager
async def slow_clients(port: int, model: str, kind: str, n: int) -> AsyncIterator[None]:
    """So many clients of a kind meanwhile; one that is let go comes no more."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(be_slow(port, model, kind, seed, stop)) for seed in range(n)] if KINDS[kind] else []
    await asyncio.sleep(1.0 if tasks else 0.0)
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def be_slow(port: int, model: str, kind: str, seed: int, stop: asyncio.Event) -> None:
    """Hold a connection in that way until it is closed, or all stop."""
    n_bytes, drips = KINDS[kind] or (0, False)
    request = request_bytes(model, LONG_TOKENS, seed)
    with socket.socket() as connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(connection, request[:n_bytes])
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)
            if drips:
                await loop.sock_sendall(connection, b"x")


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which so large a share of them lies.  quantile([1.0, 2.0, 3.0], 0.5) == 2.0"""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def row(kind: str, answers: Sequence[Answer], peak: str) -> str:
    """A line of the table."""
    firsts = [answer.first_s for answer in answers if answer.first_s is not None]
    wholes = [answer.whole_s for answer in answers if answer.problem is None]
    errors = [answer.problem for answer in answers if answer.problem]
    told = f"{len(errors)}" + (f" ({', '.join(sorted(set(errors)))})" if errors else "")
    times = [f"{quantile(values, share):.2f}" for values in (firsts, wholes) for share in (0.5, 0.99)]
    return " | ".join(["", kind, str(len(answers)), told, *times, peak, ""]).strip()


def peak_memory(pid: int) -> str:
    """Most memory that the process has had, in MiB; not told where the system has no /proc."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
        return f"{int(found[1]) / 1024:.0f}" if found else "-"
    return "-"


async def measure(port: int, pid: int, args: argparse.Namespace) -> None:
    """Print the table."""
    await ask_all(port, args.model, 1, 1, 2)  # loads the model
    print("| slow clients | requests | errors | first token p50 | p99 | whole p50 | p99 | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        async with slow_clients(port, args.model, kind, args.slow):
            answers = await ask_all(port, args.model, args.clients, args.rounds, args.tokens)
        shown = kind if KINDS[kind] is None else f"{args.slow} that {kind}"
        print(row(shown, answers, peak_memory(pid)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="scratch")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4, help="requests of each client, one after the other")
    parser.add_argument("--tokens", type=int, default=20, help="of a reply")
    args = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llm", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()  # it is there
        try:
            asyncio.run(measure(port, server.pid, args))
        finally:
            server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
