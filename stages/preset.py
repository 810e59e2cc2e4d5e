"""`python -m stages.preset NAME` writes a preset into params.yaml and lists what changed.

presets/laptop.yaml is a whole params.yaml; every other preset names only where it differs from that. So what stands
in params.yaml afterwards depends on NAME alone, not on what stood there before.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from llm.app.dotted import flatten
from llm.files import write_bytes
from stages.logs import run_stage
from stages.params import PARAMS, nearest, read_commented, read_params, rewrite

PRESETS = Path("presets")
WHOLE = "laptop"

logger = logging.getLogger(__name__)


def overlay(values: Any, changes: Any, section: str = "") -> None:
    """Write the changes into `values`, whose comments stay.

    Raises ValueError for a key that `values` does not have.
    """
    for key, change in changes.items():
        if key not in values:
            raise ValueError(f"{section}{key} is not a parameter, {nearest(key, values)}")
        if isinstance(change, dict) and isinstance(values[key], dict):
            overlay(values[key], change, f"{section}{key}.")
        elif values[key] != change:
            values[key] = list(change) if isinstance(change, list) else change  # a plain list is written a line an item


def render(name: str, folder: Path = PRESETS) -> str:
    """The text of params.yaml for a preset.

    Raises ValueError for an unknown preset, naming the known ones, and for a preset with an unknown key.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ValueError(f"{name} is not a preset, {nearest(name, known)} (presets: {', '.join(known)})")
    whole = (folder / f"{WHOLE}.yaml").read_text(encoding="utf-8")
    if name == WHOLE:
        return whole
    changes = read_commented((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    try:
        return rewrite(whole, lambda values: overlay(values, changes))
    except ValueError as error:
        raise ValueError(f"{folder / name}.yaml: {error}") from None


def preset_params(name: str) -> dict[str, Any]:
    """The values of a preset; params.yaml stays as it is. Raises ValueError as `render` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(render(name), encoding="utf-8")
        return read_params(path)


def _text(flat: dict[str, Any], name: str) -> str:
    return json.dumps(flat[name], ensure_ascii=False) if name in flat else "absent"


def apply_preset(name: str, path: Path = PARAMS, folder: Path = PRESETS) -> list[str]:
    """Write the preset into the file, whole or not at all; what changed, a line each: `train.lr: 0.003 -> 0.0003`."""
    text = render(name, folder)
    try:
        before = flatten(read_params(path))
    except (OSError, ValueError) as error:
        logger.warning("%s is replaced as a whole: %s", path, error)
        before = {}
    write_bytes(path, text.encode())
    after = flatten(read_params(path))
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name}: {_text(before, name)} -> {_text(after, name)}"
        for name in names
        if name not in before or name not in after or before[name] != after[name]
    ]


def main() -> None:
    """Write the preset named on the command line into params.yaml."""
    known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
    about, example = "Write a preset into params.yaml and list what changed.", "example: python -m stages.preset lesson"
    parser = argparse.ArgumentParser(prog="python -m stages.preset", description=about, epilog=example)
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"one of {known}")
    name = parser.parse_args().name
    if name is None:
        raise ValueError(f"usage: python -m stages.preset NAME (presets: {known})")
    changes = apply_preset(name)
    for change in changes:
        logger.info("%s", change)
    logger.info("%s holds the preset %s, %d values changed", PARAMS, name, len(changes))


if __name__ == "__main__":
    run_stage("preset", main)
