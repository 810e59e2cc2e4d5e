"""Documents of the two tasks for lm-eval, from the rows of data/curated."""

from datasets import Dataset


def pairs(rows: Dataset) -> Dataset:
    """Two statements that differ in a few words, the true one first; its columns are words of jinja's language."""
    statements = [[row["true"], row["false"]] for row in rows]
    return Dataset.from_dict({"statements": statements})


def quiz(rows: Dataset) -> Dataset:
    """A question with its first correct answer and three that are not, the correct one first."""
    answers = [[row["correct"][0], *row["incorrect"][:3]] for row in rows]
    return Dataset.from_dict({"question": [row["question"] for row in rows], "answers": answers})
