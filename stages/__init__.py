"""One module per stage of the DAG in dvc.yaml; stages meet only through files."""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llm  # noqa: F401  before a stage imports torch: it says how threads wait

LOCK = Path(__file__).parent.parent / "requirements.lock"
HEAVY = ("torch", "transformers")  # what another environment lacks, or has in a version that computes other numbers


def check_interpreter(lock: Path = LOCK) -> None:
    """Raise SystemExit with one line unless this interpreter is the environment of requirements.lock.

    DVC starts `python` from PATH, which is another one unless the environment is activated.
    """
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    for name in HEAVY:
        try:
            found = version(name).partition("+")[0]  # 2.13.0+cpu is 2.13.0
        except PackageNotFoundError:
            found = "none"
        if found != pinned[name]:
            raise SystemExit(
                f"{sys.executable} has {name} {found}, requirements.lock {pinned[name]}: "
                "run `make install`, then `. .venv/bin/activate`"
            )


check_interpreter()
