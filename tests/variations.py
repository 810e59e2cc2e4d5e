"""Circumstances in which the pipeline is run again, and whether they change anything on this machine."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from llm.machine import usable_processors
from tests.clone import ASCII, ROOT, Clone

SITE_PACKAGES = Path(yaml.__file__).parent.parent
TURKISH = "tr_TR.UTF-8"  # where the small letter of I is none of ASCII
CAPABILITY = "import torch; print(torch.backends.cpu.get_cpu_capability())"
VARIED = {  # variables that a caller's shell may hold, in which `plain` would run as a variation does
    *("TZ", "PYTHONHASHSEED", "PYTHONPATH", "RAYON_NUM_THREADS", "ARROW_IO_THREADS"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"),
}


@dataclass(frozen=True)
class Variation:
    """What is otherwise than in the run `plain`."""

    name: str
    exact: bool = True  # whether the results have to be those of `plain` to the last bit
    environment: Mapping[str, str] = field(default_factory=dict)
    shows: str = ""  # a program that prints something else than in `plain`; without one it needs no proof
    folder: str = "clone"
    temp: bool = False  # by `dvc exp run --temp`, in a copy of the repository
    python: Path | None = None  # another interpreter
    as_nobody: bool = False  # as another user, with the packages of this environment


def other_threads() -> str:
    """Another number of threads than torch takes here."""
    return "2" if os.environ.get("OMP_NUM_THREADS", str(usable_processors())) == "1" else "1"


def held_to(capability: str, instructions: str, mkl: str) -> dict[str, str]:
    """Variables that hold torch, oneDNN and MKL to some instructions of the processor."""
    return {
        "ATEN_CPU_CAPABILITY": capability,
        "ONEDNN_MAX_CPU_ISA": instructions,
        "MKL_ENABLE_INSTRUCTIONS": mkl,
    }


def variations(python: Path | None, nobodys_python: Path | None) -> list[Variation]:
    """All of them; those of another interpreter and of another user where one is given that they can run."""
    locale = "import locale; print(locale.setlocale(locale.LC_CTYPE, ''))"
    workers = {"RAYON_NUM_THREADS": "1", "ARROW_IO_THREADS": "1"}
    threads = "import torch; from llm.machine import limit_threads; limit_threads(); print(torch.get_num_threads())"
    cpu = "from llm.machine import this_cpu; print(this_cpu())"
    found = [
        Variation("plain"),
        Variation("again"),
        Variation("path", folder="another folder/with ü and 复"),
        Variation("locale_c", True, ASCII, "import locale; print(locale.getencoding())"),
        Variation("locale_turkish", True, {"LC_ALL": TURKISH, "LANG": TURKISH}, locale),
        Variation("time_zone", True, {"TZ": "Pacific/Kiritimati"}, "import time; print(time.localtime(0))"),
        Variation("hash_seed", True, {"PYTHONHASHSEED": "12345"}, "print(hash('a'))"),
        Variation("data_workers", True, workers, "import pyarrow; print(pyarrow.io_thread_count())"),
        Variation("temp", temp=True),
        Variation("threads", False, {"OMP_NUM_THREADS": other_threads()}, threads),
        Variation("avx2", False, held_to("avx2", "AVX2", "AVX2"), CAPABILITY),
        Variation("sse4", False, held_to("default", "SSE41", "SSE4_2"), CAPABILITY),
        Variation("other_vendor", False, {"PYTHONPATH": str(ROOT / "tests/machines/other_vendor")}, cpu),
    ]
    if python is not None:
        found.append(Variation("python", False, python=python))
    if nobodys_python is not None:
        found.append(Variation("user", python=nobodys_python, as_nobody=True))
    return found


def has_effect(variation: Variation) -> bool:
    """Whether what a variation shows is something else than in `plain`; says so where it is not."""
    if variation.python is not None and not variation.as_nobody:
        shown = [
            output([python, "-c", "import sys; print(sys.version)"]) for python in (variation.python, sys.executable)
        ]
    elif variation.shows:
        words, clone = [sys.executable, "-c", variation.shows], Clone.existing(ROOT)
        shown = [output(words, environment(one, clone)) for one in (variation, Variation("plain"))]
    else:
        return True
    if shown[0] and shown[0] != shown[1]:
        return True
    print(f"{variation.name}: not run, it changes nothing on this machine")
    return False


def output(words: Sequence[str | Path], values: Mapping[str, str] | None = None) -> bytes:
    """What a program prints; nothing where it fails."""
    done = subprocess.run(words, cwd=ROOT, env=values, capture_output=True)
    return done.stdout if done.returncode == 0 else b""


def environment(variation: Variation, clone: Clone) -> dict[str, str]:
    """Variables of a run; the clone's own, but for its hostile ones and for a caller's that would be a variation."""
    own = {name: value for name, value in clone.environment.items() if name not in VARIED}
    values = {**own, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", **variation.environment}
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
