"""What a run measured, as the Markdown table that people read: every model, its main figures and their intervals."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.evaluation.figure_files import BAR, Details, show_number, show_text

MODELS = (
    *("mistral", "base", "scratch"),
    *("ngram5", "unigram", "compressor", "retrieval", "frequent", "untrained"),
)
BELOW = "▼"
SHOWN_PAIRS = ("scratch - ngram5", "mistral - base", "mistral - scratch")
TOGETHER = ("all", "macro")  # figures of all sources, beside those of each
MAX_COLUMNS = 8  # with the model's name; more are not read at a glance
FEW_GROUPS = 30  # an interval of fewer is too narrow: of 16 it covers the truth in 9 of 10 cases rather than 19 of 20
START, END = "<!-- results -->\n", "<!-- /results -->"  # marks in README.md, between which the table stands
ENGLISH = ("base", "mistral", "scratch")  # before the fine-tune, after it, and what never read much of it
FORGOTTEN = (
    "Bits per byte of plain English that nothing here was trained on, so that what is above `base` was forgotten"
)
ENDS = ("value", "low", "high")  # of a figure
BITS = "bits needed for each byte of the real replies, fewer are better; beside it those of each source"
TEXTS = (
    ("BLEU", "bleu", 2, "runs of one to four words in common with the real reply, 0 to 100, more is better"),
    ("chrF++", "chrf", 1, "runs of characters and words in common with the real reply, 0 to 100, more is better"),
)
SHARES = (
    ("literacy", "literacy", "accuracy", "share of pairs of statements on AI whose true one the model finds likelier"),
    ("quiz", "choice", "mc1", "share of questions on AI whose best answer of four the model finds likeliest"),
)


@dataclass(frozen=True)
class Column:
    """A figure of every model: where it stands in a detail, and what a reader has to know of it."""

    name: str
    path: tuple[str, ...]  # to value, low and high
    digits: int
    n: int | None  # items that it is measured on
    groups: int | None  # that these come from, which the interval draws; None where that is not kept
    chance: float | None
    about: str

    @property
    def head(self) -> str:
        """Name, number of items, and chance where there is one."""
        known = [f"n = {self.n:,}"] if self.n is not None else []
        known += [f"chance {show_number(self.chance, 2)}"] if self.chance is not None else []
        return f"{self.name} <sub>{', '.join(known)}</sub>" if known else self.name

    def cell(self, detail: Mapping[str, Any], mark: str = "") -> str:
        """The model's figure between marks, its interval small behind it; a dash where there is none."""
        value, low, high = (show_number(find_figure(detail, *self.path, key), self.digits) for key in ENDS)
        interval = "" if "-" in (low, high) else f" <sub>{low} to {high}</sub>"
        return value if value == "-" else f"{mark}{value}{mark}{interval}"


def find_figure(detail: Mapping[str, Any], *path: str) -> Any:
    """What stands at that place of a model's detail, None where there is nothing."""
    found: Any = detail
    for key in path:
        found = found.get(key) if found else None
    return found


def find_first(details: Details, *path: str) -> Any:
    """What stands at that place of the first detail that has something there: it is equal in all of these."""
    return next((found for one in details.values() if (found := find_figure(one, *path)) is not None), None)


def show_bounds(low: float | None, high: float | None) -> str:
    """The interval behind its number.

    >>> show_bounds(0.5, 1.25), show_bounds(None, None)
    (' (0.500 to 1.250)', '')
    """
    return "" if low is None or high is None else f" ({show_number(low, 3)} to {show_number(high, 3)})"


def measured_sources(details: Details) -> list[str]:
    """Names of the sources of which any model has bits per byte."""
    return sorted({name for detail in details.values() for name in detail.get("bpb") or {}} - set(TOGETHER))


def list_columns(details: Details) -> tuple[list[Column], list[str]]:
    """The columns behind the model's name, and the sources that have none for want of room."""
    shares = [share for share in SHARES if find_first(details, share[1], "all", share[2], "value") is not None]
    sources = measured_sources(details)
    room = MAX_COLUMNS - 2 - len(TEXTS) - len(shares)
    columns = []
    for source in ("all", *sources[:room]):
        n, groups = (find_first(details, "bpb", source, key) for key in ("n", "groups"))
        name = "bits per byte" if source == "all" else source
        columns.append(Column(name, ("bpb", source), 3, n, groups, None, "" if source in sources else BITS))
    n, groups = (find_first(details, "text", "lengths", key) for key in ("n", "groups"))
    columns += [Column(name, ("text", key), digits, n, groups, None, about) for name, key, digits, about in TEXTS]
    for name, section, measure, about in shares:
        n, chance = find_first(details, section, "all", "n"), find_first(details, section, "all", "chance", "value")
        columns.append(Column(name, (section, "all", measure), 3, n, None, chance, about))
    return columns, sources[room:]


