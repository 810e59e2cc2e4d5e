"""Every parser that meets foreign bytes, by the name that `python -m tests.fuzz` knows it by."""

from importlib import import_module

from tests.fuzz.harness import Harness

# Where each stands; imported when it is asked for, for the rooms that they read by take half a minute.
PLACES = {
    "tests.fuzz.sets": (
        *("cornell", "zip", "jsonl", "json", "csv", "parquet", "arrow", "text", "gzip", "hub_sets", "markup"),
        "curated",
    ),
    "tests.fuzz.tables": ("params", "questions", "spreadsheet"),
    "tests.fuzz.models": (
        *("gguf", "wheel", "tokenizer", "hub_config", "hub_tokenizer", "hub_weights", "token_files", "state"),
        "kept_outputs",
    ),
    "tests.fuzz.web": ("response", "body", "request"),
}
NAMES = tuple(name for names in PLACES.values() for name in names)


def find_harness(name: str) -> Harness:
    """The harness of that name. Raises KeyError."""
    [place] = [place for place, names in PLACES.items() if name in names]
    found: Harness = import_module(place).HARNESSES[name]
    return found
