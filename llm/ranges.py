"""Checks of parameters' values, so that every refused one reads alike."""

import re


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError naming the parameter, its value and what is allowed, unless the value is in the range."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, allowed: {low} to {high}")


def check_sha256(name: str, value: str | None) -> None:
    """Raise ValueError naming the parameter, its value and what is allowed, unless it is a SHA-256 or None."""
    if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{name} is {value}, allowed: 64 hexadecimal digits in lower case, or null")
