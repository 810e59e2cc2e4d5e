"""What people give by mistake, and the line that they see: `python -m tests.sources.broken_inputs` prints the table."""

import gzip
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from llm.fetching.download import HttpConfig
from llm.sources import local_rows
from llm.sources.local import LocalConfig, read_local

HTTP = HttpConfig(timeout_s=2, retries=0, backoff_s=0)
GOOD = b'{"question": "Why?", "answer": "So."}\n'


def rows(*items: object) -> bytes:
    """JSON lines."""
    return "".join(f"{json.dumps(item)}\n" for item in items).encode()


def parquet() -> bytes:
    """A whole parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": ["Why?"] * 99, "answer": ["So."] * 99}), out := io.BytesIO())
    return out.getvalue()


def arrow_beyond() -> bytes:
    """An Arrow stream whose first text ends where no byte of the file is."""
    import pyarrow as pa

    table = pa.table({"question": ["Why?"] * 99, "answer": ["So."] * 99})
    with pa.ipc.new_stream(out := io.BytesIO(), table.schema) as writer:
        writer.write_table(table)
    ends = bytes(4) + (4).to_bytes(4, "little") + (8).to_bytes(4, "little")  # of the first texts
    return out.getvalue().replace(ends, bytes(4) + (1 << 30).to_bytes(4, "little") + ends[8:])


def archive() -> bytes:
    """A zip, as a .docx is one too."""
    with zipfile.ZipFile(out := io.BytesIO(), "w") as zipped:
        zipped.writestr("own.jsonl", GOOD)
    return out.getvalue()


def said(*messages: tuple[str, str]) -> dict[str, object]:
    """A row of messages."""
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def loop(path: Path) -> None:
    """Make a link that leads to itself."""
    os.symlink(path.name, path)


HUGE = GOOD.replace(b"\n", b" ") * (local_rows.MAX_LINE_BYTES // len(GOOD) + 1)
HINT = "the columns body, subject are not a form known here (messages, conversations, instruction+output,"
# The name of a file, what it holds (of a folder: the files in it; or who makes it), and how the line begins.
CASES: dict[str, tuple[str, bytes | Mapping[str, bytes] | Callable[[Path], None], str]] = {
    "no such file": ("gone.jsonl", lambda path: None, "gone.jsonl: there is no such file or folder; correct the path"),
    "empty file": ("own.jsonl", b"", "own.jsonl is empty: fill it, or take it away"),
    "only empty lines": ("own.jsonl", b"\n \n", "own.jsonl has no rows"),
    "only white space": ("book.txt", b"\n \n", "book.txt holds nothing but white space: fill it, or take it away"),
    "folder without data": ("own", {"a.png": b"?"}, "own holds no file ending in .jsonl, .ndjson, .json, .csv, .tsv,"),
    "folder of tests": (
        "own",
        {"test.jsonl": GOOD},
        "own holds no training rows, only test.jsonl: give the file itself",
    ),
    "broken JSON line": ("own.jsonl", GOOD * 2 + b'{"question": "Wh\n' + GOOD, "own.jsonl, line 3: broken JSON at"),
    "number for a row": ("own.jsonl", GOOD + b"7\n", "own.jsonl, line 2: not an object {...} but '7'"),
    "web page": (
        "own.jsonl",
        b"<!doctype html>\n<p>Sign in",
        "own.jsonl, line 1: broken JSON at character 1 (Expecting",
    ),
    "broken JSON list": ("own.json", b'[{"a": 1},\n{"b": ]', "own.json, line 2: broken JSON at character 7 (Expecting"),
    "nested too deeply": (
        "own.jsonl",
        b"[" * 200_000 + b"\n" + GOOD,
        "own.jsonl: JSON that cannot be read (maximum recursion",
    ),
    "not UTF-8": ("own.jsonl", GOOD + "é".encode("cp1252"), "own.jsonl, line 2: byte 0xe9 at position 1 is not UTF-8;"),
    "a text not UTF-8": (
        "book.txt",
        b"One.\nCaf\xe9.",
        "book.txt, line 2: byte 0xe9 at position 4 is not UTF-8; if it is",
    ),
    "UTF-16": (
        "own.jsonl",
        GOOD.decode().encode("utf-16-le"),
        "own.jsonl is not UTF-8, it looks like UTF-16: iconv -f",
    ),
    "half a UTF-16": ("own.jsonl", GOOD.decode().encode("utf-16")[:-1], "own.jsonl begins as UTF-16 but is damaged"),
    "unknown columns": ("own.csv", b"subject,body\na,b\n", f"own.csv: {HINT}"),
    "only nulls": (
        "own.jsonl",
        rows({"question": "Why?", "answer": None}),
        "1 of 1 rows cannot be read, more than 20%;",
    ),
    "only the user": (
        "own.jsonl",
        rows(said(("user", "Hi."))),
        "own.jsonl holds no dialogue and no document (rows: 1,",
    ),
    "only the assistant": ("own.jsonl", rows(said(("assistant", "Hi."))), "1 of 1 rows cannot be read, more than 20%;"),
    "an unknown role": (
        "own.jsonl",
        rows(said(("me", "Hi."), ("you", "Ho."))),
        "1 of 1 rows cannot be read, more than",
    ),
    "Word file": ("thesis.docx", archive(), "thesis.docx has none of the endings that are read (.jsonl,"),
    "PDF file": ("thesis.pdf", b"%PDF-1.7", "thesis.pdf has none of the endings that are read (.jsonl,"),
    "zip file": ("own.zip", archive(), "own.zip has none of the endings that are read (.jsonl,"),
    "zip named .jsonl": ("own.jsonl", archive(), "own.jsonl is a zip file or an office document, whatever its"),
    "ragged csv": ("own.csv", b"question,answer\na,b\nc,d,e\n", "own.csv, line 3: 3 cells, but the first line names 2"),
    "open quote in csv": (
        "own.csv",
        b'question,answer\na,"b\nc,d\n',
        "own.csv, line 2: not a row of csv (unexpected end",
    ),
    "two columns alike": (
        "own.csv",
        b"q,q\na,b\n",
        "own.csv, line 1: a name stands twice in q, q; it names the columns",
    ),
    "half a parquet": ("own.parquet", parquet()[:-9], "own.parquet is not a whole parquet file, damaged or another"),
    "half an Arrow file": (
        "own.arrow",
        b"\xff\xff\xff\xff\x10\0",
        "own.arrow is not a whole Arrow file, damaged or another thing",
    ),
    "an Arrow file that points beyond itself": (
        "own.arrow",
        arrow_beyond(),
        "own.arrow is not a whole Arrow file, damaged or another thing",
    ),
    "half a gzip": ("own.jsonl.gz", gzip.compress(GOOD * 99)[:-9], "own.jsonl.gz is not a whole gzip file ("),
    "Git LFS pointer": ("own.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "own.jsonl is a Git LFS pointer"),
    "link to itself": ("own.jsonl", loop, "own.jsonl: it cannot be opened (Too many levels of symbolic links);"),
    "one huge line": ("own.jsonl", HUGE, "own.jsonl, line 1: longer than 64 MB; is it a file of lines?"),
}


def make(folder: Path, case: str) -> Path:
    """The broken input of a case, in an empty folder."""
    name, content, _ = CASES[case]
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Mapping):
        path.mkdir()
        for inside, data in content.items():
            (path / inside).write_bytes(data)
    else:
        content(path)
    return path


def line_of(location: str) -> str:
    """What the provider says of a location, without its folder; "" when it is read."""
    try:
        read_local(LocalConfig(location, None, None, "own", ()), "mine", 1000, HTTP)
    except (OSError, ValueError) as error:
        return str(error).replace(f"{Path(location).parent}{os.sep}", "")
    return ""


def main() -> None:
    """Print the table."""
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(f"{case:<20} {line_of(str(make(Path(folder), case)))}\n")


if __name__ == "__main__":
    main()
