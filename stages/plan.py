"""`python -m stages.plan`: which stages `dvc repro` will run, and about how long each takes on this machine.

It is for the reader only: whatever fails here is said in one line, and nothing depends on it.
"""

import argparse
import hashlib
from collections.abc import Mapping
from typing import Any

from llm.failures import describe_error
from stages import look
from stages.estimate import COMPUTING, REFERENCE_GFLOPS, Params, stage_seconds
from stages.params import read_params
from stages.speed import measure_speed

LOOK = "look"  # always runs, in a moment: no news
CONSTANT = "check_params"  # writes the same bytes whenever it runs: what depends on it does not run for that
STATES = {"train_scratch": "scratch", "finetune_mistral": "mistral"}  # names of their saved states


def changes(stage: Any, restored: dict[str, Any]) -> bool:
    """Whether DVC will find the stage changed; the hashes of its inputs become those that they will have then."""
    from dvc_data.hashfile.meta import Meta

    changed = stage.changed_stage() or any(out.status() for out in stage.outs)
    for dep in stage.deps:
        if known := known_hash(dep.def_path, restored):
            changed |= dep.hash_info != known
            dep.hash_info, dep.meta = known, Meta()  # that of the lock holds the old hash too
        elif dep.status():
            changed = True
            dep.save()
    return changed


def known_hash(path: str, restored: dict[str, Any]) -> Any:
    """The hash that an input will have: of one of these outputs, or of a folder of them; None where it is neither."""
    from dvc_data.hashfile.tree import Tree

    inside = {name.removeprefix(f"{path}/"): hash for name, hash in restored.items() if name.startswith(f"{path}/")}
    if path in restored or not inside:
        return restored.get(path)
    tree = Tree()  # type: ignore[no-untyped-call]
    for name, hash in inside.items():
        tree.add(tuple(name.split("/")), None, hash)
    tree.digest()
    return tree.hash_info


def looked() -> dict[str, Any]:
    """The hashes of what stage look is going to write."""
    from dvc_data.hashfile.hash_info import HashInfo

    return {
        path.as_posix(): HashInfo("md5", hashlib.md5(content, usedforsecurity=False).hexdigest())
        for path, content in look.entries().items()
    }


def kept_outputs(repo: Any, stage: Any) -> dict[str, Any] | None:
    """The hashes of the outputs that DVC has kept for these inputs, by path; None where it has to run the stage."""
    from dvc.stage.cache import _can_hash

    entry = repo.stage_cache._load(stage) if _can_hash(stage) else None
    if entry is None:
        return None
    kept = repo.stage_cache._create_stage(entry, wdir=stage.wdir)
    return outputs(kept) if kept.outs_cached() else None


def outputs(stage: Any) -> dict[str, Any]:
    """The hashes of a stage's outputs by path, as DVC has them in its lock."""
    return {out.def_path: out.hash_info for out in stage.outs}


def stages_to_run() -> list[str]:
    """Names of the stages that `dvc repro` will run, in its order; those whose results DVC has kept are not run.

    `dvc repro --dry` stops at the first input that is not there yet, and says of no later stage that it will run.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import get_active_graph, plan_repro

    names = []
    restored: dict[str, Any] = {}  # hashes of outputs as they will be, by path
    unknown = set[Any]()  # stages whose outputs nobody knows yet
    with Repo() as repo:
        graph = get_active_graph(repo.index.graph)
        for stage in plan_repro(graph):
            if stage.addressing == LOOK:
                restored |= looked()
                continue
            try:
                new_inputs = any(before in unknown for before in graph.successors(stage))
                kept = None if new_inputs else kept_outputs(repo, stage) if changes(stage, restored) else outputs(stage)
            except (DvcException, OSError):  # an input is not there
                kept = None
            if kept is None:
                names.append(stage.addressing)
                kept = outputs(stage) if stage.addressing == CONSTANT else {}
                if not all(kept.values()) or not kept:
                    unknown.add(stage)
            restored |= kept
    return names


def duration(seconds: float) -> str:
    """The time in the largest unit of which there are two, two places of it.

    >>> [duration(s) for s in (0.2, 44, 369, 7000, 900_000)]
    ['1 s', '44 s', '6 min', '1.9 h', '10 days']
    """
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * length:
            amount = seconds / length
            return f"{amount:.1f} {unit}" if amount < 10 and unit != "min" else f"{amount:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def plan_lines(times: Mapping[str, float | None], notes: Mapping[str, str]) -> list[str]:
    """A line for each stage, and one for all together."""
    width = max(map(len, times)) + 2
    lines = []
    for stage, seconds in times.items():
        unknown = "as long as the download takes" if stage.startswith("download") else "nobody can say beforehand"
        lines.append(
            f"  {stage:{width}}{unknown if seconds is None else f'about {duration(seconds)}'}{notes.get(stage, '')}"
        )
    about = "at least" if None in times.values() else "about"
    total = duration(sum(seconds for seconds in times.values() if seconds is not None))
    return [*lines, f"  {'in all':{width}}{about} {total} on this machine as it is now"]


def why_no_estimate(params: Params) -> str | None:
    """Why nothing can be said of this machine: what was measured holds for one process on a processor."""
    from llm.machine import pick_device

    if (device := pick_device(params["device"]).type) != "cpu":
        return f"how long on {device} is not known"
    return "how long with several processes is not known" if params["launch"]["processes"] > 1 else None


def saved_state_notes() -> dict[str, str]:
    """A remark for each training stage of which a state is saved."""
    from llm.training.checkpoint import state_root

    found = {stage for stage, run in STATES.items() if any(state_root().glob(f"{run}-*"))}
    return dict.fromkeys(found, ", less where it goes on from its saved state")


def describe_plan() -> list[str]:
    """The plan, line by line."""
    stages, params = stages_to_run(), read_params()
    if not stages:
        return ["nothing to do: everything is up to date"]
    if not COMPUTING.keys() & set(stages):
        return ["to run:", *plan_lines({stage: stage_seconds(stage, params, REFERENCE_GFLOPS) for stage in stages}, {})]
    if why := why_no_estimate(params):
        return [f"to run: {', '.join(stages)}; {why}"]
    speed = measure_speed()
    lines = plan_lines({stage: stage_seconds(stage, params, speed.gflops) for stage in stages}, saved_state_notes())
    return ["to run:", *lines[:-1], f"{lines[-1]} ({speed})"]


def main() -> None:
    """Print the plan, or one line saying why there is none."""
    about = "Which stages `dvc repro` will run, and about how long each takes on this machine."
    parser = argparse.ArgumentParser(
        prog="python -m stages.plan", description=about, epilog="example: python -m stages.plan && dvc repro"
    )
    parser.parse_args()
    try:
        print("\n".join(describe_plan()), flush=True)
    except Exception as error:  # a word to the reader must not keep the pipeline from running
        print(f"what will run, and for how long, cannot be said beforehand: {describe_error(error)}", flush=True)


if __name__ == "__main__":
    main()
