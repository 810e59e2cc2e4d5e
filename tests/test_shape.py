"""The shape of the project: dvc.yaml, params.yaml and the modules say the same.

`python tests/test_shape.py evaluate` prints what dvc.yaml has to name as deps of that stage's code: of the library the
rooms that it imports from, and the files beside them; of the stages its own file and those below the stages.
"""

import ast
import dataclasses
import importlib
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("llm", "stages")
CHECKED = "data/params_checked"  # written by the stage check_params
FOLLOWED = "data/followed"  # written by the stage look


def parse(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def has_code(path):
    """Whether a package's __init__.py holds more than a docstring."""
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in parse(path).body)


def module_files(name):
    """Files run when `name` is imported: its own and the __init__.py files with code above it."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return []
    packages = [Path(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    files = [path for path in packages if (ROOT / path).is_file() and has_code(path)]
    module = Path(*parts).with_suffix(".py")
    return [*files, module] if (ROOT / module).is_file() else files


def imported(path):
    """Dotted names a module may import, `from a import b` as both a and a.b."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def texts(path):
    """Every string a module holds."""
    return [node.value for node in ast.walk(parse(path)) if isinstance(node, ast.Constant) and type(node.value) is str]


def sibling_files(path):
    """Files beside a module that it names, a word list for instance."""
    names = [text for text in texts(path) if "/" not in text and "." in text and len(text) < 80]
    return {(path.parent / name).as_posix() for name in names if (ROOT / path.parent / name).is_file()}


def import_closure(module):
    """Files of this repository whose code runs in `python -m module`, sorted."""
    waiting, seen = module_files(module), set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [file for name in imported(path) for file in module_files(name)]
    return sorted({path.as_posix() for path in seen}.union(*map(sibling_files, seen)))


def room(path):
    """What dvc.yaml names for a file: its folder where that is a room of the library, else the file itself."""
    parts = Path(path).parts
    return "/".join(parts[:2]) if parts[0] == "llm" and len(parts) > 2 else path


def code_deps(module):
    """What dvc.yaml names for the code that runs in `python -m module`."""
    return sorted(set(map(room, import_closure(module))))


def stages_of_dag():
    """Every stage of dvc.yaml by name, the `foreach` stage once for each source of params.yaml."""
    sources = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["download"]
    stages = {}
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        if "foreach" not in stage:
            stages[name] = stage
            continue
        assert stage["foreach"] == "${download}"
        for key in sources:
            stages[f"{name}@{key}"] = yaml.safe_load(yaml.safe_dump(stage["do"]).replace("${key}", key))
    return stages


def own_params(stage):
    """Dotted names of params.yaml that a stage lists."""
    return [param for param in stage.get("params", []) if isinstance(param, str)]


def versions_of(module):
    """Packages of the lock that compute something in `python -m module`, sorted."""
    distributions = packages_distributions()
    names = {
        name.partition(".")[0]
        for path in import_closure(module)
        if path.endswith(".py")
        for name in imported(Path(path))
    }
    found = {canonical(name) for package in names for name in distributions.get(package, [])} & set(lock())
    return sorted((found | READ_AS_DATA.get(module, set())) - INFRASTRUCTURE)


