"""Meet the pipeline with faults at random moments, one after the other, and count what comes of them.

    python -m tests.chaos --folder /tmp/chaos --faults 200     # again: goes on behind the last one
    python -m tests.chaos --folder /tmp/chaos --only 17        # repeats one
    python -m tests.chaos --folder /tmp/chaos --table          # what is known so far

Each fault follows from the seed and its number. Its result is a line of tests/chaos/results.jsonl, or of --results;
what a bad one left stays in bad/NUMBER of the folder. Ended by Ctrl-C or SIGTERM, the campaign clears away the fault in
progress. A small disk can be made only by root; the clock jumps only where Debian's package faketime is installed.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llm.sweeps.clone import git
from tests.chaos.faults import KINDS, Fault, draw_fault
from tests.chaos.judge import BAD, GOOD, SAID, judge
from tests.chaos.kinds import FINISHED, MEET
from tests.chaos.project import Base, copy_tree, forget, make_base, make_pair
from tests.chaos.running import processes_in, send
from tests.chaos.scene import Scene
from tests.clone import ROOT, Clone

SEED = 19
RESULTS = Path(__file__).with_name("results.jsonl")
PRODUCT = ("llm", "stages", "data", "presets", "dvc.yaml", "versions.yaml")


def product() -> str:
    """A digest of what is committed of the product: finished runs of another one are no measure."""
    return hashlib.sha256(git(ROOT, "rev-parse", *(f"HEAD:{name}" for name in PRODUCT)).encode()).hexdigest()[:12]


def prepare(fault: Fault, bases: Path, folder: Path) -> tuple[Clone, Base]:
    """A clone for the fault to meet, and the base whose results it shall have in the end."""
    base = make_base(bases / "done")
    if fault.kind == "one of two processes":
        base = make_pair(bases / "pair", base)
    if fault.stage is None:
        copy_tree(base.folder.with_name("fresh"), folder)
        return Clone.existing(folder), base
    clone = base.copy(folder)
    if fault.kind not in FINISHED:
        forget(clone, fault.stage)
    return clone, base


def meet(fault: Fault, folder: Path) -> dict[str, Any]:
    """Let a clone meet the fault, and say what came of it."""
    place = folder / "fault"
    shutil.rmtree(place, ignore_errors=True)
    started = time.monotonic()
    bases = folder / product()
    with ExitStack() as stack:
        stack.callback(lambda: send(processes_in(place), signal.SIGKILL))
        clone, base = prepare(fault, bases, place / "project")
        scene = Scene(fault, clone, base, bases, stack)
        trial = MEET[fault.kind](scene)
        outcome, findings = judge(scene, trial)
    row = asdict(fault) | {"how": trial.how, "outcome": outcome, "findings": findings}
    row["codes"] = [ended.code for ended in trial.ended]
    said = [line for ended in trial.ended for line in SAID.findall(ended.output)]
    row["said"] = [line.replace(str(folder), "FOLDER")[:200] for line in said]
    row |= {"seconds": round(time.monotonic() - started, 1), "commit": git(ROOT, "rev-parse", "--short", "HEAD")}
    if outcome in BAD:
        shutil.rmtree(folder / f"bad/{fault.number}", ignore_errors=True)
        (folder / "bad").mkdir(exist_ok=True)
        place.rename(folder / f"bad/{fault.number}")
    else:
        shutil.rmtree(place)
    return row


def read_results(path: Path) -> list[dict[str, Any]]:
    """The lines of the results file, the last of each number."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return list({row["number"]: row for row in map(json.loads, lines)}.values())


def table(rows: list[dict[str, Any]]) -> str:
    """Counts by kind and outcome, as Markdown."""
    counts = Counter((row["kind"], row["outcome"]) for row in rows)
    columns = [*GOOD, *(outcome for outcome in BAD if any(one == outcome for _, one in counts))]
    lines = [f"| fault | faults | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for kind in (kind for kind in KINDS if any(of == kind for of, _ in counts)):
        cells = [counts[kind, outcome] for outcome in columns]
        lines.append(f"| {kind} | {sum(cells)} | {' | '.join(map(str, cells))} |")
    totals = [sum(counts[kind, outcome] for kind in KINDS) for outcome in columns]
    return "\n".join([*lines, f"| all | {sum(totals)} | {' | '.join(map(str, totals))} |"])


def run(seed: int, numbers: list[int], folder: Path, results: Path) -> None:
    """Meet these faults, each kept in the results file as soon as it is known."""
    for number in numbers:
        row = meet(draw_fault(seed, number), folder)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        where = row["stage"] or "whole DAG"
        print(f"{number} {row['kind']}, {where}: {row['how']}: {row['outcome']} in {row['seconds']} s", flush=True)
        for finding in row["findings"]:
            print(f"    {finding}", flush=True)


def main() -> int:
    """Run the campaign, or print its table; 1 where there were findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where clones are, and what findings left")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of results, which grows")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--faults", type=int, default=0, help="how many there are to be in all")
    parser.add_argument("--only", type=int, nargs="+", default=[], help="numbers of faults to meet, again or first")
    parser.add_argument("--table", action="store_true", help="print the table of the results so far")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ |= {"DVC_SITE_CACHE_DIR": str(folder / "fault/dvc"), "OMP_NUM_THREADS": "1"}
    known = {row["number"] for row in read_results(arguments.results)}
    numbers = arguments.only or [number for number in range(arguments.faults) if number not in known]
    try:
        run(arguments.seed, numbers, folder, arguments.results)
    except KeyboardInterrupt:
        print("stopped: the same command goes on", file=sys.stderr)
        return 130
    rows = read_results(arguments.results)
    print(table(rows))
    return int(any(row["outcome"] in BAD for row in rows))


if __name__ == "__main__":
    sys.exit(main())
