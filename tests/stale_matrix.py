"""Every parameter, version, module and local file changed in a throw-away clone: what DVC then finds stale.

    python -m tests.stale_matrix                     # everything, five minutes; prints what was not foretold
    python -m tests.stale_matrix versions data       # some kinds of changes

What is foretold comes from the imports, from the `load` calls and the paths of the stages' modules, not from dvc.yaml.
The clone's outputs are stand-ins that `dvc commit` takes for a finished run: nothing is trained.
"""

import argparse
import contextlib
import copy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from dvc.repo import Repo
from dvc.utils.serialize import _yaml

from llm.files import write_bytes
from stages.look import followed
from tests.clone import Clone
from tests.staleness import holds, stale_by_code
from tests.test_shape import (
    NO_OUTPUT,
    PACKAGES,
    ROOT,
    STAGES,
    import_closure,
    leaf_keys,
    loads,
    module_of,
    path_constants,
    paths,
    related,
    source_of,
    texts,
    versions_of,
)  # fmt: skip

GIVEN = "../given"  # what parameters name on this machine, seen from the clone
LOCAL = {  # parameters that name it, and which file or folder
    "download.dialogue.cornell.location": "cornell.zip",
    "download.eli5.eli5.location": "eli5.parquet",
    "download.technical.stackexchange.location": "stackexchange",
    "base.location": "base",
    "clean.truth_data": "TruthfulQA.csv",
    "judge.data": "finetune_truth.jsonl",
    "judge.questions": "questions.csv",
}
PROVIDERS = {"dialogue": "cornell+chitchat", "eli5": "eli5+curated", "technical": "stackexchange+docs+curated"}
WHOLE = "params.yaml"  # read as a whole by who names it among its paths


@dataclass(frozen=True)
class Change:
    """One change of one file of the clone, and the stages that it makes stale."""

    kind: str
    name: str
    path: str  # below the clone
    edit: Callable[[bytes], bytes]
    foretold: frozenset[str]


def other(value: object) -> object:
    """Another value of a parameter; nothing runs with it."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, list):
        return [*value, "x"]
    return f"{value}x" if isinstance(value, str) else value + 1  # type: ignore[operator]


def with_other(content: bytes, key: str) -> bytes:
    """A YAML file with another value for a dotted key."""
    values = yaml.safe_load(content)
    section, name = place_of(values, key)
    section[name] = other(section[name])
    return yaml.safe_dump(values).encode()


def place_of(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The section that holds a dotted key, and its name in there."""
    *sections, name = key.split(".")
    for section in sections:
        values = values[section]
    return values, name


def longer(content: bytes) -> bytes:
    """A file with a line more; what it says does not matter to DVC."""
    return content + b"\n"


def set_of(key: str) -> Callable[[bytes], bytes]:
    """What writes another value for a dotted key."""
    return lambda content: with_other(content, key)


@cache
def loaded(stage: str) -> list[str]:
    """Dotted names that the module of a stage loads; what its f-string fills in is what the command ends with."""
    _, _, _, *arguments = STAGES[stage]["cmd"].split()
    return [name.replace("*", *arguments) if "*" in name else name for name, _ in loads(module_of(STAGES[stage]))]


def readers(key: str) -> frozenset[str]:
    """Stages that read a parameter: they load it or a section around it, or read the whole file."""
    shapes = key.partition(".")[0] not in NO_OUTPUT
    return frozenset(s for s in STAGES if reads_whole(s) or (shapes and any(holds(name, key) for name in loaded(s))))


@cache
def reads_whole(stage: str) -> bool:
    """Whether a stage reads all parameters."""
    return "" in loaded(stage) or WHOLE in path_constants(module_of(STAGES[stage]))


def parameter_changes(params: Path) -> Iterator[Change]:
    """Every key of params.yaml."""
    for key in leaf_keys(yaml.safe_load(params.read_text(encoding="utf-8"))):
        yield Change("parameters", key, "params.yaml", set_of(key), readers(key))


def version_changes(_: Path) -> Iterator[Change]:
    """Every version of versions.yaml: stale is who imports the package, reads it as data, or shows all of the file."""
    used = {name: versions_of(module_of(stage)) for name, stage in STAGES.items() if name != "check_params"}
    showing = {name for name, stage in STAGES.items() if "versions.yaml" in texts_of_imports(module_of(stage))}
    for package in yaml.safe_load((ROOT / "versions.yaml").read_text(encoding="utf-8")):
        users = showing.union(name for name, packages in used.items() if package in packages)
        yield Change("versions", package, "versions.yaml", set_of(package), frozenset(users))


def code_changes(_: Path) -> Iterator[Change]:
    """Every file of llm/ and stages/: stale is who imports from its room, or it where it is in none."""
    foretold = stale_by_code()
    closures = {name: import_closure(module_of(stage)) for name, stage in STAGES.items()}
    for path in tracked(*PACKAGES):
        place = next((place for place in foretold if related(place, path)), None)
        if place is not None:
            users = foretold[place]
        else:
            users = [name for name, closure in closures.items() if path in closure]
        yield Change("code", path, path, longer, frozenset(users))


def data_changes(params: Path) -> Iterator[Change]:
    """Every file of data/ and presets/ that git tracks: stale is who reads it, and whose parameters name it."""
    named = followed(yaml.safe_load(params.read_text(encoding="utf-8")))
    for path in tracked("data", "presets"):
        users = {name for name, stage in STAGES.items() if reads(module_of(stage), path)}
        users |= {name.replace(".", "@") for name, locations in named.items() if path in locations}
        yield Change("data", path, path, longer, frozenset(users))