def canonical(name):
    """A distribution's name as requirements.lock writes it.  canonical("chitchat_dataset") == "chitchat-dataset\""""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock():
    """Pinned versions by name."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def versions_page():
    """What versions.yaml holds."""
    names = sorted({name for stage in STAGES.values() for name in versions_of(module_of(stage))})
    return VERSIONS_HEAD + "".join(f"{name}: {lock()[name]}\n" for name in names)


def module_of(stage):
    return re.fullmatch(r"python -m (stages\.\w+)( \w+)?", stage["cmd"])[1]


def paths(stage, *kinds):
    """Paths a stage lists under the kinds, with or without settings."""
    return {entry if isinstance(entry, str) else next(iter(entry)) for kind in kinds for entry in stage.get(kind, [])}


def source_of(module):
    return Path(*module.split(".")).with_suffix(".py")


def loads(module):
    """Dotted names (with `*` for what an f-string fills in) and classes of a module's load calls."""
    for node in ast.walk(parse(source_of(module))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load":
            name, cls = node.args[:2]
            parts = name.values if isinstance(name, ast.JoinedStr) else [name]
            yield "".join(p.value if isinstance(p, ast.Constant) else "*" for p in parts), ast.unparse(cls)


def path_constants(module):
    """Paths that a module names as constants: its inputs and outputs."""
    calls = [node for node in ast.walk(parse(source_of(module))) if isinstance(node, ast.Call)]
    literals = [c.args[0] for c in calls if ast.unparse(c.func) == "Path" and isinstance(c.args[0], ast.Constant)]
    return {literal.value for literal in literals}


def related(one, other):
    """Whether two paths are equal or one is a folder that holds the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


STAGES = stages_of_dag()
each_stage = pytest.mark.parametrize("name", STAGES)
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
INFRASTRUCTURE = {  # computes nothing
    *(
        "dvc",
        "dvc-data",
        "dvc-objects",
        "filelock",
        "httpx2",
        "huggingface-hub",
        "psutil",
        "pydantic",
        "pydantic-core",
        "pyyaml",
        "requests",
        "ruamel-yaml",
    ),
    *("safetensors", "tqdm"),
}
READ_AS_DATA = {  # not imported
    "stages.download": {"chitchat-dataset", "scikit-learn", "torch"},
    "stages.report": {"chitchat-dataset", "lxml", "scikit-learn"},  # it shows every version
}
VERSIONS_HEAD = """\
# Of the packages that compute: another version makes the stages that use it stale. From requirements.lock by
# `python tests/test_shape.py versions > versions.yaml`.
"""
NO_OUTPUT = {"http"}  # sections that shape no output: they make no stage stale
HEAVY = {"datasets", "transformers", "peft", "sklearn", "sacrebleu", "matplotlib"}  # 0.4 to 6 s each

BESIDE_THE_TRAJECTORY = (  # files, processes, limits; and what a state's key holds the results of
    *(
        "__init__",
        "dialogue",
        "files",
        "failures",
        "machine",
        "ranges",
        "hub/info",
        "hub/smollm2",
        "models/registry",
        "models/shape",
    ),
    *("tokens/token_files", "tokens/tokenizer", "tokens/words", "training/checkpoint", "training/free_memory"),
    *("training/history", "training/launch", "training/training_files", "training/shards", "training/shared_folder"),
    "training/signals",
)


@each_stage
def test_a_stage_depends_on_the_rooms_it_imports_from_and_on_no_others(name):
    code = {path for path in paths(STAGES[name], "deps") if path.split("/")[0] in PACKAGES}
    assert sorted(code) == code_deps(module_of(STAGES[name]))


def test_what_python_writes_beside_the_code_makes_no_stage_stale():
    assert "__pycache__" in (ROOT / ".dvcignore").read_text(encoding="utf-8").split()


def test_dvc_yaml_is_read_in_one_sitting():
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("name", ["train_scratch", "finetune_mistral"])
def test_code_of_a_training_stage_is_part_of_its_states_key_or_known_to_compute_nothing_of_it(name):
    module = importlib.import_module(f"stages.{name}")
    shaping = {source_of(part).as_posix() for part in module.TRAJECTORY}
    code = {path for path in import_closure(module.__name__) if path.startswith("llm/")}
    assert shaping <= code
    assert code - shaping <= {f"llm/{part}.py" for part in BESIDE_THE_TRAJECTORY}


@each_stage
def test_a_stage_depends_on_the_checked_params(name):
    assert (CHECKED in paths(STAGES[name], "deps")) == (name != "check_params")


def test_a_stage_that_reads_local_files_depends_on_what_look_writes_of_them_and_on_nothing_else_of_it():
    from stages.look import followed

    found = {
        name: {path for path in paths(stage, "deps") if path.startswith(FOLLOWED)} for name, stage in STAGES.items()
    }
    names = followed(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    expected = {name.replace(".", "@"): {f"{FOLLOWED}/{name}"} for name in names}
    assert {name: entries for name, entries in found.items() if entries} == expected


@each_stage
def test_a_stage_depends_on_the_versions_of_the_packages_that_compute_in_it(name):
    if name != "check_params":  # its output is constant
        listed = [param for param in STAGES[name].get("params", []) if not isinstance(param, str)]
        versions = versions_of(module_of(STAGES[name]))
        assert listed == ([{"versions.yaml": versions}] if versions else [])


def test_the_versions_are_those_of_the_lock():
    assert (ROOT / "versions.yaml").read_text(encoding="utf-8") == versions_page()


@each_stage
def test_a_stage_names_exactly_the_params_it_loads(name):
    if name == "check_params":
        assert STAGES[name]["params"] == [{"params.yaml": None}]
        return
    module = module_of(STAGES[name])
    named = {other: own_params(stage) for other, stage in STAGES.items() if module_of(stage) == module}
    assert len(set(map(len, named.values()))) == 1
    patterns = {re.escape(loaded).replace(r"\*", r"\w+") for loaded, _ in loads(module) if loaded not in NO_OUTPUT}
    params = {param for params in named.values() for param in params}
    assert {pattern for pattern in patterns if not any(re.fullmatch(pattern, param) for param in params)} == set()
    assert {param for param in params if not any(re.fullmatch(pattern, param) for pattern in patterns)} == set()


def test_another_training_seed_keeps_the_split_and_the_tokenizer():
    """Runs of several seeds are compared on the same test items."""
    assert [name for name, stage in STAGES.items() if "seed" in own_params(stage)] == [
        *("train_scratch", "finetune_mistral", "evaluate"),
    ]


@each_stage
def test_the_paths_of_a_stage_are_the_constants_of_its_module(name):
    stage, module = STAGES[name], module_of(STAGES[name])
    files = paths(stage, "deps", "outs", "metrics", "plots") - {CHECKED if name != "check_params" else ""}
    files = {path for path in files if path.split("/")[0] not in PACKAGES}
    files -= {path for path in files if path.startswith(f"{FOLLOWED}/")}  # no stage reads what look writes for DVC
    constants = path_constants(module)
    named = {path for path in constants if path != "logs" and not any(path.startswith(f"{c}/") for c in constants)}
    named -= {"data/raw"} if name == "look" else set()  # it only takes away there what is no output any more
    assert {path for path in files if not any(related(path, constant) for constant in named)} == set()
    assert {constant for constant in named if not any(related(path, constant) for path in files)} == set()


@each_stage
def test_the_modules_that_a_stage_names_are_among_those_it_imports(name):
    """The code hashed into the key of a training state, for one."""
    named = [text for text in texts(source_of(module_of(STAGES[name]))) if re.fullmatch(r"llm(\.\w+)+", text)]
    closure = import_closure(module_of(STAGES[name]))
    assert [text for text in named if source_of(text).as_posix() not in closure] == []


def test_the_summary_is_the_only_metrics_file_of_dvc():
    assert [paths(stage, "metrics") for stage in STAGES.values() if "metrics" in stage] == [{"metrics/summary.json"}]


def test_only_report_and_podcast_leave_files_for_git_that_keep_dvc_from_caching_its_results():
    """Of a stage with an uncached out that is neither metric nor plot, DVC's run cache keeps nothing."""
    uncached = {name for name, stage in STAGES.items() if any(isinstance(out, dict) for out in stage.get("outs", []))}
    assert uncached == {"report", "podcast"}


@each_stage
def test_git_ignores_the_outs_that_dvc_caches_and_no_others(name):
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in STAGES[name].get(kind, [])]
    for entry in entries:
        path, cached = (entry, True) if isinstance(entry, str) else (next(iter(entry)), False)
        ignored = subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0
        assert ignored == cached, path


