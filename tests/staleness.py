"""What runs again after which change: predicted from the imports and from dvc.yaml, for docs/reruns.md.

`python -m tests.staleness` writes the table of that page; the seconds come from the page's own table of stages.
"""

import re

import grimp
import yaml

from llm.evaluation.result_table import put_into_page
from tests.test_shape import CHECKED, NO_OUTPUT, ROOT, STAGES, module_of, paths

PAGE = ROOT / "docs" / "reruns.md"
START, END = "<!-- reruns -->\n", "<!-- /reruns -->"


def places():
    """Rooms of the library and the files beside them, by what is imported from them."""
    rooms = [path for path in sorted((ROOT / "llm").iterdir()) if (path / "__init__.py").is_file()]
    stones = [path for path in sorted((ROOT / "llm").glob("*.py")) if not path.name.startswith("__")]
    found = {path.relative_to(ROOT).as_posix(): f"llm.{path.stem}" for path in [*rooms, *stones]}
    return found | {f"stages/{name}.py": f"stages.{name}" for name in ("logs", "params")}


def stale_by_code():
    """Stages that import from each place, whatever the change there does."""
    graph = grimp.build_graph("llm", "stages")
    imported = {
        name: graph.find_upstream_modules(module_of(stage)) | {module_of(stage)} for name, stage in STAGES.items()
    }

    def imports_from(name, module):
        return any(other == module or other.startswith(f"{module}.") for other in imported[name])

    return {path: [n for n in STAGES if imports_from(n, module)] for path, module in places().items()}


def stale_by_parameter():
    """Stages that a change in params.yaml makes stale at once, by what they name of it; two read all."""
    named = {param for stage in STAGES.values() for param in stage.get("params", []) if isinstance(param, str)}
    found = {}
    for key in sorted(named | NO_OUTPUT, key=place_in_params):
        readers = [n for n, stage in STAGES.items() if any(holds(param, key) for param in stage.get("params", []))]
        readers += [n for n, stage in STAGES.items() if "params.yaml" in stage["deps"] and n not in readers]
        found[key] = ["check_params", *(name for name in readers if name != "check_params")]
    return found


def place_in_params(key):
    """Where a dotted name stands in params.yaml."""
    values, place = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")), []
    for part in key.split("."):
        place.append(list(values).index(part))
        values = values[part]
    return place


def holds(param, key):
    """Whether a stage's param is a dotted name or the section that holds it."""
    return isinstance(param, str) and f"{key}.".startswith(f"{param}.")


def followers(names):
    """Stages behind these in the DAG: they run too where an output changes. Nothing follows the constant CHECKED."""
    made = {name: paths(stage, "outs", "metrics", "plots") - {CHECKED} for name, stage in STAGES.items()}
    found, waiting = set(), list(names)
    while waiting:
        outs = made[waiting.pop()]
        new = {n for n, stage in STAGES.items() if meet(outs, paths(stage, "deps"))} - found - set(names)
        found |= new
        waiting += new
    return [name for name in STAGES if name in found]


def meet(outs, deps):
    """Whether a dependency is an output, lies in one, or is a folder that holds one.

    >>> meet({"data/raw/mine.jsonl"}, {"data/raw"}), meet({"data/raw"}, {"data/raw_texts"})
    (True, False)
    """
    return any(f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/") for a in outs for b in deps)


def short(names):
    """The stages in a line; the three downloads under one name.

    >>> short(["check_params", "download@dialogue", "download@eli5", "download@technical"])
    'check_params, download'
    """
    return ", ".join(dict.fromkeys(name.partition("@")[0] for name in names)) or "-"


def seconds_of(page):
    """Seconds of a stage from the page's table of stages: as a whole, and where nothing that matters changed."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", page, re.MULTILINE)
    return {name: (float(whole), float(again)) for name, whole, again in rows}


def table(page):
    """Rows of change, stages, seconds."""
    cost = seconds_of(page)

    def total(names, column):
        return f"{sum(cost[name][column] for name in {n.partition('@')[0] for n in names}):.0f}"

    lines = ["| change | runs again | s | and, if their outputs change | s in all |", "|---|---|---|---|---|"]
    changes = [(f"`{path}`", names, True) for path, names in stale_by_code().items()]
    changes += [(f"`{key}` in params.yaml", names, False) for key, names in stale_by_parameter().items()]
    for change, names, may_be_idle in changes:
        behind = followers(names)
        again = total(names, 1) if may_be_idle else ""  # a comment, or code that gives the same
        lines.append(f"| {change} | {short(names)} | {again} | {short(behind)} | {total([*names, *behind], 0)} |")
    return "\n".join(lines) + "\n"


def with_table(page):
    return put_into_page(page, table(page), START, END)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
