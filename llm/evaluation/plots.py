"""Pictures of a run: loss curves, bits per byte, AI literacy, and how good the judge is.

Equal data give equal bytes. Every picture has a white ground of its own, so that it reads on a dark page too, and the
colours of Okabe & Ito (2008), which colour-blind people tell apart; shapes and places repeat what colours say.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from llm.evaluation.figure_files import BAR, OTHER_CHOICES, show_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, SKY, VERMILLION, GREY, BLACK = "#0072B2", "#56B4E9", "#D55E00", "#767676", "#222222"
COLOURS = {"mistral": BLUE, "base": SKY, "scratch": VERMILLION}  # the others are grey: they are what these are held to
FIRST = ("all",)  # stands before the parts
DIGITS = 3  # of a figure, as in the table of README
LAST = tuple(name for _, _, name in OTHER_CHOICES)  # stand after them
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tandem",  # names of clip paths; drawn at random otherwise
    "svg.fonttype": "path",  # the letters as outlines: the same wherever it is shown
    "text.parse_math": False,
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}

CsvRows = Sequence[Mapping[str, str]]  # of a csv file


def draw_losses(curves: Mapping[str, CsvRows]) -> bytes:
    """Training and validation loss of each named model over the tokens it has seen, as SVG."""
    with _style():
        figure = _figure(10, 3.8, "Loss while training: lower is better; only curves of one panel share a tokenizer")
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for axes, (name, rows) in zip(panels, curves.items(), strict=True):
            axes.set_title(name, loc="left")
            _draw_curve(axes, rows)
        return _svg(figure)


def _draw_curve(axes: "Axes", rows: CsvRows) -> None:
    if not rows:
        axes.text(0.5, 0.5, "not trained in this run", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    unit, scale = ("million", 1e6) if float(rows[-1]["tokens"]) >= 1e6 else ("thousand", 1e3)
    trained = [row for row in rows if row["train_loss"]]  # empty before the first step: nothing was trained on
    for name, part, colour, marker in (("training", trained, SKY, "s"), ("validation", rows, BLUE, "o")):
        x = [float(row["tokens"]) / scale for row in part]
        y = [float(row[{"training": "train_loss", "validation": "val_loss"}[name]]) for row in part]
        axes.plot(x, y, color=colour, marker=marker, markersize=4, label=name)
    last = rows[-1]
    axes.annotate(
        show_number(float(last["val_loss"]), 2), (float(last["tokens"]) / scale, float(last["val_loss"])),
        xytext=(6, 0), textcoords="offset points", va="center", color=BLUE,
    )  # fmt: skip
    axes.margins(x=0.1)
    axes.set_xlabel(f"tokens trained on ({unit})")
    axes.set_ylabel("loss (nats per token)")
    axes.legend()


def draw_bits_per_byte(rows: CsvRows) -> bytes:
    """Each model's bits per byte with its interval, a panel for all replies and each source, as SVG."""
    rows = [row for row in rows if row["source"] != "macro"]
    title = "Bits per byte of held-out replies with 95 % intervals: lower is better"
    line = f"{BAR}: right of it, less is learned than counting knows"
    with _style():
        return _svg(_dot_panels(rows, "source", "value", title, "bits per byte", 4, _bar_values(rows), line))


def _bar_values(rows: CsvRows) -> dict[str, float]:
    return {row["source"]: float(row["value"]) for row in rows if row["model"] == BAR}


def draw_choice(rows: CsvRows) -> bytes:
    """Each model's share of AI-literacy pairs told apart, a panel for all and each area, with blind choice, as SVG.

    The false premises, and the quiz and TruthfulQA where they were asked, have a panel each.
    """
    title = "AI literacy: share of pairs whose true statement is found likelier, with 95 % intervals"
    chance = {row["area"]: float(row["chance"]) for row in rows}
    with _style():
        return _svg(_dot_panels(rows, "area", "accuracy", title, "share of n", 3, chance, "blind choice"))


