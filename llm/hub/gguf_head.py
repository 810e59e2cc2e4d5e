"""The head of a gguf file looked over before it is read: what it says of its own lengths fits into the file.

The library that reads it believes a length: an array of 2**40 numbers, named by 40 bytes, fills the memory.
Its form: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC, VERSIONS = b"GGUF", (2, 3)
NUMBER_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value, by its type
TEXT, ARRAY = 8, 9
MAX_ITEMS = 1 << 22  # of all arrays: a vocabulary and its merges have a quarter million; each takes 200 bytes of memory


@dataclass
class Head:
    """A file at the place up to which it was looked over."""

    file: BinaryIO
    size: int

    def number(self, form: str) -> int:
        """The next number, of a form of `struct`."""
        return int(struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0])

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        self.check(n)
        return self.file.read(n)

    def skip(self, n: int) -> None:
        """Go n bytes on."""
        self.check(n)
        self.file.seek(n, 1)

    def check(self, n: int) -> None:
        """Raise ValueError where the file ends before that many bytes."""
        if n > self.size - self.file.tell():
            raise ValueError(f"it ends before {n:,} bytes that it announces at byte {self.file.tell():,}")


def check_head(path: Path) -> None:
    """Raise ValueError unless all the values before the tensors lie in the file, and none is larger than any is."""
    with path.open("rb") as file:
        head = Head(file, path.stat().st_size)
        if head.take(4) != MAGIC or head.number("I") not in VERSIONS:
            raise ValueError("it does not begin as one of version 2 or 3")
        head.number("Q")  # of tensors
        n_items = 0
        for _ in range(head.number("Q")):
            head.skip(head.number("Q"))  # the name
            n_items = _check_value(head, head.number("I"), n_items)


def _check_value(head: Head, kind: int, n_items: int) -> int:
    """Go behind the value; how many items its array and those before it hold."""
    if kind == TEXT:
        head.skip(head.number("Q"))
    elif kind == ARRAY:
        kind, n = head.number("I"), head.number("Q")
        n_items += n
        if n_items > MAX_ITEMS or kind == ARRAY:
            raise ValueError(f"it holds an array of {n:,} items, {MAX_ITEMS:,} numbers or texts are allowed in all")
        if kind == TEXT:
            for _ in range(n):
                head.skip(head.number("Q"))
        else:
            head.skip(n * _number_bytes(kind))
    else:
        head.skip(_number_bytes(kind))
    return n_items


def _number_bytes(kind: int) -> int:
    if kind not in NUMBER_BYTES:
        raise ValueError(f"it has a value of type {kind}, which is none")
    return NUMBER_BYTES[kind]
