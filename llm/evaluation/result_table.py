"""What a run measured, as the Markdown table that people read: every model, its main figures and their intervals."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from llm.evaluation.figure_files import BAR, Details

MODELS = (
    *("mistral", "base", "scratch"),
    *("ngram5", "unigram", "compressor", "retrieval", "frequent", "untrained"),
)
BELOW = "▼"
SHOWN_PAIRS = ("scratch - ngram5", "mistral - base", "mistral - scratch")
TOGETHER = ("all", "macro")  # figures of all sources, beside those of each
FIRST_COLUMNS, LAST_COLUMNS = ("model", "bits per byte, all (95 % CI)"), ("BLEU", "chrF++", "quiz", "truthful")
NO_INTERVAL = "A figure without an interval rests on too few test dialogues: take it as a hint."
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
    """A number and its interval, where it has one; a dash where there is none."""
    return "-" if value is None else f"**{show_number(value, 3)}**{show_bounds(low, high)}"


def show_bounds(low: float | None, high: float | None) -> str:
    """The interval behind its number.

    >>> show_bounds(0.5, 1.25), show_bounds(None, None)
    (' (0.500 to 1.250)', '')
    """
    return "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"


def measured_sources(details: Details) -> list[str]:
    """Names of the sources of which any model has bits per byte."""
    return sorted({name for detail in details.values() for name in detail.get("bpb") or {}} - set(TOGETHER))


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
    sources = measured_sources(details)
    head = (*FIRST_COLUMNS, *sources, *LAST_COLUMNS)
    rows = [table_row(name, details[name], sources, bar) for name in MODELS]
    lines = [f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows)]
    lines += ["", f"{BELOW}: more bits per byte than `{BAR}`, so it has learned less than counting does."]
    if any(detail.get("bpb") and find_figure(detail, "bpb", "all", "low") is None for detail in details.values()):
        lines += ["", NO_INTERVAL]
    lines += ["", "Paired differences in bits per byte on the same replies, with the 95 % interval:", ""]
    for pair in SHOWN_PAIRS:
        if compared[pair]:
            found = compared[pair]["lines"]["bpb.all"]
            shown = f"{show_number(found['difference'], 3)}{show_bounds(found['low'], found['high'])}"
            lines.append(f"- `{pair}`: {shown}: {found['verdict']}")
    for name in MODELS:
        lines += ["", f"`{name}`: {details[name].get('name') or details[name]['reason']}."]
    return "\n".join(lines) + "\n"


def own_data_note(provenance: Mapping[str, Mapping[str, Any]], own: Collection[str]) -> str:
    """What stands below the table where sources hold the user's own data: which texts they are; "" where none does."""
    if not own:
        return ""
    texts = [
        f"`{name}` is {' and '.join(entry['location'] for entry in provenance[name]['served'])}" for name in sorted(own)
    ]
    return (
        f"\n{', '.join(texts)}. The columns quiz and truthful ask the project's own questions, in English: they say "
        "little of models that learned from other texts.\n"
    )


def put_into_page(page: str, table: str, start: str = START, end: str = END) -> str:
    """The page with the table between its marks, in place of what stood there.

    Raises ValueError for a page without the marks.
    """
    before, opening, rest = page.partition(start)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise ValueError(f"the page has no lines {start.strip()} and {end}: put both where the table is to stand")
    return f"{before}{start}{table}{end}{after}"