def leaf_keys(values, section=""):
    for key, value in values.items():
        yield from leaf_keys(value, f"{section}{key}.") if isinstance(value, dict) else [f"{section}{key}"]


def test_every_parameter_is_used_by_a_stage():
    used = {param for name, stage in STAGES.items() if name != "check_params" for param in own_params(stage)}
    keys = leaf_keys(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    assert [key for key in keys if not any(f"{key}.".startswith(f"{param}.") for param in used | NO_OUTPUT)] == []


def test_every_parameter_has_a_comment_where_its_name_first_occurs():
    """Beside it, or in the line above. The names below compare.seed_sd are figures, not parameters."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    keys = [key for key in leaf_keys(yaml.safe_load(text)) if not key.startswith("compare.seed_sd.")]
    leaves, first = {key.rpartition(".")[2] for key in keys}, {}
    for above, line in pairwise(["", *text.splitlines()]):
        if (found := re.match(r" *(\w+):( [^#]*)?(#.*)?$", line)) and found[1] in leaves:
            first.setdefault(found[1], found[3] or above.lstrip().startswith("#"))
    assert [key for key, comment in first.items() if not comment] == []


def configs():
    """The dataclass of every section that a stage loads."""
    for module in sorted({module_of(stage) for name, stage in STAGES.items() if name != "check_params"}):
        for section, cls in loads(module):
            if dataclasses.is_dataclass(config := eval(cls, vars(importlib.import_module(module)))):
                yield section, config


def test_no_config_has_a_default_beside_params_yaml():
    """None stands for a provider's section that a source does not have, and for nothing else."""
    from llm.sources.collect import SECTIONS, SourceConfig

    found = [(c, f) for _, c in configs() for f in dataclasses.fields(c) if f.default is not f.default_factory]
    assert {(c, f.name, f.default) for c, f in found} == {(SourceConfig, name, None) for name in SECTIONS}


def test_every_field_of_a_config_is_read_somewhere():
    read = set()
    for path in MODULES:
        tree = parse(path)
        checks = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == "__post_init__"]
        skipped = {id(node) for check in checks for node in ast.walk(check)}
        read |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and id(n) not in skipped}
    assert [f"{c.__name__}.{f.name}" for _, c in configs() for f in dataclasses.fields(c) if f.name not in read] == []


def test_no_module_is_named_like_one_of_python_or_of_a_dependency():
    taken = set(sys.stdlib_module_names) | set(packages_distributions()) - set(PACKAGES)
    assert [path for path in MODULES if path.stem in taken and path.stem != "__main__"] == []


def test_no_module_has_more_than_300_lines():
    assert [str(p) for p in MODULES if len((ROOT / p).read_text(encoding="utf-8").splitlines()) > 300] == []


def test_git_holds_no_file_of_more_than_a_megabyte():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    assert [path.name for path in paths if path.is_file() and path.stat().st_size > 10**6] == []


def test_heavy_packages_are_imported_only_where_they_are_used():
    found = []
    for path in MODULES:
        for node in parse(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                found += [f"{path}: {name}" for name in names if name.split(".")[0] in HEAVY]
    assert found == []


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(versions_page() if name == "versions" else "\n".join(code_deps(f"stages.{name}")), end="")
