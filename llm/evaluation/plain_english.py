"""How well a model goes on with plain English that it was not trained on here: what a fine-tune makes it forget.

The text is of everyday things, neither dialogue nor explanation, and was written for this project; each paragraph is
scored by itself, as the section of a document.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.dialogue import Example
from llm.evaluation.perplexity import bits_per_byte, resample_examples
from llm.evaluation.scoring import Score

ENGLISH_MEASURES = ("bpb",)


def read_paragraphs(path: Path) -> list[Example]:
    """The paragraphs of a text file as sections of documents; empty lines stand between them."""
    paragraphs = [part.strip() for part in path.read_text(encoding="utf-8").split("\n\n")]
    named = ((f"english/{i}", text) for i, text in enumerate(filter(None, paragraphs)))
    return [Example(name, "english", name, (), text) for name, text in named]


def english_figures(
    paragraphs: Sequence[Example], scores: Sequence[Score] | None, n_resamples: int, seed: int
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """`bpb`: bits the model needs for each byte of the paragraphs, None where it was not asked; and its detail."""
    if not paragraphs or scores is None:
        return dict.fromkeys(ENGLISH_MEASURES), {}
    found = bits_per_byte(paragraphs, scores, resample_examples(paragraphs, n_resamples, seed))["all"]
    detail = {"value": found.value, "low": found.low, "high": found.high, "n": len(paragraphs)}
    return {"bpb": found.value}, {"bpb": detail}
