"""A question set of others that no model may be trained on: its texts, for the leak gate."""

import csv
from pathlib import Path

TRUTH_COLUMNS = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")


def truth_texts(path: Path) -> list[str]:
    """Every question and answer of TruthfulQA.csv (Lin et al. 2022).

    Raises ValueError when the columns are others.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        missing = [name for name in TRUTH_COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {', '.join(missing)}: it is not TruthfulQA.csv (clean.truth_data)")
        fields = [row[name] or "" for row in rows for name in TRUTH_COLUMNS]
    return [text for field in fields for text in field.split("; ") if text]
