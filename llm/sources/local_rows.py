"""Rows of one local file: JSON lines, JSON, csv, tsv, parquet, Arrow; or its text. Whatever is damaged is named."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Any

from llm.fetching.download import POINTER
from llm.files import decode_line
from llm.sources.local_files import TABLES, PlacedRow, Row, ending
from llm.sources.unpacked import open_unpacked

MAX_LINE_BYTES = 1 << 26  # a line is held in memory; a longer one is a file without line breaks
MAX_WHOLE_BYTES = 1 << 29  # of a file that is no stream of lines; its objects take several times as much memory
PART_ROWS = 1024  # of a table, held in memory
BUFFER_BYTES = 1 << 20  # of each column of a table; without it a whole row group is held, however large
OTHERS = {
    b"PK\x03\x04": ("zip file or an office document", "unpack it, or save it as plain text (.txt) first"),
    b"%PDF": ("PDF", "save it as plain text (.txt) first"),
}
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

Report = Callable[[str], None]  # is told of each damaged line; raises, or lets the reader go on with the next one


def refuse(line: str) -> None:
    """Raise ValueError: the report of a reader that takes no damaged line."""
    raise ValueError(line)


def file_rows(file: Path, report: Report = refuse) -> Iterator[PlacedRow]:
    """The file's rows in order. Raises ValueError or OSError naming the file when it is damaged as a whole."""
    _check_head(file)
    if ending(file) in TABLES:
        yield from _table_rows(file)
    elif ending(file) in (".csv", ".tsv"):
        yield from _csv_rows(file, report)
    elif _is_json_lines(file):
        yield from _json_lines(file, report)
    else:
        yield from _json_rows(file, report)


def file_text(file: Path, report: Report = refuse) -> str:
    """The text of a whole file."""
    _check_head(file)
    return _whole(file, report, "split it into several files")


def _whole(file: Path, report: Report, advice: str) -> str:
    """The text of a file that is held in memory as a whole."""
    _check_size(file, file.stat().st_size, advice)
    text = io.StringIO()
    for _, line in _lines(file, report):
        text.write(line)
        _check_size(file, text.tell(), advice)  # a packed file holds more than it has
    return text.getvalue()


def _check_head(file: Path) -> None:
    with file.open("rb") as opened:
        head = opened.read(len(POINTER))
    for start, (kind, advice) in OTHERS.items():
        if head.startswith(start):
            raise ValueError(f"{file.name} is a {kind}, whatever its name says: {advice}")
    if not head:
        raise ValueError(f"{file.name} is empty: fill it, or take it away")
    if head == POINTER:
        raise ValueError(f"{file.name} is a Git LFS pointer in place of the file; run `git lfs pull` in its folder")


def _check_size(file: Path, size: int, advice: str) -> None:
    if size > MAX_WHOLE_BYTES:
        raise ValueError(f"{file.name} has {size:,} bytes or more and would be held in memory as a whole: {advice}")


def _lines(file: Path, report: Report) -> Iterator[tuple[int, str]]:
    """Number and text of each line, with its line break."""
    with open_unpacked(file) as opened:
        head = opened.read(4)
        opened.seek(0)
        if encoding := BYTE_ORDER_MARKS.get(head[:2]):
            yield from _decoded_whole(file, opened, encoding)
            return
        if len(head) > 1 and 0 in head[:2]:
            raise ValueError(f"{file.name} is not UTF-8, it looks like UTF-16: {_iconv('UTF-16LE', file)}")
        number = 0
        while line := opened.readline(MAX_LINE_BYTES + 1):
            number += 1
            place = f"{file.name}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"{place}: longer than {MAX_LINE_BYTES >> 20} MB; is it a file of lines?")
            try:
                text = decode_line(line, number)
            except ValueError as error:
                report(f"{place}: {error}; if it is Western European text: {_iconv('WINDOWS-1252', file)}")
                continue
            yield number, text


def _decoded_whole(file: Path, opened: IO[bytes], encoding: str) -> Iterator[tuple[int, str]]:
    content = opened.read(MAX_WHOLE_BYTES + 1)
    _check_size(file, len(content), _iconv(encoding.upper(), file))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.name} begins as {encoding.upper()} but is damaged: {error.reason}") from error
    yield from ((number, f"{line}\n") for number, line in enumerate(text.split("\n"), 1))


def _iconv(encoding: str, file: Path) -> str:
    return f"iconv -f {encoding} -t UTF-8 '{file.name}' > new{ending(file)}"


def _is_json_lines(file: Path) -> bool:
    """Whether the first line that is not empty is an object or list of its own, with others after it.

    A file that is named .jsonl and does not begin with a list is lines, also where the first one is broken.
    """
    with open_unpacked(file) as opened:
        first = next((line for line in iter(lambda: opened.readline(MAX_LINE_BYTES), b"") if line.strip()), b"")
        others = any(line.strip() for line in iter(lambda: opened.readline(MAX_LINE_BYTES), b""))
    if ending(file) != ".json":
        return first.removeprefix(b"\xef\xbb\xbf").strip()[:1] != b"[" or (others and _is_json(first))
    return others and _is_json(first)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return True


