"""One check for a number's range, so that every refused parameter reads alike."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Nothing, or ValueError naming the parameter, its value and what is allowed."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, allowed: {low} to {high}")
