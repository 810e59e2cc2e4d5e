"""Stage plots: the tables of training and evaluation, and the judge's own figures -> pictures in metrics/plots."""

import json
import logging
from pathlib import Path

from llm.evaluation.figure_files import read_csv
from llm.evaluation.plots import draw_bits_per_byte, draw_choice, draw_judge, draw_losses
from llm.files import write_bytes
from stages.logs import run_stage

OUT = Path("metrics/plots")
SCRATCH, MISTRAL = Path("metrics/train_scratch.csv"), Path("metrics/finetune_mistral.csv")
JUDGE = Path("models/judge")

logger = logging.getLogger(__name__)


def main() -> None:
    """Write the four pictures."""
    judge = json.loads((JUDGE / "judge.json").read_text(encoding="utf-8"))
    curves = {"scratch, trained here": read_csv(SCRATCH), "mistral, fine-tuned": read_csv(MISTRAL)}
    pictures = {
        "loss": draw_losses(curves),
        "bpb": draw_bits_per_byte(read_csv(OUT / "bpb.csv")),
        "choice": draw_choice(read_csv(OUT / "choice.csv")),
        "judge": draw_judge(judge["figures"]),
    }
    for name, picture in pictures.items():
        write_bytes(OUT / f"{name}.svg", picture)
        logger.info("%s", OUT / f"{name}.svg")


if __name__ == "__main__":
    run_stage("plots", main)
