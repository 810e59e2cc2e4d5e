"""What the stages before `report` leave, from the committed run, for tests of that stage."""

import shutil
from pathlib import Path

from stages import plots, report
from tests.conftest import REPOSITORY

PICTURES = [plots.OUT / f"{name}.svg" for name in ("bpb", "choice", "judge", "loss")]


def copy_committed(folder=Path()):
    """Copy data, trainings, curves, pictures, judge and settings, unless the folder has its own of them."""
    places = {f"metrics/{name}.json": path for name, path in report.COPIES.items()}
    places |= {path: path for path in (plots.SCRATCH, plots.MISTRAL, *PICTURES, *report.SHOWN, Path("versions.yaml"))}
    places["data/judge/judge.json"] = report.JUDGE
    for source, path in places.items():
        if not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / source, folder / path)
