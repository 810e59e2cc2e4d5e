"""One check for a number's range, so that every refused parameter reads alike."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError naming the parameter, its value and what is allowed, unless the value is in the range."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, allowed: {low} to {high}")