def result_table(details: Details, compared: Mapping[str, Any]) -> str:
    """The table and what belongs below it, as Markdown; `compared` is metrics/detail/compare.json."""
    bar = find_figure(details[BAR], "bpb", "all", "value")
    columns, left_out = list_columns(details)
    lines = [f"| model | {' | '.join(column.head for column in columns)} |", f"|{' --- |' * (1 + len(columns))}"]
    rows = with_mixture(details)
    for name, detail in rows.items():
        value = find_figure(detail, "bpb", "all", "value")
        below = f" {BELOW}" if value is not None and bar is not None and value > bar else ""
        cells = [column.cell(detail, "**" if column is columns[0] else "") for column in columns]
        lines.append(f"| `{name}`{below} | {' | '.join(cells)} |")
    lines += ["", f"{BELOW}: more bits per byte than `{BAR}`, so it has learned less than counting does."]
    lines += ["", *explain_columns(columns, details)]
    if left_out:
        lines.append(f"- Of {', '.join(left_out)} the bits per byte stand in metrics/detail.")
    lines += ["", "Paired differences in bits per byte on the same replies, with the 95 % interval:", ""]
    for pair in SHOWN_PAIRS:
        if found := (compared[pair] or {"lines": {}})["lines"].get("bpb.all"):
            shown = f"{show_number(found['difference'], 3)}{show_bounds(found['low'], found['high'])}"
            lines.append(f"- `{pair}`: {shown}, n = {found['n']:,}: {found['verdict']}")
    lines += english_line(details)
    for name, detail in rows.items():
        lines += ["", f"`{name}`: {show_text(detail.get('name') or detail['reason'])}."]
    return "\n".join(lines) + "\n"


def with_mixture(details: Details) -> dict[str, Mapping[str, Any]]:
    """The details by row of the table: those of the models, and of scratch with the 5-gram where it was measured."""
    rows: dict[str, Mapping[str, Any]] = {}
    for name in MODELS:
        rows[name] = details[name]
        if mixed := details[name].get("mixed"):
            rows[" + ".join(mixed["models"])] = {**mixed, "name": describe_mixture(mixed)}
    return rows


def describe_mixture(mixed: Mapping[str, Any]) -> str:
    """What is mixed, in words: `each token's probability is 0.75 of that by scratch and ...`."""
    weighted = zip(mixed["weights"], mixed["models"], strict=True)
    parts = " and ".join(f"{show_number(weight, 2)} of that by {name}" for weight, name in weighted)
    replies = f"{mixed['fitted_on']:,} replies held out for validation"
    return f"each token's probability is {parts}, fitted on {replies}; it takes no training"


def english_line(details: Details) -> list[str]:
    """What the fine-tune costs of plain English, below an empty line; nothing where no model was asked."""
    n = find_first(details, "english", "bpb", "n")
    if n is None:
        return []
    found = {name: [find_figure(details[name], "english", "bpb", end) for end in ENDS] for name in ENGLISH}
    shown = ", ".join(
        f"`{name}` {show_number(value, 3)}{show_bounds(low, high)}"
        for name, (value, low, high) in found.items()
        if value is not None
    )
    return ["", f"{FORGOTTEN}, n = {n} paragraphs: {shown}."]


def explain_columns(columns: Sequence[Column], details: Details) -> list[str]:
    """A line on each kind of column: what it is, what it is measured on, what unrelated text gets."""
    lines = [
        "Small: n, the number of items, and the 95 % interval, for which whole groups of items are drawn anew.",
        "",
    ]
    for column in columns:
        if column.about:
            lines.append(f"- {column.name}: {column.about}{_unrelated(column, details)}.")
    few = [column for column in columns if column.groups is not None and column.groups < FEW_GROUPS]
    if few:
        names = ", ".join(f"{column.name} ({column.groups})" for column in few)
        lines.append(f"- Few groups make an interval too narrow, or there is none: take as a hint {names}.")
    return lines


def _unrelated(column: Column, details: Details) -> str:
    """What a model's replies get when they are held to the real replies to other prompts; "" where nobody looked."""
    found = {name: find_figure(details[name], *column.path, "unrelated") for name in MODELS}
    shown = [f"{name} {show_number(value, column.digits)}" for name, value in found.items() if value is not None]
    return f"; held to the real replies to other prompts: {', '.join(shown)}" if shown else ""


def own_data_note(provenance: Mapping[str, Mapping[str, Any]], own: Collection[str]) -> str:
    """What stands below the table where sources hold the user's own data: which texts they are; "" where none does."""
    if not own:
        return ""
    places = {name: [show_text(entry["location"]) for entry in provenance[name]["served"]] for name in sorted(own)}
    texts = [f"`{name}` is {' and '.join(found)}" for name, found in places.items()]
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
