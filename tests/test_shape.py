"""The shape of the project: dvc.yaml, params.yaml and the modules say the same.

`python tests/test_shape.py evaluate` prints what dvc.yaml has to name as deps of that stage's code.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("llm", "stages")
CHECKED = "data/params_checked"  # written by the stage check_params


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


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print("\n".join(f"      - {path}" for path in import_closure(f"stages.{name}")))
