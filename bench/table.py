"""What the rounds amount to: medians, ratios within rounds, and how both are shown."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench.rounds import Run
from llm.evaluation.result_table import put_into_page
from llm.files import write_bytes, write_json

RESULTS, README, SPEED = Path("bench/results.json"), Path("README.md"), Path("docs/speed.md")
START, END = "<!-- speed -->\n", "<!-- /speed -->"
IDLE_LOAD = 0.5  # cores; above it something else runs
HEADLINES = (  # README's rows: against what people run, as it comes, and against a plain loop with our settings
    ("step SMALL, dropout 0.1, attention dropout 0", "transformers.Trainer / ours"),
    ("step SMALL, dropout 0.1, attention dropout 0", "plain loop (nanoGPT) + allocator, fused AdamW, products / ours"),
    ("step FULL, dropout 0.1, attention dropout 0, Trainer", "transformers.Trainer / ours"),
    (
        "step FULL, dropout 0, attention dropout 0, plain loop",
        "plain loop (nanoGPT) + allocator, fused AdamW, products / ours",
    ),
    ("LoRA fine-tune", "transformers.Trainer + peft / ours"),
    ("generation SMALL, batch 1", "transformers generate() / ours"),
    ("generation FULL, batch 32", "transformers generate() / ours"),
    ("scoring replies", "one reply at a time / ours"),
    ("packing", "padded / packed"),
    ("tokenising", "datasets.map / ours"),
)

Section = dict[str, Any]  # one comparison, as it stands in the file
Pair = tuple[str, str]  # slower, faster: the ratio is how many times as much the first one costs


def spread(values: Sequence[float]) -> dict[str, float]:
    """Smallest, middle and largest.

    >>> spread([2.0, 1.0, 4.0])
    {'min': 1.0, 'median': 2.0, 'max': 4.0}
    """
    return {"min": min(values), "median": median(values), "max": max(values)}


def ratio(run: Run, pair: Pair) -> dict[str, float]:
    """How many times as much the first contender costs as the second, round by round."""
    slower, faster = (run.turns[name] for name in pair)
    return spread([a.cost / b.cost for a, b in zip(slower, faster, strict=True)])


def summarise(run: Run, unit: str, ratios: Mapping[str, Pair], facts: Mapping[str, Any]) -> Section:
    """The comparison as it stands in the file; a unit that ends in "/s" is the more the better."""
    contenders = {}
    for name, turns in run.turns.items():
        values = [1 / turn.cost if unit.endswith("/s") else turn.cost for turn in turns]
        contenders[name] = {
            "values": values,
            **spread(values),
            "page_faults": median(turn.faults for turn in turns),
            "peak_gb": max(turn.peak_bytes for turn in turns) / 1e9,
        }
    found = {label: {**ratio(run, pair), "pair": list(pair)} for label, pair in ratios.items()}
    return {"unit": unit, "contenders": contenders, "ratios": found, "facts": dict(facts)}


def processor() -> str:
    """The processor's name where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def describe_machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was before."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_before": busy_cores(),
    }


def busy_cores() -> float:
    """Cores at work for anybody, over a second; the load average where the system does not tell.

    The load average would still hold what the comparison before this one left behind.
    """
    before = _core_seconds()
    if before is None:
        return os.getloadavg()[0]
    time.sleep(1.0)
    now = _core_seconds() or before
    idle, passed = now[0] - before[0], now[1] - before[1]
    return (os.cpu_count() or 1) * (1 - idle / max(1, passed))


def _core_seconds() -> tuple[int, int] | None:
    """Ticks that all cores have been idle, and in all; None where /proc does not tell (proc_stat(5))."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    ticks = [int(field) for field in path.read_text(encoding="utf-8").split("\n")[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def is_busy(machine: Mapping[str, Any]) -> bool:
    """Whether something else ran, so that the figures mean little."""
    return machine["load_before"] > IDLE_LOAD


def rounded(value: Any) -> Any:
    """The value with every number at 5 significant digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def add_section(path: Path, title: str, section: Section) -> None:
    """Write this comparison into the file, which keeps the others."""
    sections = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, {**sections, title: section})


def number(value: float) -> str:
    """Three digits of a number.

    >>> [number(x) for x in (12345.0, 123.4, 1.234, 0.01234)]
    ['12,345', '123', '1.23', '0.0123']
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:#.3g}"


def show(title: str, section: Section) -> str:
    """The comparison for a terminal: every contender, then the ratios."""
    lines = [f"\n{title} ({section['unit']})"]
    for name, found in section["contenders"].items():
        values = " - ".join(number(found[key]) for key in ("min", "median", "max"))
        lines.append(f"  {name:42} {values:28} {found['peak_gb']:6.2f} GB {found['page_faults']:>11,.0f} page faults")
    for label, found in section["ratios"].items():
        lines.append(f"  {label:42} " + " - ".join(f"{found[key]:.2f}" for key in ("min", "median", "max")))
    lines += [f"  {name}: {value}" for name, value in section["facts"].items()]
    if is_busy(section["machine"]):
        lines.append(f"  the load was {section['machine']['load_before']:.1f} before: the machine was not idle")
    return "\n".join(lines)


def render(path: Path = RESULTS, wanted: Sequence[Pair] | None = None) -> str:
    """The ratios as a Markdown table, and what they were taken on.

    `wanted` names rows by title and ratio, in their order; those that were not measured are left out. None: all rows.
    Raises FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `make bench` first")
    sections = json.loads(path.read_text(encoding="utf-8"))
    rows = {(title, label): section for title, section in sections.items() for label in section["ratios"]}
    lines = ["| what | ratio | min | median | max | rounds | peak GB |", "| --- " * 7 + "|"]
    lines += [row(*name, rows[name]) for name in (rows if wanted is None else wanted) if name in rows]
    machines = {
        f"{m['processor']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}"
        for m in (section["machine"] for section in sections.values())
    }
    return "\n".join([*lines, "", f"Measured on: {'; '.join(sorted(machines))}."]) + "\n"


def row(title: str, label: str, section: Section) -> str:
    """One ratio of a comparison as a line of the table."""
    found = section["ratios"][label]
    busy = " (machine not idle)" if is_busy(section["machine"]) else ""
    rounds = max(len(contender["values"]) for contender in section["contenders"].values())
    values = (f"{found['min']:.2f}", f"**{found['median']:.2f}**", f"{found['max']:.2f}")
    memory = " / ".join(f"{section['contenders'][name]['peak_gb']:.2f}" for name in found["pair"])
    return f"| {' | '.join((title + busy, label, *values, str(rounds), memory))} |"


def write_tables(readme: Path = README, speed: Path = SPEED, results: Path = RESULTS) -> None:
    """Write the HEADLINES into README and all rows into docs/speed.md."""
    write_between_marks(readme, render(results, HEADLINES))
    write_between_marks(speed, render(results))


def write_between_marks(page: Path, table: str) -> None:
    """Put the table between the page's marks; ValueError when there are none."""
    try:
        text = put_into_page(page.read_text(encoding="utf-8"), table, START, END)
    except ValueError as error:
        raise ValueError(f"{page}: {error}") from None
    write_bytes(page, text.encode())
