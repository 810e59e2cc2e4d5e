"""Small changes to whole inputs, as damage and malice make them: numbers out of range, nesting, odd characters."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

Edit = Callable[[bytes, random.Random], bytes]

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 30, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, (1 << 63) - 1)
TOKENS = (
    *(b"null", b"true", b"NaN", b"-1", b"0", b"1e999", b"9" * 5000, b"1" + b"0" * 30, b'""', b"[]", b"{}", b"[[{}]]"),
    *(b"\0", b"\n", b"\r", b"\r\n", b'"', b"'", b",", b";", b"\t", b"\\", b"&", b"<", b">", b"+", b"%s%n", b"${x}"),
    *(b"\x1b[2J", b"\x1b]52;c;eA==\x07", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80"),
    *(b"\\ud800", b"\\u0000", "\u202e😀\ufdd0".encode(), b"<b>" * 2000, b"&a " * 100, b"*a", b"&a", b"{{x}}", b"0-0"),
    *(b"[" * 100_000, b"{" * 20_000, b'{"a":' * 20_000, b"!!bool ", b"!!int ", b"__class__", b"=1+1", b"a" * 5000),
    *(b"../../x", b"/etc/passwd", b"C:\\x"),
)


VALUES = (None, True, -1, 2**70, 1e308, "", "x\x1b[2J", "\ud800", [], {}, [[None]], [{}], {"": ""}, "A" * 5000)


def edited(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the inputs after up to four changes."""
    data = rng.choice(seeds)
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(EDITS)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    return rng.randint(0, len(data))


def _slice(data: bytes, rng: random.Random, most: int = 64) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + rng.randint(1, most))


def flip(data: bytes, rng: random.Random) -> bytes:
    """Another value of one byte."""
    if not data:
        return b"\0"
    i = rng.randrange(len(data))
    return data[:i] + bytes([data[i] ^ rng.choice((1, 0x20, 0x80, 0xFF))]) + data[i + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Without a piece."""
    start, stop = _slice(data, rng)
    return data[:start] + data[stop:]


def truncate(data: bytes, rng: random.Random) -> bytes:
    """Without its end."""
    return data[: _place(data, rng)]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """With a piece many times."""
    start, stop = _slice(data, rng)
    return data[:stop] + data[start:stop] * rng.choice((1, 2, 300)) + data[stop:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """With a token between two bytes."""
    i = _place(data, rng)
    return data[:i] + rng.choice(TOKENS) + data[i:]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """With a binary number in the place of as many bytes."""
    i, size = _place(data, rng), rng.choice((1, 2, 4, 8))
    number = rng.choice(NUMBERS) % (1 << 8 * size)
    return data[:i] + number.to_bytes(size, "little") + data[i + size :]


def replace_word(data: bytes, rng: random.Random) -> bytes:
    """With a token in the place of a word or number of a text."""
    start = _place(data, rng)
    while start and data[start - 1 : start].isalnum():
        start -= 1
    stop = start
    while stop < len(data) and data[stop : stop + 1].isalnum():
        stop += 1
    return data[:start] + rng.choice(TOKENS) + data[stop:]


def move(data: bytes, rng: random.Random) -> bytes:
    """With two pieces in each other's place."""
    a, b, c, d = sorted(_place(data, rng) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def replace_value(data: bytes, rng: random.Random) -> bytes:
    """With something else in the place of a value of a JSON text, or of one line of such texts; else as `flip`."""
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    whole = rng.random() < 0.5
    try:
        value = json.loads(data if whole else lines[i])
    except (ValueError, RecursionError):
        return flip(data, rng)
    changed = json.dumps(_with_other(value, rng)).encode()
    return changed if whole else b"\n".join([*lines[:i], changed, *lines[i + 1 :]])


def _with_other(value: Any, rng: random.Random) -> Any:
    """The value with one of VALUES somewhere in it."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.2:
        return rng.choice(VALUES)
    key = rng.choice(sorted(value)) if isinstance(value, dict) else rng.randrange(len(value))
    value[key] = _with_other(value[key], rng)
    return value


EDITS: tuple[Edit, ...] = (flip, cut, truncate, repeat, insert, overwrite, replace_word, move, replace_value)
