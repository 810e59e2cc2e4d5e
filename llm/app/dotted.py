"""Parameters by dotted name."""

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """Values by dotted name.  flatten({"a": {"b": 1}}) == {"a.b": 1}"""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{section}{key}.") if isinstance(value, dict) else {f"{section}{key}": value}
    return flat
