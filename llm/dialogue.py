"""The record every stage speaks: a dialogue of alternating user and assistant turns, or a section of a document."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llm.files import parse_json, utf8_lines, write_whole

BATCH = 1000  # rows of a table that are read or written at once

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Dialogue:
    """Two or more turns; even positions are the user's, odd ones the assistant's. A document's only turn is its text.

    Of a dialogue every assistant turn is scored; of a document, all of it.
    """

    id: str
    source: str  # its name in params.yaml
    group: str  # film, conversation, thread, section, ...: never split between train and test
    turns: tuple[str, ...]
    system: str | None = None  # what the assistant was told before the first turn: learned, never scored
    kind: Literal["dialogue", "document"] = "dialogue"

    def __post_init__(self) -> None:
        if self.kind == "document" and (len(self.turns) != 1 or self.system is not None):
            raise ValueError(f"document {self.id} has {len(self.turns)} turns, needs one, and no system turn")
        if self.kind == "dialogue" and len(self.turns) < 2:
            raise ValueError(f"dialogue {self.id} has {len(self.turns)} turn(s), needs two or more")

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text in order: the system turn where there is one, then the turns."""
        return self.turns if self.system is None else (self.system, *self.turns)


@dataclass(frozen=True)
class Prompt:
    """What stands before a text that a model is asked about: a reply to a history, or a document without one."""

    history: tuple[str, ...]  # odd number of turns, the last one the user's; empty for a document
    system: str | None = None
    opening: str = ""  # of the reply or document itself, to be gone on with

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text in order, those that there are."""
        return (*(() if self.system is None else (self.system,)), *self.history, *filter(None, (self.opening,)))


@dataclass(frozen=True)
class Example:
    """One scored reply: an assistant turn and the turns before it, user first; or a document, nothing before it."""

    id: str  # dialogue id and turn number, "conv7/3"
    source: str
    group: str
    history: tuple[str, ...]  # odd number of turns, the last one the user's; empty for a document
    reply: str
    system: str | None = None  # of the dialogue
    opening: str = ""  # what stands before `reply` in its turn; empty where that is all of it

    @property
    def prompt(self) -> Prompt:
        """What stands before the reply."""
        return Prompt(self.history, self.system, self.opening)


def n_exchanges(dialogue: Dialogue) -> int:
    """Turns that answer a turn: one fewer than the turns; a document counts as one."""
    return max(1, len(dialogue.turns) - 1)


def join_speaker_turns(messages: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Turns from (speaker, text) messages: consecutive messages of one speaker are one turn, joined by a line break.

    >>> join_speaker_turns([("a", "Hi."), ("a", "You there?"), ("b", "Yes.")])
    ('Hi.\\nYou there?', 'Yes.')
    """
    by_turn = groupby(messages, key=lambda message: message[0])
    return tuple("\n".join(text for _, text in turn) for _, turn in by_turn)


def scored_replies(dialogue: Dialogue) -> list[Example]:
    """Every assistant turn with its whole history, in order; of a document its text, with none."""
    first = 0 if dialogue.kind == "document" else 1
    return [
        Example(
            f"{dialogue.id}/{i}",
            dialogue.source,
            dialogue.group,
            dialogue.turns[:i],
            dialogue.turns[i],
            dialogue.system,
        )
        for i in range(first, len(dialogue.turns), 2)
    ]


def write_dialogues(path: Path, dialogues: Iterable[Dialogue]) -> None:
    """Write dialogues, one JSON object a line; the file appears whole or not at all."""
    with write_whole(path) as file:
        for dialogue in dialogues:
            file.write((json.dumps(asdict(dialogue), ensure_ascii=False, sort_keys=True) + "\n").encode())


def _dialogue(row: Mapping[str, Any]) -> Dialogue:
    return Dialogue(row["id"], row["source"], row["group"], tuple(row["turns"]), row["system"], row["kind"])


def read_dialogues(path: Path) -> Iterator[Dialogue]:
    """Dialogues of a file written by `write_dialogues`, in order.

    Raises ValueError naming the line that is not a dialogue.
    """
    for number, line in utf8_lines(path):
        try:
            yield _dialogue(parse_json(line))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: not a dialogue: {error}") from error


def _schema() -> Any:
    from datasets import Features, List, Value

    text = Value("string")
    names = ("id", "source", "group", "system", "kind")
    return Features({**dict.fromkeys(names, text), "turns": List(text)}).arrow_schema


def write_table(path: Path, dialogues: Iterable[Dialogue]) -> None:
    """Write an Arrow file, the form in which cleaned dialogues are kept; it appears whole or not at all.

    No more than BATCH dialogues are held in memory.
    """
    import pyarrow

    schema, rows = _schema(), map(vars, dialogues)
    with write_whole(path) as file, pyarrow.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(rows, BATCH)):
            writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))


@dataclass(frozen=True)
class Table:
    """A file written by `write_table`, memory-mapped, so it may exceed the memory."""

    batches: list[Any]  # pyarrow's record batches

    def take(self, numbers: Ints) -> Iterator[Any]:
        """The rows with these ascending numbers, in record batches of BATCH."""
        import pyarrow

        starts = np.cumsum([0, *(batch.num_rows for batch in self.batches)])
        for first in range(0, len(numbers), BATCH):
            wanted = numbers[first : first + BATCH]
            holder = np.searchsorted(starts, wanted, side="right") - 1
            yield pyarrow.concat_batches(
                [self.batches[i].take(pyarrow.array(wanted[holder == i] - starts[i])) for i in np.unique(holder)]
            )

    def read(self, numbers: Ints) -> Iterator[Dialogue]:
        """The dialogues with these ascending numbers."""
        for batch in self.take(numbers):
            yield from map(_dialogue, batch.to_pylist())

    def copy(self, numbers: Ints, path: Path) -> None:
        """Write the rows with these ascending numbers as a table of their own, whole or not at all."""
        import pyarrow

        with write_whole(path) as file, pyarrow.ipc.new_stream(file, _schema()) as writer:
            for batch in self.take(numbers):
                writer.write_batch(batch)


def open_table(path: Path) -> Table:
    """The table at `path`."""
    import pyarrow

    return Table(list(pyarrow.ipc.open_stream(pyarrow.memory_map(str(path)))))


def read_table(path: Path) -> Iterator[Dialogue]:
    """Dialogues of a file written by `write_table`, in order; memory-mapped, so it may exceed the memory."""
    for batch in open_table(path).batches:
        yield from map(_dialogue, batch.to_pylist())
