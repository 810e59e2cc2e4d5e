"""What a run cost: minutes and memory of its stages, tokens a second, operations, and an estimate of its energy."""

from collections.abc import Mapping
from typing import Any

from llm.app.markdown import join_words, markdown_table
from llm.app.report_run import TRAININGS, Values
from llm.evaluation.figure_files import show_number

# Assumed, for nothing here measures power: a laptop under full load; the board power of an RTX 3090 Ti, with which the
# preset `coursework` reckons.
WATTS = {"cpu": 45, "gpu": 450}
JOULES_A_KWH = 3.6e6
KETTLE_KWH = 0.093  # heats a litre of water by 80 K: 4.19 kJ a kg and K
GIB, GIGA = 2**30, 1e9


def cost_figures(stages: Mapping[str, Values | None], trainings: Mapping[str, Values], flop: Values) -> dict[str, Any]:
    """The content of metrics/cost.json: `stages` holds what each stage took, None where it was not measured.

    `flop` holds the operations of each training stage that ran.
    """
    measured = {name: line for name, line in stages.items() if line}
    joules = sum(line["seconds"] * watts_of(line) for line in measured.values())
    return {
        "stages": dict(stages),
        "seconds": round(sum(line["seconds"] for line in measured.values()), 1),
        "peak_bytes": max((line["peak_bytes"] or 0 for line in measured.values()), default=None),
        "energy": {"kwh": round(joules / JOULES_A_KWH, 5), "assumed_watts": WATTS},
        "trainings": {
            name: _training_figures(measured.get(name), trainings[model], flop[name])
            for model, name in TRAININGS.items()
            if name in flop
        },
    }


def watts_of(line: Values) -> int:
    """Power that a stage's machine is assumed to draw."""
    return WATTS["gpu" if line["gpu"] else "cpu"]


def _training_figures(line: Values | None, training: Values, flop: float) -> dict[str, Any]:
    rate = None if line is None else round(training["tokens"] / line["seconds"], 1)
    return {"tokens": training["tokens"], "tokens_per_s": rate, "flop": flop}


def cost_markdown(cost: Values | None) -> str:
    """The section of the report."""
    if cost is None or not any(cost["stages"].values()):
        return "Nothing was measured here: the stages came out of DVC's cache."
    longest_first = sorted(cost["stages"].items(), key=lambda one: -one[1]["seconds"] if one[1] else 0.0)
    rows = [_row(name, line) for name, line in longest_first]
    table = markdown_table(("stage", "minutes", "peak memory, GiB", "machine"), rows)
    lines = [_in_all(cost), "", table, "", *_training_lines(cost), _energy_line(cost), "", REMARKS]
    return "\n".join(lines)


REMARKS = """\
The figures are those of the run that made these very files; a stage whose result came out of a cache keeps its line.
They depend on the machine and on what else ran there, so no comparison uses them and `dvc metrics diff` has none of
them. `check_params`, `look`, `plots` and `report` take seconds and are not counted. Memory is that of the largest
process; of a run that was interrupted and went on it is not known."""


def _row(name: str, line: Values | None) -> tuple[str, ...]:
    if line is None:
        return f"`{name}`", "not measured here", "-", "-"
    machine = line["gpu"] or line["processor"]
    peak = "not known" if line["peak_bytes"] is None else show_number(line["peak_bytes"] / GIB, 2)
    return f"`{name}`", show_number(line["seconds"] / 60, 1), peak, machine


def _in_all(cost: Values) -> str:
    missing = [name for name, line in cost["stages"].items() if line is None]
    beside = f", without {join_words([f'`{name}`' for name in missing])}" if missing else ""
    peak = show_number(cost["peak_bytes"] / GIB, 1)
    return f"In all {show_number(cost['seconds'] / 60, 1)} minutes{beside}, with {peak} GiB of memory at the peak."


def _training_lines(cost: Values) -> list[str]:
    lines = []
    for name, found in cost["trainings"].items():
        rate = found["tokens_per_s"]
        speed = "" if rate is None else f", {rate:,.0f} of them a second with all that the stage does besides"
        lines.append(f"- `{name}` learned from {found['tokens']:,} tokens{speed}. {_flop_text(name, found['flop'])}")
    return [*lines, ""] if lines else []


def _flop_text(name: str, flop: float) -> str:
    shown = f"{flop:.1e}".replace("e+", " × 10^")
    if name == TRAININGS["mistral"]:
        return f"It took about {shown} operations: 4 a token read and frozen weight, which needs no gradient itself."
    return (
        f"It took about {shown} operations: 6 a token and weight, a multiplication and an addition forward, twice back."
    )


def _energy_line(cost: Values) -> str:
    kwh, watts = cost["energy"]["kwh"], cost["energy"]["assumed_watts"]
    kettles = show_number(kwh / KETTLE_KWH, 1)
    return (
        f"Energy, estimated: {show_number(kwh, 3)} kWh, as much as brings {kettles} litres of water to the boil. That "
        f"assumes {watts['cpu']} W while a stage computes on a processor, {watts['gpu']} W on a GPU: nobody measured "
        "it."
    )
