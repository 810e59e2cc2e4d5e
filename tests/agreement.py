"""Whether a run's metrics are those that git holds: to the last bit on the same kind of machine, else within two seeds.

    python -m tests.agreement HEAD      # of the working tree against that commit; exit code 1 where they are not

On another processor, with other threads or another Python sums are rounded in another order, and training makes more of
it. So there what comes from the data has to be the same, files have to hold the same entries, and bits per byte may
differ by two standard deviations between training seeds (compare.seed_sd). Texts, and what is counted in them, may too.
"""

import argparse
import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from llm.models.kernel_choice import tune_cpu
from stages.logs import environment, processor_name

COST = "metrics/cost.json"
NO_RESULTS = (COST, "metrics/report.html", "metrics/report_against.html", "metrics/seed_sd.jsonl")
FROM_DATA = ("metrics/data.json", "metrics/data_card.md")  # the same everywhere
KIND = ("processor", "system", "python", "capability", "threads", "kernels")  # of a machine
TRAININGS = ("train_scratch", "finetune_mistral", "evaluate")  # stages whose rounding a machine decides
SPREADS = 2  # standard deviations between seeds, by which bits per byte may differ on another machine
DIGIT = 1.5e-4  # of a figure that no seed changes: one in the last place of a file, and what is left of floats

Files = Mapping[str, bytes]
SeedSd = Mapping[str, Mapping[str, Mapping[str, float]]]


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of what a JSON file holds; an empty section is a value."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from leaves(value[key], f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value:
        for i, entry in enumerate(value):
            yield from leaves(entry, f"{name}[{i}]")
    else:
        yield name, value


def exact_differences(here: Files, there: Files) -> list[str]:
    """A line for every file that is missing and every figure that is not the same to the last digit."""
    lines = missing(here, there)
    for path in sorted(here.keys() & there.keys()):
        if here[path] != there[path]:
            lines += figure_differences(path, here[path], there[path]) or [f"{path}: other bytes"]
    return lines


def missing(here: Files, there: Files) -> list[str]:
    """A line for every file that one side lacks."""
    lines = [f"{path}: only here" for path in sorted(here.keys() - there.keys())]
    return lines + [f"{path}: missing here" for path in sorted(there.keys() - here.keys())]


def figure_differences(path: str, here: bytes, there: bytes) -> list[str]:
    """A line for every figure of a JSON file that differs; none for a file of another kind."""
    if not path.endswith(".json"):
        return []
    found, expected = dict(leaves(json.loads(here))), dict(leaves(json.loads(there)))
    return [
        f"{path}: {name} is {found.get(name, 'missing')}, was {expected.get(name, 'missing')}"
        for name in sorted(found.keys() | expected.keys())
        if name not in found or name not in expected or found[name] != expected[name]
    ]


def near_differences(here: Files, there: Files, seed_sd: SeedSd) -> list[str]:
    """A line for everything in which even two machines have to agree and these files do not."""
    lines = missing(here, there)
    for path in sorted(here.keys() & there.keys()):
        if path in FROM_DATA and here[path] != there[path]:
            lines += figure_differences(path, here[path], there[path]) or [f"{path}: other bytes"]
        elif path.endswith(".json"):
            found, expected = json.loads(here[path]), json.loads(there[path])
            lines += schema_differences(path, found, expected)
            lines += bpb_differences(path, found, expected, seed_sd.get(Path(path).stem, {}).get("bpb", {}))
        elif path.endswith(".csv") and columns(here[path]) != columns(there[path]):
            lines.append(f"{path}: other columns or another number of rows")
    return lines


def schema_differences(path: str, here: Any, there: Any) -> list[str]:
    """A line for every entry that one side lacks, or whose kind is another; null may stand for a number."""
    found, expected = dict(schema(here)), dict(schema(there))
    lines = [f"{path}: {name} is there, it was not" for name in sorted(found.keys() - expected.keys())]
    lines += [f"{path}: {name} is not there" for name in sorted(expected.keys() - found.keys())]
    both = sorted(found.keys() & expected.keys())
    return lines + [f"{path}: {n} is {found[n]}, was {expected[n]}" for n in both if found[n] != expected[n]]


def schema(value: Any) -> Iterator[tuple[str, str]]:
    """Names of the entries with their kinds; of a list those of its entries together."""
    for name, leaf in leaves(value):
        kind = "number" if leaf is None or isinstance(leaf, int | float) else type(leaf).__name__
        yield re.sub(r"\[\d+\]", "[]", name), kind


def bpb_differences(path: str, here: Any, there: Any, spreads: Mapping[str, float]) -> list[str]:
    """A line for each figure of bits per byte that is further off than SPREADS; of an unchanging one, than DIGIT."""
    if not isinstance(here, dict) or not isinstance(there.get("bpb"), dict):
        return []
    lines = []
    for name, was in sorted(there["bpb"].items()):
        found = here.get("bpb", {}).get(name)
        if found is None or was is None:
            lines += [] if found is was else [f"{path}: bpb.{name} is {found}, was {was}"]
            continue
        allowed = SPREADS * spreads[name] if name in spreads else DIGIT
        if abs(found - was) > allowed:
            lines.append(
                f"{path}: bpb.{name} is {found}, was {was}: {abs(found - was):.4f} apart, allowed {allowed:.4f}"
            )
    return lines


def columns(content: bytes) -> tuple[list[str], int]:
    """Names of a table's columns and its number of rows."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    return rows[0], len(rows)


def git_files(revision: str) -> dict[str, bytes]:
    """The metrics of a commit, those that are no results too."""
    names = git("ls-tree", "-r", "--name-only", revision, "--", "metrics").decode().split("\n")
    return {name: git("show", f"{revision}:{name}") for name in names if name}


def git(*arguments: str) -> bytes:
    """What git answers; SystemExit with its own line where it cannot."""
    done = subprocess.run(["git", *arguments], capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode().strip())
    return done.stdout


def tree_files(like: Files) -> dict[str, bytes]:
    """The same metrics in the working tree, as far as they are there."""
    return {name: Path(name).read_bytes() for name in like if Path(name).is_file()}


def machine_kind() -> dict[str, object]:
    """What decides the last digits on this machine."""
    tune_cpu()
    found = {"processor": processor_name(), **environment()}
    return {name: found[name] for name in KIND}


def kinds_of(costs: Mapping[str, Any]) -> list[dict[str, object]]:
    """The same of the machines that trained and evaluated a committed run; none where its costs do not tell."""
    lines = [costs.get("stages", {}).get(stage) for stage in TRAININGS]
    told = [{**line, **line["environment"]} for line in lines if line and "environment" in line]
    return [{name: line[name] for name in KIND} for line in told]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("revision", help="for instance HEAD")
    revision = parser.parse_args().revision
    committed = git_files(revision)
    there = {name: content for name, content in committed.items() if name not in NO_RESULTS}
    here, mine = tree_files(there), machine_kind()
    made_on = kinds_of(json.loads(committed.get(COST, b"{}")))
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    other = [
        f"  {name}: {mine[name]}, there {kind[name]}" for kind in made_on for name in KIND if kind[name] != mine[name]
    ]
    if made_on and not other:
        print(f"{len(there)} files of {revision}, made on this kind of machine: held to the last bit")
        lines = exact_differences(here, there)
    else:
        print(f"{len(there)} files of {revision}, held to two seeds: ", end="")
        print(
            *["made on another kind of machine", *dict.fromkeys(other)] if other else ["it does not say on what"],
            sep="\n",
        )
        lines = near_differences(here, there, params["compare"]["seed_sd"])
    print(*lines or ["they agree"], sep="\n")
    raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()
