"""Step 5, write: figures as they stand in files: rounded for JSON, in short for DVC, one row a point for plots.

Whoever shows a figure to people takes `show_number`: it reads the same wherever it stands.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

DECIMALS = 4  # of figures in files
UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
BPB_COLUMNS = ("model", "source", "value", "low", "high", "n")
CHOICE_COLUMNS = ("model", "area", "accuracy", "low", "high", "chance", "n")
# Of the questions beside the literacy pairs: section of a detail, its main measure, and what it is called.
OTHER_CHOICES = (
    ("premises", "accuracy", "false premises"),
    ("choice", "mc1", "quiz"),
    ("truthfulqa", "mc1", "TruthfulQA"),
)

# Of the summary: the models that are trained here and what each is held against; sources, by name, that stand in it.
TRAINED_HERE = {"scratch": "ngram5", "mistral": "base"}
SUMMARY_ROWS, SUMMARY_SOURCES = 25, 3

BAR = "ngram5"  # a network that needs more bits per byte has learned less than counting does

Details = Mapping[str, Mapping[str, Any]]  # metrics/detail/<name>.json by name
PlotRow = tuple[str | float | None, ...]


def round_figures(value: Any) -> Any:
    """The value with every float at DECIMALS decimals, inside dicts and lists too; None for one that is not finite."""
    if isinstance(value, dict):
        return {key: round_figures(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [round_figures(inner) for inner in value]
    if isinstance(value, float):
        return round(value, DECIMALS) if math.isfinite(value) else None
    return value


def find_not_finite(values: Mapping[str, Any], section: str = "") -> list[str]:
    """Names of the numbers that are NaN or infinite.

    >>> find_not_finite({"bpb": {"all": math.nan, "eli5": 1.5}})
    ['bpb.all']
    """
    names = []
    for key, value in values.items():
        if isinstance(value, dict):
            names += find_not_finite(value, f"{section}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            names.append(f"{section}{key}")
    return names


def show_text(text: str) -> str:
    """The text in one line, with nothing in it that Markdown would take for a table, markup, a link or a formula.

    Control characters, which a model that learned little writes, would make a binary file of the page; those that
    turn the direction of writing would show other words than stand there; half characters cannot be written.

    >>> show_text("a | b\\n<i>\\0")
    'a \\\\| b &lt;i>\ufffd'
    """
    text = UNSHOWN.sub("\ufffd", " ".join(text.split()))
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for mark in "|*_`[~$":
        text = text.replace(mark, "\\" + mark)
    return text


def show_number(value: float | None, digits: int) -> str:
    """A number with so many decimals, halves away from 0; a dash where there is none or no finite one.

    It is rounded from what the files hold, so that the file, a table and a picture never say different things.

    >>> show_number(1.815, 2), show_number(0.125, 2), f"{1.815:.2f}", f"{0.125:.2f}"
    ('1.82', '0.13', '1.81', '0.12')
    """
    if value is None or not math.isfinite(value):
        return "-"
    shown = Decimal(repr(round(value, DECIMALS))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{shown if shown else abs(shown)}"  # no "-0.00"


def summarise(
    figures: Details, lines: Mapping[str, Mapping[str, Any] | None], data: Mapping[str, Any], trained: Details
) -> dict[str, dict[str, float | None]]:
    """The figures that `dvc metrics diff` and `dvc exp show` show of a run, at most SUMMARY_ROWS; None: there is none.

    `figures` holds metrics/<model>.json by model, `lines` the standing comparisons by pair, `data` metrics/data.json,
    `trained` what training said of each of TRAINED_HERE. A margin is the bits per byte by which a model is better than
    the one it is held against, at the doubtful end of the 95 % interval: above 0, the items tell the two apart.
    """
    sources = sorted(figures["scratch"]["bpb"].keys() - {"all", "macro"})[:SUMMARY_SOURCES]
    found: dict[str, dict[str, float | None]] = {
        "data": {
            "test_replies": figures["scratch"]["n"]["replies"],
            "train_tokens": data["tokenizer"]["splits"]["train"]["tokens"]["all"],
        },
        "ngram5": {"bpb": figures["ngram5"]["bpb"]["all"]},
        "base": _headline(figures["base"]),
    }
    for model, other in TRAINED_HERE.items():
        high = (lines[f"{model} - {other}"] or {}).get("bpb.all", {}).get("high")
        found[model] = _headline(figures[model]) | {
            **{f"bpb_{source}": figures[model]["bpb"][source] for source in sources},
            "margin": None if high is None else 0.0 - high,
            "val_loss": trained[model].get("best_val_loss"),
        }
    return found


def _headline(figures: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "bpb": figures["bpb"]["all"],
        "chrf": figures["text"]["chrf"],
        "literacy": figures["literacy"]["accuracy"],
        "premises": figures["premises"]["accuracy"],
    }


def bpb_rows(details: Details) -> Iterator[PlotRow]:
    """Bits per byte with its interval and number of replies of every model that has it, in all and per source."""
    for model, detail in details.items():
        for source, figure in detail.get("bpb", {}).items():
            if figure["value"] is not None:
                yield model, source, figure["value"], figure["low"], figure["high"], figure["n"]


def choice_rows(details: Details) -> Iterator[PlotRow]:
    """Share of right choices with interval, chance and n: of the literacy pairs by area, of other questions in all."""
    for model, detail in details.items():
        shown = [(area, figures, "accuracy") for area, figures in detail.get("literacy", {}).items()]
        shown += [(name, detail.get(section, {}).get("all"), measure) for section, measure, name in OTHER_CHOICES]
        for area, figures, measure in shown:
            if figures:
                found = figures[measure]
                numbers = found["value"], found["low"], found["high"], figures["chance"]["value"], figures["n"]
                yield model, area, *numbers


def table_bytes(columns: Iterable[str], rows: Iterable[PlotRow]) -> bytes:
    """The table as csv, an empty cell where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file by column.

    Raises FileNotFoundError saying what to run when there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro` first")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
