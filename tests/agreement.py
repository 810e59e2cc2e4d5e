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
import lzma
import math
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
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
SUMMARY, ENGLISH = "metrics/summary.json", "english"
FIXED = re.compile(  # entries that data and parameters decide, no machine
    r"n\.(dialogues|pairs|premises|prompts|quiz|replies)|\w+\.chance|base|data\.(test_replies|train_tokens)|"
    r"parameters|trained_parameters|rows|dialogues\.\w+|drawn_tokens|supervised_tokens|pack_efficiency|step|tokens|epoch"
)
ENDS = 1.5  # more than bits per byte may perplexity differ, for it counts the replies' ends; measured: up to 1.15
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
    try:
        found, expected = dict(leaves(json.loads(here))), dict(leaves(json.loads(there)))
    except ValueError as error:
        return [f"{path}: {error}"]
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
            lines += near_figure_differences(path, here[path], there[path], seed_sd)
        elif path.endswith(".csv"):
            lines += table_differences(path, here[path], there[path])
        elif path.endswith(".tar.xz") and members(here[path]) != members(there[path]):
            lines.append(f"{path}: holds {members(here[path])}, it held {members(there[path])}")
        elif there[path].strip() and not here[path].strip():
            lines.append(f"{path}: empty")
    return lines


def near_figure_differences(path: str, here: bytes, there: bytes, seed_sd: SeedSd) -> list[str]:
    """A line for every entry of a JSON file in which two machines have to agree and these do not."""
    try:
        found, expected = read_figures(here), read_figures(there)
    except ValueError as error:
        return [f"{path}: {error}"]
    lines = schema_differences(path, found, expected) + bpb_differences(path, found, expected, seed_sd)
    values, was = dict(leaves(found)), dict(leaves(expected))
    names = [name for name in sorted(values.keys() & was.keys()) if FIXED.fullmatch(name)]
    return lines + [f"{path}: {name} is {values[name]}, was {was[name]}" for name in names if values[name] != was[name]]


def read_figures(content: bytes) -> Any:
    """What a JSON file holds. Raises ValueError, for NaN and infinity too, with which everything agrees."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number")

    return json.loads(content, parse_constant=refuse)


def schema_differences(path: str, here: Any, there: Any) -> list[str]:
    """A line for every entry that one side lacks, or whose kind is another; null may stand for a number."""
    found, expected = dict(schema(here)), dict(schema(there))
    lines = [f"{path}: {name} is there, it was not" for name in sorted(found.keys() - expected.keys())]
    lines += [f"{path}: {name} is not there" for name in sorted(expected.keys() - found.keys())]
    both = sorted(found.keys() & expected.keys())
    return lines + [f"{path}: {n} is {found[n]}, was {expected[n]}" for n in both if found[n] != expected[n]]


def schema(value: Any) -> Iterator[tuple[str, str]]:
    """Names of the entries with their kinds; each truth value is a kind of its own."""
    for name, leaf in leaves(value):
        number = leaf is None or (isinstance(leaf, int | float) and not isinstance(leaf, bool))
        yield name, "number" if number else str(leaf).lower() if isinstance(leaf, bool) else type(leaf).__name__


def bpb_differences(path: str, here: Any, there: Any, seed_sd: SeedSd) -> list[str]:
    """A line for each figure of bits per byte that is further off than SPREADS; of an unchanging one, than DIGIT."""
    found, lines = {name: value for name, _, _, value in bpb_figures(path, here)}, []
    for name, model, source, was in bpb_figures(path, there):
        value = found.get(name)
        if value is None or was is None:
            lines += [] if value is was else [f"{path}: {name} is {value}, was {was}"]
            continue
        if source == ENGLISH and model in seed_sd:  # no spread of it was measured
            continue
        spread = seed_sd.get(model, {}).get("bpb", {}).get(source)
        allowed = DIGIT if spread is None else SPREADS * spread
        gap = abs(value - was) if isinstance(value, int | float) else math.nan
        lines += ppl_differences(path, here, there, source, allowed / was) if name.startswith("bpb.") and was else []
        if not gap <= allowed:  # nor is NaN, of a file or of a spread
            lines.append(f"{path}: {name} is {value}, was {was}: {gap:.4f} apart, allowed {allowed:.4f}")
    return lines


def ppl_differences(path: str, here: Any, there: Any, source: str, allowed: float) -> list[str]:
    """A line where a perplexity's logarithm is off by more than ENDS such shares: it is those bits, by token."""
    found, was = (figures.get("ppl", {}).get(source) for figures in (here, there))
    if was is None:
        return [] if found is None else [f"{path}: ppl.{source} is {found}, was {was}"]
    apart = abs(math.log(found / was)) if isinstance(found, int | float) and found > 0 else math.inf
    return [] if apart <= ENDS * allowed * math.log(was) else [f"{path}: ppl.{source} is {found}, was {was}"]