def _dot_panels(
    rows: CsvRows, part: str, value: str, title: str, label: str, n_columns: int, lines: Mapping[str, float], line: str
) -> "Figure":
    """A panel for each `part`: the models sorted by their value over all, each with its interval, and a line."""
    parts = sorted({row[part] for row in rows}, key=lambda name: (name not in FIRST, name in LAST, name))
    overall = {row["model"]: float(row[value]) for row in rows if row[part] in FIRST}
    models = sorted(overall, key=lambda model: overall[model], reverse=part == "source")
    n_lines = -(-len(parts) // n_columns)
    figure = _figure(10, 0.9 + n_lines * (1.0 + 0.3 * len(models)), title)
    panels = figure.subplots(n_lines, min(n_columns, len(parts)), sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(parts) :]:
        axes.set_axis_off()
    for axes, name in zip(panels.flat, parts, strict=False):
        axes.set_title(_panel_title(next(row for row in rows if row[part] == name), name), loc="left")
        if name in lines:
            axes.axvline(lines[name], color=BLACK, linestyle="--", linewidth=1, label=line, zorder=0)
        _draw_dots(axes, [row for row in rows if row[part] == name], models, value)
    for axes in panels[-1]:
        axes.set_xlabel(label)
    _legend_below(figure, panels.flat[0])
    return figure


def _panel_title(row: Mapping[str, str], name: str) -> str:
    """What a panel shows; below it of how many items, and what blind choice gives where there is a choice."""
    known = [f"n = {int(row['n']):,}"] if "n" in row else []
    known += [f"chance {show_number(float(row['chance']), 2)}"] if "chance" in row else []
    return "\n".join([name.replace("_", " ").replace(" ai ", " AI "), *([", ".join(known)] if known else [])])


def _draw_dots(axes: "Axes", rows: CsvRows, models: Sequence[str], value: str) -> None:
    for row in rows:
        x, y, colour = float(row[value]), models.index(row["model"]), COLOURS.get(row["model"], GREY)
        if row["low"] and row["high"]:
            axes.plot([float(row["low"]), float(row["high"])], [y, y], color=colour, linewidth=2)
        axes.plot([x], [y], color=colour, marker="o", markersize=6, linestyle="none")
        axes.annotate(
            show_number(x, DIGITS), (x, y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    axes.set_yticks(range(len(models)), models)
    axes.margins(x=0.08)
    axes.set_ylim(-0.6, len(models) - 0.2)
    axes.tick_params(axis="y", length=0)


def draw_judge(figures: Mapping[str, Any]) -> bytes:
    """The judge's reliability diagram and its ROC beside those of simpler detectors, as SVG; from data/judge."""
    with _style():
        figure = _figure(10, 4.6, "The hallucination judge on labelled answers to questions it was not trained on")
        left, right = figure.subplots(1, 2)
        _draw_reliability(left, figures)
        _draw_roc(right, figures)
        return _svg(figure)


def _draw_reliability(axes: "Axes", figures: Mapping[str, Any]) -> None:
    rows = figures["reliability"]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as predicted")
    x, y = [row["predicted"] for row in rows], [row["judged"] for row in rows]
    axes.plot(x, y, color=BLUE, marker="o", label="judge, by tenths")
    for row in rows:
        axes.annotate(
            f"{row['answers']:,}", (row["predicted"], row["judged"]), xytext=(7, -8), textcoords="offset points",
            fontsize=8, color=GREY,
        )  # fmt: skip
    error = figures["curated"]["calibration_error"]
    axes.set_title(f"Reliability (calibration error {show_number(error, DIGITS)}; small numbers: answers)", loc="left")
    _unit_square(axes, "predicted probability of being false", "share that is labelled false")
    axes.legend(loc="upper left")


def _draw_roc(axes: "Axes", figures: Mapping[str, Any]) -> None:
    found = figures["curated"]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="chance .500")
    shown = (("judge", BLUE, "-"), ("contrast", VERMILLION, "--"), ("length", BLACK, "-."), ("surface", GREY, "-"))
    for name, colour, dashes in shown:
        if name in figures["roc"]:
            area = found["auroc" if name == "judge" else f"auroc_{name}"]
            x, y = zip(*figures["roc"][name], strict=True)
            value, low, high = (show_number(area[end], DIGITS).lstrip("0") for end in ("value", "low", "high"))
            axes.plot(x, y, color=colour, linestyle=dashes, label=f"{name} {value} ({low} to {high})")
    n = sum(row["answers"] for row in figures["reliability"])
    axes.set_title(f"ROC, n = {n:,} answers: area with 95 % interval", loc="left")
    _unit_square(axes, "share of true answers called false", "share of false answers called false")
    axes.legend(loc="lower right")


def _unit_square(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_aspect("equal")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


@contextmanager
def _style() -> Iterator[None]:
    """matplotlib's own settings and ours: what a user has in a matplotlibrc changes no byte."""
    mpl = _import_matplotlib()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def _import_matplotlib() -> ModuleType:
    """matplotlib, whatever the variable MPLBACKEND says: its import fails where that names a window it does not know.

    A notebook sets it for its own kernel, and every command that is started there inherits it.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return mpl


def _figure(width: float, height: float, title: str) -> "Figure":
    """An empty picture, in inches, without matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _legend_below(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left")


def _svg(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
