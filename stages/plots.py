"""Stage plots: the tables of training and evaluation -> pictures in metrics/plots."""

import logging
from pathlib import Path

from llm.files import write_bytes
from llm.plot_tables import read_rows
from llm.plots import draw_bits_per_byte, draw_choice, draw_losses
from stages.logs import run_stage

OUT = Path("metrics/plots")
SCRATCH, MISTRAL = Path("metrics/train_scratch.csv"), Path("metrics/finetune_mistral.csv")

logger = logging.getLogger(__name__)


def main() -> None:
    """Nothing; the stage's outputs are written."""
    curves = {"scratch, trained here": read_rows(SCRATCH), "mistral, fine-tuned": read_rows(MISTRAL)}
    pictures = {
        "loss": draw_losses(curves),
        "bpb": draw_bits_per_byte(read_rows(OUT / "bpb.csv")),
        "choice": draw_choice(read_rows(OUT / "choice.csv")),
    }
    for name, picture in pictures.items():
        write_bytes(OUT / f"{name}.svg", picture)
        logger.info("%s", OUT / f"{name}.svg")


if __name__ == "__main__":
    run_stage("plots", main)
