"""The pipeline on the preset `smoke` again and again, each time elsewhere or otherwise: is what it leaves the same?

    python -m tests.reproduce --folder DIR                   # every variation that this machine allows
    python -m tests.reproduce --folder DIR path hash_seed    # some of them; what DIR has of others is shown too

A variation whose results stand in DIR is not run again, so an interrupted matrix goes on. Exit code 1 where one differs
from the run `plain` in what must not differ: on the same machine in a bit of anything but times and costs; on another
one in what comes from the data, in the files' entries, or in bits per byte by more than two deviations between seeds.
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.agreement import NO_RESULTS, near_differences
from tests.clone import ROOT, Clone
from tests.variations import Variation, environment, has_effect, variations

EXPERIMENT = "reproduced"
FROM_DATA = ("data/clean", "data/raw", "data/summary.json", "data/tokens", "models/base")
NOBODY = 65534

Results = Mapping[str, Any]  # digests and metrics, each by path, and the state of the project that was run


def open_clone(folder: Path) -> Clone:
    """A new clone, or the one that is there already."""
    if (folder / "dvc.lock").is_file():
        clone = Clone.__new__(Clone)
        clone.folder = folder
        return clone
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Clone(folder)


def run(variation: Variation, folder: Path) -> Clone:
    """The clone after the variation's run in it, or the rest of one that was interrupted there."""
    clone = open_clone(folder / variation.folder)
    python = "python" if variation.python else sys.executable
    how = ["exp", "run", "--temp", "--name", EXPERIMENT] if variation.temp else ["repro"]
    values, user = environment(variation, clone), None
    if variation.as_nobody:
        user = NOBODY
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    with (folder / "run.log").open("a", encoding="utf-8") as log:
        subprocess.run(
            [python, "-m", "dvc", *how], cwd=clone.folder, env=values, user=user, group=user, check=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, extra_groups=None if user is None else [],
        )  # fmt: skip
    return clone


def git(clone: Clone, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=clone.folder, capture_output=True, check=True).stdout


def read(clone: Clone, path: str, revision: str | None) -> bytes:
    """A file that git tracks, of the clone or of an experiment in it."""
    return (clone.folder / path).read_bytes() if revision is None else git(clone, "show", f"{revision}:{path}")


def outputs(lock: bytes) -> dict[str, str]:
    """Digests of what the stages left, by path, as DVC took them."""
    stages = yaml.safe_load(lock)["stages"].values()
    found = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}
    return {path: digest for path, digest in sorted(found.items()) if path not in NO_RESULTS}


