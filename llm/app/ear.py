"""Figures for the ear: rounded, in words."""

import math
import re

TEN = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
EXACT = 100  # smaller numbers are said as they are
UNITS = {"k": 1e3, "M": 1e6, "B": 1e9}


def times_in_ten(share: float) -> str:
    """How often, of a share between 0 and 1.

    >>> times_in_ten(0.689), times_in_ten(0.02), times_in_ten(0.98)
    ('about seven times in ten', 'almost never', 'almost always')
    """
    tenths = math.floor(share * 10 + 0.5)
    return {0: "almost never", 1: "about once in ten times", 10: "almost always"}.get(
        tenths, f"about {TEN[tenths]} times in ten"
    )


def times(nats: float) -> str:
    """How many times as likely, from a difference of log-probabilities.

    >>> times(0.2), times(3.0), times(11.2)
    ('a little likelier than', 'about 20 times as likely as', 'more than 10,000 times as likely as')
    """
    if nats < math.log(1.5):
        return "a little likelier than"
    if nats < math.log(1000):
        return f"about {two_digits(math.exp(nats), 1)} times as likely as"
    return f"more than {10 ** math.floor(nats / math.log(10)):,} times as likely as"


def two_digits(number: float, digits: int = 2) -> str:
    """The number rounded to so many digits that count; below ten always to a whole one.

    >>> two_digits(344), two_digits(20.1, 1), two_digits(1.6)
    ('340', '20', '2')
    """
    places = max(0, math.floor(math.log10(number)) + 1 - digits) if number >= 1 else 0
    return f"{math.floor(number / 10**places + 0.5) * 10**places:,}"


def n_parameters(description: str) -> float | None:
    """The number of weights that a model's description names; None where it names none.

    >>> n_parameters("Qwen3 architecture (3 layers, 128 wide, 1.1M parameters)")
    1100000.0
    """
    found = re.search(r"([\d.]+)([kMB]) parameters", description)
    return float(found[1]) * UNITS[found[2]] if found else None


def spoken_size(number: float) -> str:
    """A number of weights.

    >>> spoken_size(1.127e6), spoken_size(134.5e6), spoken_size(7e9)
    ('1.1 million', '135 million', '7 billion')
    """
    for name, unit in (("billion", 1e9), ("million", 1e6), ("thousand", 1e3)):
        if number >= unit:
            found = number / unit
            return f"{two_digits(found, 3) if found >= len(TEN) else f'{found:.1f}'.removesuffix('.0')} {name}"
    return two_digits(number)


def spoken_number(n: int) -> str:
    """A number of items for the ear.

    >>> spoken_number(6), spoken_number(27), spoken_number(344)
    ('six', '27', 'about 340')
    """
    if n < len(TEN):
        return TEN[n]
    return f"about {two_digits(n)}" if n >= EXACT else str(n)