def bpb_figures(path: str, figures: Any) -> Iterator[tuple[str, str, str, Any]]:
    """Bits per byte in a file: the entry's name, the model, the source and the figure."""
    if path == SUMMARY:
        for name, value in leaves(figures):
            if found := re.fullmatch(r"(\w+)\.bpb_?(\w*)", name):
                yield name, found[1], found[2] or "all", value
        return
    for name, value in leaves(figures):
        if found := re.fullmatch(rf"bpb\.(\w+)|({ENGLISH})\.bpb", name):
            yield name, Path(path).stem, found[1] or found[2], value


def table_differences(path: str, here: bytes, there: bytes) -> list[str]:
    """A line where a table has other columns, rows, names or steps, or cells of another kind."""
    found, expected = (list(csv.reader(io.StringIO(content.decode()))) for content in (here, there))
    if found[:1] != expected[:1] or len(found) != len(expected):
        return [f"{path}: other columns or another number of rows"]
    head = expected[0] if expected else []
    return [
        f"{path}: row {i} is {','.join(row)}, was {','.join(was)}"
        for i, (row, was) in enumerate(zip(found[1:], expected[1:], strict=True), 1)
        if entries(head, row) != entries(head, was)
    ]


def entries(head: Sequence[str], row: Sequence[str]) -> list[str]:
    """What of a table's row no machine changes: names, the step, and where numbers stand."""
    kept = [cell if name == "step" else cell_kind(cell) for name, cell in zip(head, row, strict=False)]
    return [*kept, str(len(row))]


def cell_kind(text: str) -> str:
    """Of a number, for which an empty cell may stand; a name, NaN and infinity stand for themselves."""
    try:
        return "number" if not text or math.isfinite(float(text)) else text
    except ValueError:
        return text


def members(content: bytes) -> list[str]:
    """Names in an archive, and which of them are empty; of a damaged one none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(content))) as archive:
            return [f"{one.name}{'' if one.size else ' (empty)'}" for one in archive.getmembers()]
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        return []


def git_files(revision: str) -> dict[str, bytes]:
    """The metrics of a commit, those that are no results too. SystemExit where it has none."""
    names = git("ls-tree", "-rz", "--name-only", revision, "--", "metrics").decode().split("\0")
    if names == [""]:
        raise SystemExit(f"{revision} holds no metrics here: run this in the project's folder")
    return {name: git("show", f"{revision}:{name}") for name in names if name}


def git(*arguments: str) -> bytes:
    """What git answers; SystemExit with its own line where it cannot."""
    done = subprocess.run(["git", *arguments], capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode().strip())
    return done.stdout


def tree_files() -> dict[str, bytes]:
    """The metrics in the working tree that git holds or would take."""
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "metrics").decode().split("\0")
    return {name: Path(name).read_bytes() for name in names if name and Path(name).is_file()}


def results(files: Files) -> dict[str, bytes]:
    """Those of the files that are results."""
    return {name: content for name, content in files.items() if name not in NO_RESULTS}


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
    committed, found = git_files(revision), tree_files()
    there, here, mine = results(committed), results(found), machine_kind()
    made_on, ran_on = (kinds_of(json.loads(files.get(COST, b"{}"))) for files in (committed, found))
    params = yaml.safe_load(git("show", f"{revision}:params.yaml"))  # a changed spread here allows nothing
    other = [
        f"  {name}: {mine[name]}, there {kind[name]}" for kind in made_on for name in KIND if kind[name] != mine[name]
    ]
    if made_on == ran_on:  # whatever the shell says in which they are compared
        other = []
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