def reads(module: str, path: str) -> bool:
    """Whether a stage's module names a file, or a folder around it and the name, or the stem, for an f-string."""
    constants = path_constants(module)
    return path in constants or (
        any(related(path, constant) for constant in constants)
        and (Path(path).name in texts_of_imports(module) or Path(path).stem in texts(source_of(module)))
    )


@cache
def texts_of_imports(module: str) -> frozenset[str]:
    """Every string in the code that runs with a module."""
    return frozenset(text for path in import_closure(module) if path.endswith(".py") for text in texts(Path(path)))


def given_changes(params: Path) -> Iterator[Change]:
    """Every file that a parameter names on this machine, and every file of a folder so named."""
    named = followed(yaml.safe_load(params.read_text(encoding="utf-8")))
    for key, name in LOCAL.items():
        location = f"{GIVEN}/{name}"
        users = frozenset(stage.replace(".", "@") for stage, locations in named.items() if location in locations)
        for path in files_of(location):
            yield Change("given", f"{key}: {path.removeprefix(GIVEN)}", path, longer, users)


def files_of(location: str) -> list[str]:
    """The files of what a parameter names; a name with a suffix is one file."""
    return [location] if Path(location).suffix else [f"{location}/config.json", f"{location}/part/weights.bin"]


def tracked(*folders: str) -> list[str]:
    """Files of the folders that are no one's output."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    return subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


def make_clone(folder: Path) -> Clone:
    """A clone whose parameters name local files, and whose outputs, all stand-ins, DVC takes for those of a run."""
    clone = Clone(folder, "laptop")
    for location in (path for name in LOCAL.values() for path in files_of(f"{GIVEN}/{name}")):
        write_bytes(folder / location, location.encode())
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for key, local in LOCAL.items():
        section, name = place_of(params, key)
        section[name] = f"{GIVEN}/{local}"
    for source, providers in PROVIDERS.items():
        params["download"][source]["providers"] = [providers]
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    clone.run(sys.executable, "-m", "stages.look")
    make_outputs(folder)
    clone.dvc("commit", "--force")
    return clone


def make_outputs(folder: Path) -> None:
    """Something at every path of dvc.yaml where nothing is: files first, then folders that are still missing."""
    named = {path for stage in STAGES.values() for path in paths(stage, "deps", "outs", "metrics", "plots")}
    files = {path for path in named if Path(path).suffix} | {"data/params_checked"}
    for path in [*sorted(files), *sorted(named - files)]:
        if not (folder / path).exists():
            write_bytes(folder / path / ("" if path in files else "content"), path.encode())


@contextlib.contextmanager
def yaml_parsed_once() -> Iterator[None]:
    """Let DVC parse a text that it has parsed before from memory: two thirds of what a look at the stages takes."""
    parse = cache(_yaml.parse_yaml)
    with mock.patch.object(_yaml, "parse_yaml", lambda *text: copy.deepcopy(parse(*text))):
        yield


def stale(folder: Path) -> frozenset[str]:
    """Stages that DVC would run because something they depend on differs; but for look, which always runs."""
    with contextlib.chdir(folder), Repo(str(folder)) as repo:
        status = repo.status()
    return frozenset(n for n, found in status.items() if n != "look" and found)


def stale_after(clone: Clone, change: Change) -> frozenset[str]:
    """Stages that are stale while the clone has the change; then it is as before."""
    before = (clone.folder / change.path).read_bytes()
    write_and_look(clone, change, change.edit(before))
    found = stale(clone.folder)
    write_and_look(clone, change, before)
    return found


def write_and_look(clone: Clone, change: Change, content: bytes) -> None:
    """Write a change's file; where its content is what counts, the stage look sees it first."""
    (clone.folder / change.path).write_bytes(content)
    if change.kind in ("data", "given"):
        clone.run(sys.executable, "-m", "stages.look")


KINDS = {
    "parameters": parameter_changes,
    "versions": version_changes,
    "code": code_changes,
    "data": data_changes,
    "given": given_changes,
}


def one_of_each(every: Iterable[Change]) -> list[Change]:
    """Of the changes of a kind that make the same stages stale, the first."""
    found: dict[tuple[str, frozenset[str]], Change] = {}
    for change in every:
        found.setdefault((change.kind, change.foretold), change)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=f"{', '.join(KINDS)} (all)")
    parser.add_argument("--part", default="0/1", help="every Nth change from the Kth on: K/N, to run it in parts")
    args = parser.parse_args()
    first, step = map(int, args.part.split("/"))
    with tempfile.TemporaryDirectory() as folder, yaml_parsed_once():
        (Path(folder) / "clone").mkdir()
        clone = make_clone(Path(folder) / "clone")
        assert stale(clone.folder) == set(), "the clone is no finished run"
        wrong, tried = [], dict.fromkeys(KINDS, 0)
        every = [change for kind in args.kinds or KINDS for change in KINDS[kind](clone.folder / "params.yaml")]
        for change in every[first::step]:
            tried[change.kind] += 1
            if (found := stale_after(clone, change)) != change.foretold - {"look"}:
                wrong.append((change, found))
                missing, more = sorted(change.foretold - found - {"look"}), sorted(found - change.foretold)
                print(f"{change.kind} {change.name}: not stale {missing}, stale though not foretold {more}", flush=True)
        assert stale(clone.folder) == set(), "a change was not taken back"
    for kind in KINDS:
        print(f"{kind:12} {tried[kind]:4} changes {sum(change.kind == kind for change, _ in wrong):4} mismatches")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