def _json_lines(file: Path, report: Report) -> Iterator[PlacedRow]:
    for number, line in _lines(file, report):
        if not line.strip():
            continue
        place = f"{file.name}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            report(f"{place}: broken JSON at character {error.pos + 1} ({error.msg}): {_short(line)}")
            continue
        except (ValueError, RecursionError) as error:
            report(f"{place}: JSON that cannot be read ({error}): {_short(line)}")
            continue
        if (row := _row(value)) is None:
            report(f"{place}: not an object {{...}} but {_short(line)}")
        else:
            yield place, row


def _json_rows(file: Path, report: Report) -> Iterator[PlacedRow]:
    """Rows of a list, of the one list that an object holds, or an object that is a row itself."""
    text = _whole(file, report, "write it as JSON lines: jq -c '.[]'")
    if not text.strip():
        return
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = f"{file.name}, line {error.lineno}"
        raise ValueError(f"{line}: broken JSON at character {error.colno} ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file.name}: JSON that cannot be read ({error})") from error
    for number, item in enumerate(_items(value), 1):
        place = f"{file.name}, row {number}"
        if (row := _row(item)) is None:
            report(f"{place}: not an object {{...}} but {_short(json.dumps(item))}")
        else:
            yield place, row


def _items(value: Any) -> list[Any]:
    if isinstance(value, list):
        spoken = value and all(isinstance(item, dict) and {"role", "from"} & item.keys() for item in value)
        return [value] if spoken else value
    lists = [held for held in value.values() if isinstance(held, list)] if isinstance(value, dict) else []
    is_table = len(lists) == 1 and all(
        isinstance(item, dict) and not {"role", "from"} & item.keys() for item in lists[0]
    )
    return lists[0] if is_table else [value]


def _row(value: object) -> Row | None:
    """A row: an object, or the messages that a bare list is."""
    if isinstance(value, list):
        return {"messages": value}
    return value if isinstance(value, dict) else None


def _csv_rows(file: Path, report: Report) -> Iterator[PlacedRow]:
    """Rows under the names of the first line; a cell may hold line breaks between quotation marks."""
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = (line for _, line in _lines(file, report))
    blank, first = 0, next(lines, "")
    while first.isspace():
        blank, first = blank + 1, next(lines, "")
    separator = "\t" if ending(file) == ".tsv" else _separator(first)
    reader = csv.reader(chain(repeat("\n", blank), [first], lines), delimiter=separator, strict=True)
    columns: list[str] | None = None
    start = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{file.name}, line {start}: not a row of {ending(file)[1:]} ({error})") from error
        place, start = f"{file.name}, line {start}", reader.line_num + 1
        if not any(cells):
            continue
        if columns is None:
            columns = _header(file, cells)
        elif len(cells) != len(columns):
            named = f"the first line names {len(columns)}"
            report(f"{place}: {len(cells)} cells, but {named}: quote texts with {separator!r}")
        else:
            yield place, dict(zip(columns, cells, strict=True))


def _separator(first: str) -> str:
    """What parts the names in the first line: spreadsheets write semicolons where the comma parts decimals."""
    return max(",;\t", key=first.count)  # of equals the comma


def _header(file: Path, cells: list[str]) -> list[str]:
    if len(set(cells)) < len(cells):
        raise ValueError(f"{file.name}, line 1: a name stands twice in {', '.join(cells)}; it names the columns")
    return cells


def parquet_rows(opened: IO[bytes], name: str) -> Iterator[PlacedRow]:
    """Rows of an open parquet file, placed by this name; no more of it is read than the rows asked for need.

    pyarrow's own scanner reads ahead, before a slow reader to the end. Raises ValueError when the file is damaged.
    """
    import pyarrow.parquet as pq

    def parts() -> Iterator[Any]:
        with pq.ParquetFile(opened, buffer_size=BUFFER_BYTES, pre_buffer=False) as table:
            yield from table.iter_batches(PART_ROWS, use_threads=False)

    yield from _rows_of_parts(parts(), name, "parquet")


def _table_rows(file: Path) -> Iterator[PlacedRow]:
    if ending(file) == ".parquet":
        with file.open("rb") as opened:
            yield from parquet_rows(opened, file.name)
    else:
        yield from _rows_of_parts(_arrow_parts(file), file.name, "Arrow")


def _rows_of_parts(parts: Iterator[Any], name: str, form: str) -> Iterator[PlacedRow]:
    import pyarrow as pa

    number = 0
    try:
        for part in parts:
            part.validate(full=True)  # pyarrow believes what a file says of itself, and would read beyond its end
            for start in range(0, part.num_rows, PART_ROWS):  # a few bytes can claim 2**40 rows without values
                for row in part.slice(start, PART_ROWS).to_pylist():
                    number += 1
                    yield f"{name}, row {number}", row
    except (pa.ArrowException, OSError, ArithmeticError, ValueError) as error:  # a date or number that is none
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno):  # of the disk, or the network
            raise
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"{name} is not a whole {form} file, damaged or another thing (a Git LFS pointer, a web page), after row "
            f"{number} ({reason}): fetch or write it again"
        ) from error


def _arrow_parts(file: Path) -> Iterator[Any]:
    """Parts of an Arrow file, or a stream as `datasets` writes it; mapped, as pyarrow makes room for all it claims."""
    import pyarrow as pa

    with pa.memory_map(str(file)) as opened:
        if opened.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(opened)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            opened.seek(0)
            yield from pa.ipc.open_stream(opened)


def _short(line: str) -> str:
    line = line.strip()
    return repr(line if len(line) <= 60 else f"{line[:60]}...")
