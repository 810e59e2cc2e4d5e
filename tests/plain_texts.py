"""A model's replies and the real ones as two plain files, one a line, for sacrebleu's own command.

python -m tests.plain_texts scratch replies.txt references.txt
sacrebleu references.txt -i replies.txt -m bleu chrf --chrf-word-order 2 -w 4
"""

import json
import sys
from pathlib import Path


def write_lines(path, texts):
    """Write line breaks inside a text as spaces, as both of sacrebleu's tokenisers read them."""
    path.write_text("".join(text.replace("\n", " ") + "\n" for text in texts), encoding="utf-8")


def replies_and_references(model, predictions, test_table):
    """What the model said greedily, and the turns that stand there in the test set."""
    from datasets import Dataset

    turns = {row["id"]: row["turns"] for row in Dataset.from_file(str(test_table))}
    rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    said = {row["id"]: row["text"] for row in rows if row["model"] == model and row["kind"] == "greedy"}
    places = [name.rpartition("/") for name in said]
    return list(said.values()), [turns[dialogue][int(turn)] for dialogue, _, turn in places]


if __name__ == "__main__":
    found = replies_and_references(sys.argv[1], Path("metrics/predictions.jsonl"), Path("data/clean/test.arrow"))
    for path, texts in zip(sys.argv[2:4], found, strict=True):
        write_lines(Path(path), texts)
