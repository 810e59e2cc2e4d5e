"""Harnesses of data sets: Cornell's zip, rows in files of each kind, chat forms, markup."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import datasets  # noqa: F401  here: what it takes while it loads is not the first input's

from llm.dialogue import Dialogue, read_dialogues, read_table, write_dialogues, write_table
from llm.failures import printable
from llm.fetching.download import HttpConfig
from llm.fetching.zips import read_zip
from llm.sources.check_data import check_data, describe_check, next_step
from llm.sources.cornell import CONVERSATIONS, LINES, CornellConfig, read_cornell
from llm.sources.curated import read_curated
from llm.sources.eli5 import Eli5Config, read_eli5
from llm.sources.local import LocalConfig, read_local
from llm.sources.masking import RULES
from llm.sources.stackexchange import StackexchangeConfig, read_stackexchange
from tests.fuzz.harness import Finding, Harness, Read, in_turn, is_told, placed, scratch
from tests.sources.hub_sets import thread
from tests.sources.test_cornell import conversation, line

HTTP = HttpConfig(timeout_s=2, retries=0, backoff_s=0)
PARTING = b"\n=====\n"  # between the two files of an input


def keep(dialogues: Sequence[Dialogue]) -> None:
    """Write the dialogues down in both forms, as the stages do: what was read can be written, and read again."""
    write_dialogues(scratch() / "kept.jsonl", dialogues)
    write_table(scratch() / "kept.arrow", dialogues)
    for read, name in ((read_dialogues, "kept.jsonl"), (read_table, "kept.arrow")):
        if list(read(scratch() / name)) != list(dialogues):
            raise Finding(f"the dialogues of {name} are read back as others")


def packed(members: dict[str, bytes]) -> bytes:
    """A zip of these members."""
    with zipfile.ZipFile(out := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def cornell(data: bytes) -> None:
    """Read the two files of Cornell's zip."""
    lines, _, conversations = data.partition(PARTING)
    path = placed("corpus.zip", packed({LINES: lines, CONVERSATIONS: conversations}))
    keep(list(read_cornell(CornellConfig(str(path), None), "dialogue", HTTP).dialogues))


def cornell_seeds() -> list[bytes]:
    """A film, in both encodings."""
    lines = [line(f"L{i}", f"u{i % 2}", f"“Word” {i} <i>&amp;</i>?") for i in range(6)]
    talks = [conversation(["L0", "L1", "L2"]), conversation(["L3", "L4", "L5"])]
    texts = ("\n".join(lines), "\n".join(talks))
    return [PARTING.join(text.encode(encoding) for text in texts) for encoding in ("cp1252", "utf-8")]


def zipped(data: bytes) -> None:
    """Read a member of a zip."""
    read_zip(placed("corpus.zip", data), ["lines.txt"])


def zip_seeds() -> list[bytes]:
    """Zips of each packing."""
    seeds = [packed({"a/lines.txt": b"some text " * 30, "b.txt": b"x"})]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(out := io.BytesIO(), "w", method) as archive:
            archive.writestr("lines.txt", b"some text " * 30)
        seeds.append(out.getvalue())
    return seeds


def rows(name: str, data: bytes) -> None:
    """Read a file of own texts as training does, and look at it as `check-data` does."""
    config = LocalConfig(str(placed(name, data)), None, None, "own", tuple(RULES))
    in_turn(
        lambda: printable(describe_check(check_data(config, HTTP), config, 0.1) + next_step(config)).encode(),
        lambda: keep(list(read_local(config, "mine", 1000, HTTP).dialogues)),
    )


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
MESSAGES += [{"role": "assistant", "content": "So: +44 20 7946 0958."}]
PARTS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "Ho"}]}]
CHATS: list[dict[str, Any]] = [
    {"messages": MESSAGES},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
    {"instruction": "Add", "input": "1 and 2", "output": 3, "system": "Count."},
    {"question": "Why?", "answer": "So, ann@example.com."},
    {"text": "# A\n\nFirst.\n\n## B\n\nSecond. " + "More words. " * 30},
    {"dialog": ["Hi", "Ho", "Hu"]},
]


def chats_in_json() -> list[dict[str, Any]]:
    """The chats, and one whose text comes in parts, which no column of a table can hold beside whole ones."""
    return [*CHATS, {"messages": PARTS}]


