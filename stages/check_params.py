"""Stage check_params: the whole of params.yaml is valid -> data/params_checked, always the same bytes."""

from pathlib import Path

from llm.checkpoint import write_bytes
from llm.ranges import check_range
from llm.schedule import TrainConfig
from llm.shape import ModelConfig
from stages.logs import run_stage
from stages.params import load, load_value

CHECKED = Path("data/params_checked")


def main() -> None:
    """Nothing; the marker every other stage depends on is written."""
    check_range("seed", load_value("seed", int), 0, 2**63 - 1)
    load("model", ModelConfig)
    load("train", TrainConfig)
    write_bytes(CHECKED, b"params.yaml is valid\n")


if __name__ == "__main__":
    run_stage("check_params", main)
