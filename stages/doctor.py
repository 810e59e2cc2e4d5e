"""`python -m stages.doctor [PRESET]`: what a run would meet on this machine, in seconds, and what to do about it.

Nothing is written and nothing is fetched.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from stages import LOCK
from stages.dvc_state import cache_finding, file_lock_finding, lock_findings
from stages.estimate import FIXED_S, Params, stage_seconds
from stages.findings import Finding, counted, report_lines
from stages.needs import GB, TABLE_FROM, BaseShape, base_shape, choice_lines, disk_bytes, memory_needs
from stages.params import PARAMS, load, read_params
from stages.plan import LOOK, plan_lines, saved_state_notes, stages_to_run, why_no_estimate
from stages.preset import preset_params, render
from stages.reach import ask_all, looks, source_findings
from stages.speed import Speed, measure_speed

EXAMPLE = """\
examples:
  python -m stages.doctor               a run of params.yaml as it stands
  python -m stages.doctor coursework    a run of that preset; params.yaml stays as it is

The exit code is 1 where something prevents a run, else 0."""
USABLE = 0.8  # of the free memory: it is in pieces, and other programs grow too
BUSY = 0.3  # of a processor, from which other programs make a difference
SPARE_DISK = 1.2
CARDS_GIB = (8, 24)  # of common GPUs
ADVICE = {  # where memory is short
    "train_scratch": "close other programs, or lower train.micro_batch or model.n_embd",
    "finetune_mistral": "close other programs, or lower finetune.train.micro_batch or finetune.context_length",
    "evaluate": "close other programs, lower evaluate.batch_tokens, or take a smaller base.location",
}

CpuSeconds = Mapping[int, float]  # by process


def check_values(preset: str | None) -> list[Finding]:
    """What is wrong with params.yaml, or with the preset."""
    from stages.check_params import Params as AllParams
    from stages.check_params import check_layout

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = PARAMS
            if preset is not None:
                path = Path(folder) / PARAMS
                path.write_text(render(preset), encoding="utf-8")
            check_layout(read_params(path))
            load("", AllParams, path)
    except (OSError, ValueError) as error:
        return [Finding("problem", str(error), "`python -m stages.preset laptop` writes the committed file again")]
    return [Finding("ok", f"the preset {preset} is valid" if preset else f"{PARAMS} is valid")]


def cpu_seconds() -> dict[int, float]:
    """Processor time that each other program has had so far."""
    found = {}
    for process in psutil.process_iter(["cpu_times"]):
        if process.pid != os.getpid() and (times := process.info["cpu_times"]):
            found[process.pid] = times.user + times.system
    return found


def process_name(pid: int) -> str:
    """What a process is called; "gone" for one that has ended."""
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "gone"


def others(before: CpuSeconds, after: CpuSeconds, seconds: float, processors: int) -> Finding:
    """What other programs took of the processors meanwhile."""
    shares = {pid: (used - before[pid]) / seconds for pid, used in after.items() if pid in before}
    total, load = sum(shares.values()), f"load {os.getloadavg()[0]:.1f}"
    if total < BUSY:
        return Finding("ok", f"{counted(processors, 'processor')}, no other program is busy ({load})")
    busiest = sorted(shares, key=lambda pid: -shares[pid])[:3]
    named = ", ".join(f"{process_name(pid)} {shares[pid]:.1f} (pid {pid})" for pid in busiest)
    return Finding(
        "warning",
        f"other programs take {total:.1f} of {counted(processors, 'processor')} ({load}): {named}",
        "close them, or expect the times below: those beside them",
    )


def device_findings(params: Params) -> list[Finding]:
    """The device, its numbers and its threads."""
    import torch

    from llm.machine import cpu_line, name_of, pick_device, products_type, usable_processors

    try:
        device = pick_device(params["device"])
    except ValueError as error:
        return [Finding("problem", str(error), "set `device: auto` in params.yaml")]
    if device.type == "cuda":
        return [Finding("ok", f"cuda: {torch.cuda.get_device_name()}, products in {name_of(products_type(device))}")]
    name = f"{cpu_line('model name') or 'processor'}, {torch.backends.cpu.get_cpu_capability()}"
    threads, usable = torch.get_num_threads(), usable_processors()
    found = [
        Finding(
            "ok", f"{device.type}: {name}, products in {name_of(products_type(device))}, {counted(threads, 'thread')}"
        )
    ]
    if threads < usable:
        found.append(Finding("warning", f"{threads} of {usable} processors are used", "unset OMP_NUM_THREADS"))
    return found


def free_bytes(device: str) -> float | None:
    """Memory that is free for a model on the device, None where nobody tells."""
    import torch

    from llm.training.free_memory import free_memory

    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    return free_memory()


def memory_findings(params: Params, stages: Sequence[str]) -> list[Finding]:
    """Whether memory and disk suffice for the stages, and of a large base model every choice that fits."""
    from llm.machine import pick_device, products_type

    device, shape = pick_device(params["device"]), base_shape(params["base"]["location"])
    number, found = products_type(device).itemsize, list[Finding]()
    needs = memory_needs(params, shape, device.type, number)
    most = max((stage for stage in needs if stage in stages), key=lambda stage: needs[stage], default=None)
    large = shape is not None and shape.weights >= TABLE_FROM and params["finetune"]["enabled"]
    if (free := free_bytes(device.type)) and most:
        told = f"{in_gb(needs[most])} GB of memory are needed at the peak ({most})"
        advice = "take one of the choices below" if large and most == "finetune_mistral" else ADVICE[most]
        found.append(judge_space(needs[most], free, USABLE, told, advice))
    if shape is None:
        found.append(Finding("warning", f"how large {params['base']['location']} is, only a download tells"))
    if shape is not None and large:
        found += choice_findings(shape, params["finetune"]["lora_r"], device.type, number, free)
    disk, room = disk_bytes(params, shape), shutil.disk_usage(".").free
    told = f"{in_gb(disk)} GB of disk are needed by a first run"
    return [*found, judge_space(disk, room, 1 / SPARE_DISK, told, "make room: `dvc gc -w` drops results of other runs")]


def choice_findings(shape: BaseShape, rank: int, device: str, number: int, free: float | None) -> list[Finding]:
    """What fits of a large base model: here, and where there is no GPU here, on common ones."""
    found = [Finding("", f"fine-tuning {shape.weights / 1e9:.2f} billion weights, tokens x rows a pass (counted):")]
    if free:
        found += [Finding("", f"  here: {line}") for line in choice_lines(shape, rank, device, number, USABLE * free)]
    if device != "cuda":
        for gib in CARDS_GIB:
            lines = choice_lines(shape, rank, "cuda", 2, gib * 2**30)
            found += [Finding("", f"  on a GPU of {gib} GiB: {line}") for line in lines]
    return found


def in_gb(n_bytes: float) -> str:
    """in_gb(2.64e9) == '2.6'"""
    return f"{max(0.1, n_bytes / GB):.1f}"


def judge_space(needed: float, free: float, usable: float, told: str, remedy: str) -> Finding:
    """Whether what is needed fits into the usable share of what is free."""
    text = f"{told}, {in_gb(free)} are free"
    if needed > free:
        return Finding("problem", text, remedy)
    return Finding("warning", f"{text}: little room", remedy) if needed > usable * free else Finding("ok", text)


def time_findings(
    params: Params, stages: Sequence[str], speed: Speed | None, notes: Mapping[str, str]
) -> list[Finding]:
    """About how long each stage takes here."""
    if not stages:
        return [Finding("ok", "nothing to do: everything is up to date")]
    if speed is None:
        return [Finding("warning", f"to run: {', '.join(stages)}; {why_no_estimate(params)}")]
    times = {stage: stage_seconds(stage, params, speed.gflops) for stage in stages}
    return [Finding("", line.strip()) for line in plan_lines(times, notes)] + [Finding("ok", f"measured now: {speed}")]


def all_stages(params: Params) -> list[str]:
    """Every stage of the DAG, in its order."""
    downloads = [f"download@{source}" for source in params["download"]]
    return [name for stage in FIXED_S if stage != LOOK for name in (downloads if stage == "download" else [stage])]


def tool_names() -> tuple[str, ...]:
    """Modules of stages/ that no stage of the DAG runs."""
    run = set(re.findall(r"python -m stages\.(\w+)", (LOCK.parent / "dvc.yaml").read_text(encoding="utf-8")))
    return tuple(sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - run))


def package_findings(lock: Path = LOCK) -> list[Finding]:
    """Packages that are not of the version in requirements.lock."""
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    other = [f"{name} {found} instead of {wanted}" for name, wanted in pinned if (found := installed(name)) != wanted]
    if not other:
        return [Finding("ok", f"Python {sys.version.split()[0]}, all {len(pinned)} packages as in {lock.name}")]
    more = f" and {len(other) - 5} more" if len(other) > 5 else ""
    return [
        Finding("warning", f"other versions than in {lock.name}: {', '.join(other[:5])}{more}", "run `make install`")
    ]


def installed(package: str) -> str:
    """Version that is installed, without its build; "none" where it is not."""
    try:
        return version(package).partition("+")[0]  # 2.13.0+cpu is 2.13.0
    except PackageNotFoundError:
        return "none"


def stages_stale() -> list[str]:
    """Stages that `dvc repro` would run. Raises ValueError where DVC cannot tell."""
    from dvc.exceptions import DvcException

    try:
        return stages_to_run()
    except DvcException as error:
        raise ValueError(f"DVC cannot say what is to be done: {' '.join(str(error).split())}") from None


def dvc_findings(stale: list[str] | None) -> list[Finding]:
    """Locks, cache, and how much is to be done, where that is asked for."""
    from dvc.exceptions import DvcException

    try:
        found = [*lock_findings(tool_names()), file_lock_finding(), cache_finding()]
    except DvcException as error:
        return [Finding("problem", " ".join(str(error).split()), "run this in the project's folder")]
    if stale is not None:
        found.append(Finding("ok", f"{len(stale)} stages to run" if stale else "every stage is up to date"))
    return found


def examine(preset: str | None) -> dict[str, list[Finding]]:
    """All findings by group; what depends on parameters is left out where these are wrong."""
    from llm.machine import usable_processors

    before, started = cpu_seconds(), time.monotonic()
    groups = {"parameters": check_values(preset), "packages": package_findings()}
    if groups["parameters"][0].mark == "problem":
        return groups | {"dvc": dvc_findings(None)}
    params = preset_params(preset) if preset else read_params()
    with ThreadPoolExecutor(1) as asking:
        answers = asking.submit(ask_all, looks(params))
        machine = device_findings(params)
        if machine[0].mark == "problem":
            return groups | {"machine": machine}
        stale = None if preset else stages_stale()
        stages = all_stages(params) if stale is None else stale
        speed = None if why_no_estimate(params) else measure_speed()
        machine.append(others(before, cpu_seconds(), time.monotonic() - started, usable_processors()))
        times = time_findings(params, stages, speed, {} if preset else saved_state_notes())
        return groups | {
            "machine": machine,
            "memory and disk": memory_findings(params, stages),
            "sources": source_findings(params, stages, answers.result()),
            "dvc": dvc_findings(stale),
            "time": times,
        }


def main(words: Sequence[str] | None = None) -> int:
    """Print the findings; 1 where something prevents a run, else 0."""
    about = "What a run would meet on this machine, and what to do about it."
    parser = argparse.ArgumentParser(
        prog="python -m stages.doctor", description=about, epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("preset", nargs="?", metavar="PRESET", help="a preset of presets/; else params.yaml as it is")
    groups = examine(parser.parse_args(words).preset)
    print("\n".join(report_lines(groups)))
    return int(any(finding.mark == "problem" for found in groups.values() for finding in found))


if __name__ == "__main__":
    sys.exit(main())
