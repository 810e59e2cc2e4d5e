"""`python -m stages.cards`: how long the training stages would take on GPUs that people have, and in what memory.

Predictions, not measurements: operations and bytes are counted from the shapes, and a card is taken to do 20 to 45 % of
the operations that its data sheet promises.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from stages.estimate import Params, base_weights, corpus_tokens, run_flop, scratch_weights
from stages.needs import GB, ROWS, BaseShape, Choice, base_shape, configured, finetune_bytes, train_bytes
from stages.preset import preset_params

LEAST, MOST = 0.2, 0.45  # of the peak: a small model or short rows, and a compiled loop of large products
NUMBER = 2  # bytes of a number in bf16 or fp16
HOUR = 3600.0


@dataclass(frozen=True)
class Card:
    """A GPU by its maker's data sheet."""

    name: str
    gigabytes: float
    tflops: float  # products of 16-bit numbers, dense, summed in fp32


CARDS = (
    Card("RTX 4060", 8, 30),
    Card("T4", 16, 65),
    Card("RTX 3090 Ti", 24, 80),
    Card("A100", 40, 312),
    Card("H100 SXM", 80, 989),
)


def train_flop(params: Params) -> float:
    """Operations of train_scratch, validations included."""
    return run_flop(params["train"], params["model"]["context_length"], corpus_tokens(params), scratch_weights(params))


def finetune_flop(params: Params) -> float:
    """Operations of finetune_mistral: frozen weights get no gradient; checkpointing computes the forward pass twice."""
    finetune, tokens = params["finetune"], corpus_tokens(params)
    tokens = min(tokens, finetune["train_tokens"] or tokens)
    passes = 3 if finetune["gradient_checkpointing"] else 2  # of the three that training every weight takes
    return run_flop(finetune["train"], finetune["context_length"], tokens, base_weights(params) * passes / 3)


def hours(flop: float, card: Card) -> str:
    """The shortest and the longest time, in hours.

    >>> hours(3.6e17, Card("a", 8, 100))
    '2.2 to 5.0'
    """
    low, high = (flop / (share * card.tflops * 1e12) / HOUR for share in (MOST, LEAST))
    return f"{low:.2g} to {high:.2g}" if high < 1 else f"{low:.1f} to {high:.1f}"


def most_rows(needed: Sequence[tuple[int, float]], card: Card) -> str:
    """The most rows of a forward pass that fit, and what they take."""
    fitting = [(rows, size) for rows, size in needed if size <= card.gigabytes * GB]
    if not fitting:
        return f"does not fit ({needed[0][1] / GB:.1f} GB)"
    rows, size = fitting[-1]
    return f"{size / GB:.1f} GB at {rows} row{'s' if rows > 1 else ''}"


def train_sizes(params: Params) -> list[tuple[int, float]]:
    """Memory of train_scratch by rows of a forward pass, up to those of a step."""
    sections = [(rows, {**params, "train": {**params["train"], "micro_batch": rows}}) for rows in ROWS]
    return [(rows, train_bytes(section, "cuda", NUMBER)) for rows, section in sections]


def finetune_sizes(params: Params, shape: BaseShape, quantize: str) -> list[tuple[int, float]]:
    """The same of finetune_mistral, with or without four bits."""
    finetune = params["finetune"]
    choice = configured(params)
    made = [(rows, Choice(quantize, choice.checkpointing, choice.context_length, rows)) for rows in ROWS]
    return [(rows, finetune_bytes(shape, finetune["lora_r"], one, "cuda", NUMBER)) for rows, one in made]


def table(params: Params) -> list[str]:
    """Lines of a Markdown table, a row a card."""
    heads = (
        "card",
        "by its data sheet",
        "`train_scratch`, hours",
        "its memory",
        "`finetune_mistral`, hours",
        "LoRA",
        "QLoRA",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    shape = base_shape(params["base"]["location"])
    for card in CARDS:
        tuned = [most_rows(finetune_sizes(params, shape, bits), card) if shape else "-" for bits in ("none", "nf4")]
        cells = [
            card.name,
            f"{card.gigabytes:g} GB, {card.tflops:g} TFLOP/s",
            hours(train_flop(params), card),
            most_rows(train_sizes(params), card),
            hours(finetune_flop(params), card),
            *tuned,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the table of a preset."""
    about, _, rest = __doc__.partition("\n\n")
    example = f"{' '.join(rest.split())} example: python -m stages.cards coursework"
    parser = argparse.ArgumentParser("python -m stages.cards", description=about.partition(": ")[2], epilog=example)
    parser.add_argument("preset", nargs="?", default="coursework", help="a name in presets/ (coursework)")
    params = preset_params(parser.parse_args().preset)
    print("\n".join(table(params)))
    print(
        f"\nCounted: {train_flop(params):.2g} operations of train_scratch, {finetune_flop(params):.2g} of "
        f"finetune_mistral. Predicted at {LEAST:.0%} to {MOST:.0%} of the peak; nothing of it was measured."
    )


if __name__ == "__main__":
    main()
