"""The pipeline on the preset `smoke` again and again, each time elsewhere or otherwise: is what it leaves the same?

    python -m tests.reproduce --folder DIR                   # every variation that this machine allows
    python -m tests.reproduce --folder DIR path hash_seed    # some of them; what DIR has of others is shown too

A variation whose results stand in DIR is not run again, so an interrupted matrix goes on. Exit code 1 where one differs
from the run `plain` in what must not differ: on the same machine in a bit of anything but times and costs; on another
one in what comes from the data, in the files' entries, or in bits per byte by more than two deviations between seeds.
"""

import argparse
import contextlib
import hashlib
import json
import locale
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.agreement import NO_RESULTS, near_differences
from tests.clone import ROOT, Clone

SITE_PACKAGES = Path(yaml.__file__).parent.parent
EXPERIMENT = "reproduced"
FROM_DATA = ("data/clean", "data/raw", "data/summary.json", "data/tokens", "models/base")
NOBODY = 65534
TURKISH = "tr_TR.UTF-8"  # where the small letter of I is none of ASCII

Results = Mapping[str, Mapping[str, str]]  # digests and metrics, each by path


@dataclass(frozen=True)
class Variation:
    """What is otherwise than in the run `plain`."""

    name: str
    exact: bool = True  # whether the results have to be those of `plain` to the last bit
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "clone"
    temp: bool = False  # by `dvc exp run --temp`, in a copy of the repository
    python: Path | None = None  # another interpreter
    as_nobody: bool = False  # as another user, with the packages of this environment


def has_locale(name: str) -> bool:
    """Whether the system has a locale; a process that is given one that it has not runs as if in C."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True


def variations(python: Path | None, nobodys_python: Path | None) -> list[Variation]:
    """All of them; those of another interpreter and of another user where one is given that they can run."""
    found = [
        Variation("plain"),
        Variation("again"),
        Variation("path", folder="another folder/with ü and 复"),
        Variation("locale_c", environment={"LC_ALL": "C", "LANG": "C"}),
        Variation("locale_turkish", environment={"LC_ALL": TURKISH, "LANG": TURKISH}),
        Variation("time_zone", environment={"TZ": "Pacific/Kiritimati"}),
        Variation("hash_seed", environment={"PYTHONHASHSEED": "12345"}),
        Variation("data_workers", environment={"RAYON_NUM_THREADS": "1", "ARROW_IO_THREADS": "1"}),
        Variation("temp", temp=True),
        Variation("threads", False, {"OMP_NUM_THREADS": "2" if os.environ.get("OMP_NUM_THREADS") == "1" else "1"}),
        Variation("avx2", False, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
        Variation("sse4", False, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
        Variation("other_vendor", False, {"PYTHONPATH": str(ROOT / "tests/machines/other_vendor")}),
    ]
    if not has_locale(TURKISH):
        print(f"locale_turkish: not run, the system has no {TURKISH}")
        found = [one for one in found if one.name != "locale_turkish"]
    if python is not None:
        found.append(Variation("python", False, python=python))
    if nobodys_python is not None:
        found.append(Variation("user", python=nobodys_python, as_nobody=True))
    return found


def environment(variation: Variation, clone: Clone) -> dict[str, str]:
    """Variables of a run; the clone's own, but for its hostile ones."""
    values = {**clone.environment, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", **variation.environment}
    if variation.python is not None:
        names = clone.folder.parent / "bin"
        names.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (names / "python").symlink_to(variation.python)
        values["PATH"] = f"{names}{os.pathsep}{values['PATH']}"
    if variation.as_nobody:
        values |= {
            "PYTHONPATH": str(SITE_PACKAGES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "USER": "nobody",
            "LOGNAME": "nobody",
        }
    return values


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
        revision = git(clone, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{EXPERIMENT}").decode().strip()
    digests = outputs(read(clone, "dvc.lock", revision))
    shown = [path for path in digests if path.startswith("metrics/") and path.endswith((".json", ".csv", ".md"))]
    tracked = [path for path in shown if path != "metrics/judge_audit.csv"]
    return {"outputs": digests, "metrics": {path: read(clone, path, revision).decode() for path in tracked}}


def differences(variation: Variation, plain: Results, found: Results) -> list[str]:
    """A line for all that must not differ and does."""
    here, there = found["outputs"], plain["outputs"]
    names = [name for name in sorted(here.keys() | there.keys()) if variation.exact or name.startswith(FROM_DATA)]
    lines = [f"{name}: other bytes" for name in names if here.get(name) != there.get(name)]
    if variation.exact:
        return lines
    spreads = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["compare"]["seed_sd"]
    sides = [{path: text.encode() for path, text in side["metrics"].items()} for side in (found, plain)]
    return lines + near_differences(sides[0], sides[1], spreads)


def furthest(plain: Results, found: Results) -> float:
    """The largest difference in bits per byte of any model and source."""
    sides = [
        {
            (path, name): value
            for path, text in side["metrics"].items()
            if path.endswith(".json") and isinstance(figures := json.loads(text), dict) and "bpb" in figures
            for name, value in figures["bpb"].items()
        }
        for side in (plain, found)
    ]
    both = [abs(value - sides[1][key]) for key, value in sides[0].items() if value is not None and sides[1].get(key)]
    return max(both, default=0.0)


def digest(digests: Mapping[str, str]) -> str:
    """Twelve digits that stand for all of them."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()[:12]


def finish(variation: Variation, folder: Path) -> None:
    """Run a variation that has not run yet, and keep what it left; its clone goes."""
    kept = folder / f"{variation.name}.json"
    if kept.is_file():
        return
    (folder / variation.name).mkdir(parents=True, exist_ok=True)
    clone = run(variation, folder / variation.name)
    kept.write_text(json.dumps(results(variation, clone)), encoding="utf-8")
    shutil.rmtree(folder / variation.name)


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
    every = variations(args.python, args.nobodys_python)
    folder = args.folder.resolve()
    for variation in every:
        if not args.names or variation.name in (*args.names, "plain"):
            finish(variation, folder)
    raise SystemExit(not table(every, folder))


if __name__ == "__main__":
    main()
