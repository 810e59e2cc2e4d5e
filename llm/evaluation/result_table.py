"""What a run measured, as the Markdown table that people read: every model, its main figures and their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm.evaluation.figure_files import BAR, Details

MODELS = (
    *("mistral", "base", "scratch"),
    *("ngram5", "unigram", "compressor", "retrieval", "frequent", "untrained"),
)
BELOW = "▼"
SHOWN_PAIRS = ("scratch - ngram5", "mistral - base", "mistral - scratch")
TOGETHER = ("all", "macro")  # figures over several sources
START, END = "<!-- results -->\n", "<!-- /results -->"  # marks in README.md, between which the table stands


def find_figure(detail: Mapping[str, Any], *path: str) -> float | None:
    """The number at that place of a model's detail, None where it has none."""
    found: Any = detail
    for key in path:
        found = found.get(key) if found else None
    return found


def show_number(value: float | None, digits: int) -> str:
    """A number with so many decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def show_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A number and its interval; a dash where there is none."""
    return "-" if value is None else f"**{show_number(value, 3)}** ({show_number(low, 3)} to {show_number(high, 3)})"


def table_row(name: str, detail: Mapping[str, Any], sources: Sequence[str], bar: float | None) -> tuple[str, ...]:
    """A model's line of the table, marked where it needs more bits than `bar`."""
    value, low, high = (find_figure(detail, "bpb", "all", key) for key in ("value", "low", "high"))
    below = value is not None and bar is not None and value > bar
    return (
        f"`{name}` {BELOW}" if below else f"`{name}`",
        show_interval(value, low, high),
        *(show_number(find_figure(detail, "bpb", source, "value"), 3) for source in sources),
        show_number(find_figure(detail, "text", "bleu", "value"), 2),
        show_number(find_figure(detail, "text", "chrf", "value"), 1),
        show_number(find_figure(detail, "choice", "all", "mc1", "value"), 3),
        show_number(find_figure(detail, "truth", "nearer_correct", "value"), 3),
    )


def result_table(details: Details, compared: Mapping[str, Any]) -> str:
    """The table and the comparisons below it, as Markdown; `compared` is metrics/detail/compare.json."""
    bar = find_figure(details[BAR], "bpb", "all", "value")
    sources = [name for name in details[BAR]["bpb"] if name not in TOGETHER]
    columns = ("model", "bits per byte, all (95 % CI)", *sources, "BLEU", "chrF++", "quiz", "truthful")
    cells = [columns, ("---",) * len(columns), *(table_row(name, details[name], sources, bar) for name in MODELS)]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    lines += ["", f"{BELOW}: more bits per byte than `{BAR}`, so it has learned less than counting does."]
    lines += ["", "Paired differences in bits per byte on the same replies, with the 95 % interval:", ""]
    for pair in SHOWN_PAIRS:
        if compared[pair]:
            found = compared[pair]["lines"]["bpb.all"]
            bounds = f"({show_number(found['low'], 3)} to {show_number(found['high'], 3)})"
            lines.append(f"- `{pair}`: {show_number(found['difference'], 3)} {bounds}: {found['verdict']}")
    for name in MODELS:
        lines += ["", f"`{name}`: {details[name].get('name') or details[name]['reason']}."]
    return "\n".join(lines) + "\n"


def put_into_page(page: str, table: str, start: str = START, end: str = END) -> str:
    """The page with the table between its marks, in place of what stood there.

    Raises ValueError for a page without the marks.
    """
    before, opening, rest = page.partition(start)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise ValueError(f"the page has no lines {start.strip()} and {end}: put both where the table is to stand")
    return f"{before}{start}{table}{end}{after}"
