"""`python -m stages.results` writes the table of the last run into README.md, from metrics/ alone."""

import json
import logging
from pathlib import Path
from typing import Any

from llm.files import write_bytes
from stages.logs import run_stage

README, METRICS = Path("README.md"), Path("metrics")
START, END = "<!-- results -->\n", "<!-- /results -->"
MODELS = (
    *("mistral", "base", "scratch"),
    *("ngram5", "unigram", "compressor", "retrieval", "frequent", "untrained"),
)
BAR = "ngram5"  # what has learned anything needs fewer bits
BELOW = "▼"
PAIRS = ("scratch - ngram5", "mistral - base", "mistral - scratch")
SOURCES = ("dialogue", "eli5", "technical")
COLUMNS = ("model", "bits per byte, all (95 % CI)", *SOURCES, "BLEU", "chrF++", "quiz", "truthful")

logger = logging.getLogger(__name__)


def read_json(path: Path) -> dict[str, Any]:
    """The file's content.

    Raises FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro` first")
    return json.loads(path.read_text(encoding="utf-8"))


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A number and its interval; a dash where there is none."""
    return "-" if value is None else f"**{number(value, 3)}** ({number(low, 3)} to {number(high, 3)})"


def row(name: str, bar: float, folder: Path) -> tuple[str, ...]:
    """A model's line of the table, marked where it needs more bits than `bar`."""
    figures, detail = read_json(folder / f"{name}.json"), read_json(folder / "detail" / f"{name}.json")
    bpb, interval = figures["bpb"], detail.get("bpb", {}).get("all", {})
    below = bpb["all"] is not None and bpb["all"] > bar
    return (
        f"`{name}` {BELOW}" if below else f"`{name}`",
        with_interval(bpb["all"], interval.get("low"), interval.get("high")),
        *(number(bpb.get(source), 3) for source in SOURCES),
        number(figures["text"]["bleu"], 2),
        number(figures["text"]["chrf"], 1),
        number(figures["choice"]["mc1"], 3),
        number(figures["truth"]["nearer_correct"], 3),
    )


def render(folder: Path = METRICS) -> str:
    """The table and the three comparisons below it, as Markdown."""
    read_json(folder / "detail" / "settings.json")  # written last: without it the files may be of two evaluations
    bar = read_json(folder / f"{BAR}.json")["bpb"]["all"]
    cells = [COLUMNS, ("---",) * len(COLUMNS), *(row(name, bar, folder) for name in MODELS)]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    lines += ["", f"{BELOW}: more bits per byte than `{BAR}`, so it has learned less than counting does."]
    compared = read_json(folder / "detail" / "compare.json")
    lines += ["", "Paired differences in bits per byte on the same replies, with the 95 % interval:", ""]
    for pair in PAIRS:
        if compared[pair]:
            found = compared[pair]["lines"]["bpb.all"]
            bounds = f"({number(found['low'], 3)} to {number(found['high'], 3)})"
            lines.append(f"- `{pair}`: {number(found['difference'], 3)} {bounds}: {found['verdict']}")
    for name in MODELS:
        lines += ["", f"`{name}`: {read_json(folder / 'detail' / f'{name}.json')['name']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Nothing; README.md holds the table of the metrics that are there."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    write_bytes(README, f"{before}{START}{render()}{END}{after}".encode())
    logger.info("%s holds the table of %s/", README, METRICS)


if __name__ == "__main__":
    run_stage("results", main)