def json_lines(form: dict[str, Any]) -> bytes:
    """Rows of one form."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [form] * 9).encode()


def tables(write: Callable[[Any, io.BytesIO], None]) -> list[bytes]:
    """The chats as tables, and a table of other types."""
    from datetime import datetime
    from decimal import Decimal

    import pyarrow

    odd = {"question": Decimal("1.5"), "answer": datetime(2020, 1, 1), "group": b"x"}
    found = []
    for form in [*CHATS, odd]:
        write(pyarrow.Table.from_pylist([form] * 9), out := io.BytesIO())
        found.append(out.getvalue())
    return found


def parquet_seeds() -> list[bytes]:
    """Parquet files."""
    import pyarrow.parquet

    return tables(pyarrow.parquet.write_table)


def arrow_seeds() -> list[bytes]:
    """Arrow files, and streams of Arrow."""
    import pyarrow

    def write(new: Callable[..., Any], table: Any, out: io.BytesIO) -> None:
        with new(out, table.schema) as writer:
            writer.write_table(table)

    kinds = (pyarrow.ipc.new_file, pyarrow.ipc.new_stream)
    return [seed for new in kinds for seed in tables(partial(write, new))]


CSV = b'question,answer,thread\r\n"Why, ""so""?",So.\xc3\xa9,1\r\n"two\nlines",yes,2\r\n'
TABLES_OF_TEXT = [CSV, CSV.replace(b",", b";"), CSV.replace(b",", b"\t"), CSV.decode().encode("utf-16")]


def compressed(data: bytes) -> None:
    """Read rows that are packed by gzip, which is damaged itself."""
    rows("own.jsonl.gz", data)


def hub_sets(data: bytes) -> None:
    """Read rows of the two data sets that have readers of their own; one of them has to read them."""
    path, refusals = placed("train.jsonl", data), []
    for read in (
        lambda: read_eli5(Eli5Config(str(path), "pair", "main"), "eli5", 1000),
        lambda: read_stackexchange(StackexchangeConfig(str(path), "main", ("stats",)), "technical", 1000),
    ):
        try:
            keep(list(read().dialogues))
        except Exception as error:
            if not is_told(error):
                raise
            refusals.append(error)
    if len(refusals) == 2:
        raise refusals[-1]


def hub_seeds() -> list[bytes]:
    """Rows of ELI5, and of Stack Exchange."""
    eli5 = {"question": "ELI5: why? _URL_0_", "answer": "See [this](_URL_1_) &amp; that."}
    page = "<p>Use <code>fit</code>:</p><pre><code>a = 1\n</code></pre><ol><li>x</ol><table><tr><td>1"
    return [json_lines(eli5), json_lines(thread(1, "stats.stackexchange.com", question=page))]


def curated(data: bytes) -> None:
    """Read the project's own form of questions and answers."""
    keep(list(read_curated(placed("own.jsonl", data), "own").dialogues))


def markup(data: bytes) -> None:
    """Read HTML and Reddit's Markdown to plain text."""
    from llm.sources.plaintext import html_text, reddit_text, script_text, without_eli5

    text = data.decode("utf-8", "replace")
    for read in (html_text, reddit_text, script_text, without_eli5):
        read(text).encode()


MARKUP = [
    b"<p>Use <code>fit</code>:</p><pre><code>a = 1\n  b</code></pre><ol start=3><li><p>First.</p></li></ol>",
    b"<table><tr><td>1<td>2</table><script>x</script>&#39;&amp;&#xd800;<![CDATA[a]]><div><blockquote>b",
    b"ELI5: See [this atom](_URL_1_) &amp; that _URL_0_ . https://x.y/z [removed] (eli5)",
]


def _row_file(name: str) -> Read:
    read = partial(rows, name)
    read.__name__ = name  # type: ignore[attr-defined]
    return read


HARNESSES = {
    "cornell": Harness(cornell, cornell_seeds),
    "zip": Harness(zipped, zip_seeds),
    "jsonl": Harness(_row_file("own.jsonl"), lambda: [*map(json_lines, chats_in_json())]),
    "json": Harness(_row_file("own.json"), lambda: [json.dumps({"rows": [form] * 9}).encode() for form in CHATS]),
    "csv": Harness(_row_file("own.csv"), lambda: TABLES_OF_TEXT),
    "parquet": Harness(_row_file("own.parquet"), parquet_seeds),
    "arrow": Harness(_row_file("own.arrow"), arrow_seeds),
    "text": Harness(_row_file("book.md"), lambda: [b"# A\n\nOne.\n\n# B\n\n" + b"Two words. " * 50]),
    "gzip": Harness(compressed, lambda: [gzip.compress(json_lines(form)) for form in CHATS]),
    "hub_sets": Harness(hub_sets, hub_seeds),
    "markup": Harness(markup, lambda: MARKUP),
    "curated": Harness(curated, lambda: [json_lines({"id": "a", "topic": "t", "turns": ["Hi", "Ho"]}).splitlines()[0]]),
}
