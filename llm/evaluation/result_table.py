"""What a run measured, as the Markdown table that people read: every model, its main figures and their intervals."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from llm.evaluation.figure_files import BAR, Details

MODELS = (
    *("mistral", "base", "scratch"),
    *("ngram5", "unigram", "compressor", "retrieval", "frequent", "untrained"),
)
BELOW = "▼"
SHOWN_PAIRS = ("scratch - ngram5", "mistral - base", "mistral - scratch")
TOGETHER = ("all", "macro")  # figures of all sources, beside those of each
NO_INTERVAL = "A figure without an interval rests on too few test dialogues: take it as a hint."
FIRST_COLUMNS, TEXT_COLUMNS = ("model", "bits per byte, all (95 % CI)"), ("BLEU", "chrF++")
SHARES = (("literacy", "literacy", "accuracy"), ("quiz", "choice", "mc1"))  # column, and place in a detail
MAX_COLUMNS, MAX_SOURCES = 8, 4  # besides the model's name; more are not read at a glance
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


def find_interval(detail: Mapping[str, Any], *path: str) -> tuple[float | None, float | None, float | None]:
    """The number at that place of a model's detail, and the ends of its interval."""
    value, low, high = (find_figure(detail, *path, key) for key in ("value", "low", "high"))
    return value, low, high


def show_interval(value: float | None, low: float | None, high: float | None, mark: str = "") -> str:
    """A number between marks, and its interval, where it has one; a dash where there is no number."""
    return "-" if value is None else f"{mark}{show_number(value, 3)}{mark}{show_bounds(low, high)}"


def show_bounds(low: float | None, high: float | None) -> str:
    """The interval behind its number.

    >>> show_bounds(0.5, 1.25), show_bounds(None, None)
    (' (0.500 to 1.250)', '')
    """
    return "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"


def measured_sources(details: Details) -> list[str]:
    """Names of the sources of which any model has bits per byte."""
    return sorted({name for detail in details.values() for name in detail.get("bpb") or {}} - set(TOGETHER))


def share_columns(details: Details) -> dict[str, tuple[str, str]]:
    """Head of each share that any model has, with its number of questions and chance, and its place in a detail."""
    columns = {}
    for name, section, measure in SHARES:
        for detail in details.values():
            if find_figure(detail, section, "all", measure, "value") is not None:
                n, chance = (find_figure(detail, section, "all", *path) for path in (("n",), ("chance", "value")))
                columns[f"{name}, n = {n}, chance {show_number(chance, 2)} (95 % CI)"] = section, measure
                break
    return columns


def table_row(
    name: str, detail: Mapping[str, Any], sources: Sequence[str], shares: Iterable[tuple[str, str]], bar: float | None
) -> tuple[str, ...]:
    """A model's line of the table, marked where it needs more bits than `bar`."""
    value, low, high = find_interval(detail, "bpb", "all")
    below = value is not None and bar is not None and value > bar
    return (
        f"`{name}` {BELOW}" if below else f"`{name}`",
        show_interval(value, low, high, "**"),
        *(show_number(find_figure(detail, "bpb", source, "value"), 3) for source in sources),
        show_number(find_figure(detail, "text", "bleu", "value"), 2),
        show_number(find_figure(detail, "text", "chrf", "value"), 1),
        *(show_interval(*find_interval(detail, section, "all", measure)) for section, measure in shares),
    )


def result_table(details: Details, compared: Mapping[str, Any]) -> str:
    """The table and the comparisons below it, as Markdown; `compared` is metrics/detail/compare.json."""
    bar = find_figure(details[BAR], "bpb", "all", "value")
    shares, every = share_columns(details), measured_sources(details)
    room = MAX_COLUMNS - 1 - len(TEXT_COLUMNS) - len(shares)
    sources, left_out = every[: min(room, MAX_SOURCES)], every[min(room, MAX_SOURCES) :]
    head = (*FIRST_COLUMNS, *sources, *TEXT_COLUMNS, *shares)
    rows = [table_row(name, details[name], sources, shares.values(), bar) for name in MODELS]
    lines = [f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows)]
    lines += ["", f"{BELOW}: more bits per byte than `{BAR}`, so it has learned less than counting does."]
    if any(detail.get("bpb") and find_figure(detail, "bpb", "all", "low") is None for detail in details.values()):
        lines += ["", NO_INTERVAL]
    if left_out:
        lines += ["", f"Bits per byte of {', '.join(left_out)}: in metrics/detail."]
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
        f"\n{', '.join(texts)}. The shares of the table ask the project's own questions, in English: they say "
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