def results(variation: Variation, clone: Clone) -> Results:
    """What a run left: digests of all of it, and the metrics themselves."""
    revision = None
    if variation.temp:
        [revision] = (
            git(clone, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{EXPERIMENT}").decode().split()
        )
    digests = outputs(read(clone, "dvc.lock", revision))
    shown = [path for path in digests if path.startswith("metrics/") and path.endswith((".json", ".csv", ".md"))]
    tracked = [path for path in shown if path != "metrics/judge_audit.csv"]
    return {"outputs": digests, "metrics": {path: read(clone, path, revision).decode() for path in tracked}}


def differences(variation: Variation, plain: Results, found: Results) -> list[str]:
    """A line for all that must not differ and does."""
    here, there = found["outputs"], plain["outputs"]
    names = sorted(here.keys() | there.keys())
    lines = [f"{name}: only in one of both" for name in names if (name in here) != (name in there)]
    counted = [name for name in names if variation.exact or name.startswith(FROM_DATA)]
    lines += [f"{name}: other bytes" for name in counted if here.get(name) != there.get(name)]
    if found.get("made_of") != plain.get("made_of"):
        lines.append("made of another state of the project than `plain`")
    if not any(name.startswith(FROM_DATA) for name in there):
        lines.append("`plain` left nothing to compare with")
    metrics = [{path: text.encode() for path, text in side["metrics"].items()} for side in (found, plain)]
    if variation.exact:
        unlike = [path for path in sorted(metrics[0]) if metrics[0][path] != metrics[1].get(path)]
        return lines + [
            f"{path}: other bytes than its digest says" for path in unlike if here.get(path) == there.get(path)
        ]
    spreads = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["compare"]["seed_sd"]
    return lines + near_differences(metrics[0], metrics[1], spreads)


def furthest(plain: Results, found: Results) -> float:
    """The largest difference in bits per byte of any model and source; infinity where only one run has a figure."""
    sides = [
        {
            (path, name): value
            for path, text in side["metrics"].items()
            if path.endswith(".json") and isinstance(figures := json.loads(text), dict) and "bpb" in figures
            for name, value in figures["bpb"].items()
            if value is not None
        }
        for side in (plain, found)
    ]
    apart = [
        abs(sides[0].get(key, math.inf) - sides[1].get(key, math.nan)) for key in sides[0].keys() | sides[1].keys()
    ]
    return max((math.inf if math.isnan(one) else one for one in apart), default=0.0)


def digest(digests: Mapping[str, str]) -> str:
    """Twelve digits that stand for all of them."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()[:12]


def state_of_project() -> str:
    """Stands for the content of all that a clone begins with."""
    names = Clone.existing(ROOT).sources()
    return digest({name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in names})


def finish(variation: Variation, folder: Path, state: str) -> None:
    """Run a variation that has not run yet on this state of the project, and keep what it left; its clone goes."""
    kept, place = folder / f"{variation.name}.json", folder / variation.name
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")).get("made_of") == state:
        return
    mark = place / "state"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != state:  # an interrupted run on another one
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        mark.write_text(state, encoding="utf-8")
    clone = run(variation, place)
    kept.write_text(json.dumps({**results(variation, clone), "made_of": state}), encoding="utf-8")
    shutil.rmtree(place)


def table(every: Sequence[Variation], folder: Path) -> bool:
    """Print a row for every variation that has run; whether all are as they have to be."""
    plain, good = json.loads((folder / "plain.json").read_text(encoding="utf-8")), True
    print("| run | rule | outputs equal | digest of data | digest of all | bits per byte apart at most | result |")
    print("|---|---|---|---|---|---|---|")
    for variation in every:
        kept = folder / f"{variation.name}.json"
        if not kept.is_file():
            continue
        found = json.loads(kept.read_text(encoding="utf-8"))
        lines = differences(variation, plain, found)
        equal = sum(plain["outputs"].get(name) == md5 for name, md5 in found["outputs"].items())
        data = {name: md5 for name, md5 in found["outputs"].items() if name.startswith(FROM_DATA)}
        rule = "identical" if variation.exact else "two seeds"
        row = (variation.name, rule, f"{equal} of {len(plain['outputs'])}", digest(data), digest(found["outputs"]))
        print(
            f"| {row[0]}",
            *row[1:],
            f"{furthest(plain, found):.4f}",
            "differs" if lines else "as it has to be",
            sep=" | ",
            end=" |\n",
        )
        print(*(f"  {line}" for line in lines), sep="\n", end="\n" if lines else "")
        good = good and not lines
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where results are kept")
    parser.add_argument("--python", type=Path, help="another interpreter with the packages installed, for `python`")
    parser.add_argument("--nobodys-python", type=Path, help="one that the user nobody can start, for `user`; as root")
    parser.add_argument("names", nargs="*", metavar="VARIATION", help="all of them")
    args = parser.parse_args()
    every = [one for one in variations(args.python, args.nobodys_python) if has_effect(one)]
    if unknown := sorted(set(args.names) - {one.name for one in every}):
        parser.error(f"no such variation here, or none that changes anything: {', '.join(unknown)}")
    folder, state = args.folder.resolve(), state_of_project()
    for variation in every:
        if not args.names or variation.name in (*args.names, "plain"):
            finish(variation, folder, state)
    raise SystemExit(not table(every, folder))


if __name__ == "__main__":
    main()
