"""Does the data path grow with the data? Clean and tokenize, 20,000 exchanges of 100 words and nine times as many.

With --full 1.8 million too, which takes about an hour and 6 GB of disk in the system's folder for temporary files. The
ratios are of the seconds of CPU an exchange; 1 is linear. Memory is anonymous memory of the process and its children,
looked at 20 times a second: pages of memory-mapped files, which the system may drop, do not count.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import yaml

from bench.corpus.generated import write_source
from bench.rounds import Run, Turn
from bench.table import Section, summarise
from llm.files import write_json

SIZES = (20_000, 180_000)
LARGEST = 1_800_000
SOURCE = "dialogue"
STAGES = {"clean": "stages.clean", "tokenize": "stages.tokenize_corpus"}
LOOK_S = 0.05


def prepare(folder: Path, n: int) -> None:
    """Make the folder a project with one source of `n` generated exchanges."""
    shutil.copytree("data/curated", folder / "data/curated")
    for name in ("params.yaml", "versions.yaml"):
        shutil.copy(name, folder)
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for source in params["download"]:
        (folder / "data/raw").mkdir(exist_ok=True)
        (folder / f"data/raw/{source}.jsonl").touch()
        write_json(folder / f"data/raw/{source}.provenance.json", {})
    write_source(folder, n, SOURCE)


def watch(module: str, folder: Path, n: int) -> Turn:
    """What running a stage in that folder costs. Raises RuntimeError with its last lines when it fails."""
    started, peak, cpu = time.perf_counter(), 0, 0.0
    command = [sys.executable, "-m", module]
    environment = {**psutil.Process().environ(), "PYTHONPATH": str(Path.cwd())}
    log = (folder / f"{module}.log").open("w+b")
    with log, subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as stage:
        process = psutil.Process(stage.pid)
        while stage.poll() is None:
            peak = max(peak, anonymous(process))
            cpu = max(cpu, used(process))
            time.sleep(LOOK_S)
        if stage.returncode:
            log.seek(0)
            raise RuntimeError(f"{module} failed: {log.read().decode(errors='replace')[-2000:]}")
    return Turn(cpu, n, 0, peak, round(time.perf_counter() - started, 1))


def anonymous(process: psutil.Process) -> int:
    """Bytes of the process and its children that stand in no file; 0 when it has ended."""
    try:
        return sum(one.rss - one.shared for one in (p.memory_info() for p in family(process)))
    except psutil.Error:
        return 0


def used(process: psutil.Process) -> float:
    """Seconds of CPU of the process and its children; 0 when it has ended."""
    try:
        times = process.cpu_times()
        return times.user + times.system + times.children_user + times.children_system
    except psutil.Error:
        return 0.0


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and its children."""
    return [process, *process.children(recursive=True)]


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """Both stages at every size, once: a round would take long, and what is asked is an order of growth."""
    sizes = (*SIZES, LARGEST) if full else SIZES
    runs = {stage: Run() for stage in STAGES}
    for n in sizes:
        with TemporaryDirectory() as name:
            prepare(Path(name), n)
            for stage, module in STAGES.items():
                runs[stage].turns[f"{n:,} exchanges"] = [watch(module, Path(name), n)]
    for stage, run in runs.items():
        names = list(run.turns)
        ratios = {f"{name} / {names[0]}": (name, names[0]) for name in names[1:]}
        facts = {
            f"{name}": f"{turn.note} s wall, {turn.seconds:.1f} s CPU, {turn.peak_bytes / 1e9:.2f} GB anonymous"
            for name, (turn,) in run.turns.items()
        }
        yield f"scale of {stage}", summarise(run, "s CPU an exchange", ratios, facts)
