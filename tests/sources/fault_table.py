"""What can go wrong with the hub, and the line that a user then reads.

`python -m tests.sources.fault_table` prints the table; the clients' waits between their tries are left out.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hub_server import Fault, Hub, serve
from tests.sources.hub_sets import ELI5, ELI5_COMMIT, write_eli5, write_rows

ROWS = [{"question": f"Why {i}?", "answer": f"Because {i}, for reasons that take a line."} for i in range(500)]
SHARD = f"{ELI5}@{ELI5_COMMIT}/pair/train-00000-of-00001.parquet"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
NO_SERVER = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong when ELI5 is read."""

    name: str
    fault: Fault | None = None
    changes: dict[str, str] = field(default_factory=dict)  # of the parameters
    prepare: Callable[[Path], None] = lambda folder: None  # what lies in the hub's folder instead
    environment: dict[str, str] = field(default_factory=dict)


def rename_column(folder: Path) -> None:
    """Rows of which a column has another name."""
    write_rows(folder / SHARD, [{"question": "Why?", "response": "So."}])


def put_pointer(folder: Path) -> None:
    """A Git LFS pointer in place of the shard."""
    (folder / SHARD).write_text(POINTER, encoding="utf-8")


def put_damaged_lines(folder: Path) -> None:
    """JSON lines of which one is cut."""
    (folder / SHARD).unlink()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).replace('for reasons that take a line."}', "", 1)
    (folder / SHARD).with_name("train-1.jsonl").write_text(lines, encoding="utf-8")


def put_null_answers(folder: Path) -> None:
    """Rows of which half have no answer."""
    write_rows(folder / SHARD, [row | {"answer": None if i % 2 else "So."} for i, row in enumerate(ROWS)])


def remove_shard(folder: Path) -> None:
    """A data set of nothing but its card."""
    (folder / SHARD).unlink()


CASES = (
    Case("unknown data set", changes={"location": "nobody/nothing"}),
    Case("unknown revision", changes={"revision": "abc123"}),
    Case("unknown config", changes={"config": "triplet"}),
    Case("private", "private"),
    Case("gated", "gated"),
    Case("429, too many requests", "rate limit"),
    Case("503 of the whole hub", "unavailable"),
    Case("503 of a file", "busy files"),
    Case("slow link", "slow"),
    Case("connection cut", "cut"),
    Case("file shorter than listed", "short"),
    Case("sign-in page of a network", "portal"),
    Case("Git LFS pointer", prepare=put_pointer),
    Case("no shard", prepare=remove_shard),
    Case("renamed column", prepare=rename_column),
    Case("damaged JSON line", prepare=put_damaged_lines),
    Case("half of the answers null", prepare=put_null_answers),
    Case("no network", environment={"HF_ENDPOINT": NO_SERVER}),
    Case("offline, nothing cached", environment={"HF_HUB_OFFLINE": "1"}),
    Case("SOCKS proxy without its package", environment={"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": ""}),
    Case("proxy that does not answer", environment={"ALL_PROXY": NO_SERVER, "NO_PROXY": ""}),
)


def line_of(changes: dict[str, str]) -> str:
    """The line with which the source ends, or how many dialogues it has."""
    import huggingface_hub.utils._http as client

    from llm.sources.collect import collect
    from llm.sources.eli5 import Eli5Config, read_eli5

    client.time.sleep = lambda seconds: None  # type: ignore[attr-defined]
    config = Eli5Config(**{"location": ELI5, "config": "pair", "revision": ELI5_COMMIT} | changes)
    try:
        found = collect("mine", {"eli5": lambda: read_eli5(config, "mine", 400)}, ["eli5"], fallback=False, limit=400)
    except ValueError as error:
        return str(error)
    return f"{len(found.dialogues)} dialogues"


def in_child(case: Case, hub: Hub) -> str:
    """The case's line, of a child, so that what the clients remember of the hub meets no other case."""
    write_eli5(hub.folder, ROWS, group_rows=100)
    case.prepare(hub.folder)
    hub.fault = case.fault
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # progress bars
        os.environ |= case.environment
        os.write(write_end, line_of(case.changes).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        line = pipe.read()
    os.waitpid(child, 0)
    shutil.rmtree(hub.folder)
    return line


def table() -> dict[str, str]:
    """The line of every case, by its name."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "hub") as (hub, address):
        os.environ |= {"HF_ENDPOINT": address, "HF_HOME": f"{folder}/home", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        for case in CASES:
            if case.environment:  # which the packages read when they are first imported
                found[case.name] = in_child(case, hub)
        import datasets  # noqa: F401  once for all other children

        for case in CASES:
            if not case.environment:
                found[case.name] = in_child(case, hub)
    return {case.name: found[case.name] for case in CASES}


def main() -> None:
    """Print the table."""
    started = time.monotonic()
    for name, line in table().items():
        print(f"{name}\n    {line}")
    print(f"({time.monotonic() - started:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
