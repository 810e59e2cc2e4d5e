"""What a training run leaves behind for people and for DVC: its curve and its few closing numbers."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from llm.files import write_bytes


def write_curve(path: Path, history: Sequence[dict[str, float | None]]) -> None:
    """Write the curve as csv for `dvc plots`: a row per validation, an empty cell where there is no number."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_bytes(path, text.getvalue().encode())
