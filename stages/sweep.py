"""`python -m stages.sweep SPACE`: search for better parameters, each trial a DVC experiment.

Every start is one worker more. A study goes on where its workers were stopped or killed: docs/sweeps.md.
"""

import argparse
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm.app.dotted import flatten
from llm.files import lasting_folder
from llm.sweeps.clone import clean_head, git
from llm.sweeps.space import Scalar, SweepConfig, check_scalars
from llm.sweeps.study import check_installed
from llm.sweeps.worker import Worker
from stages.check_params import Params
from stages.logs import run_stage
from stages.params import PARAMS, load, nearest, parse_params, read_params, rewrite

logger = logging.getLogger(__name__)


def read_space(path: Path) -> SweepConfig:
    """The space file. Raises ValueError for what is wrong with it, naming what is allowed."""
    check_scalars(read_params(path))
    config = load("", SweepConfig, path)
    known = flatten(read_params())
    names = [*config.fixed, *next(config.space.corners())]
    if unknown := [name for name in names if name not in known]:
        beside = [name for name in known if name.rpartition(".")[0] == unknown[0].rpartition(".")[0]]
        raise ValueError(f"{path}: {unknown[0]} is not a parameter, {nearest(unknown[0], beside or known)}")
    if "seed" in next(iter(config.space.corners())):
        raise ValueError(f"{path}: seed is no parameter to search: the lucky one would win, allowed: one under `fixed`")
    if config.model == "mistral" and not {**known, **config.fixed}["finetune.enabled"]:
        raise ValueError(f"{path}: the objective is {config.objective}, and finetune.enabled is false")
    for corner in config.space.corners():
        check_values({**config.common(), **corner}, path)
    return config


def check_values(values: Mapping[str, Scalar | None], path: Path) -> None:
    """Raise ValueError where params.yaml with these values would be refused."""

    def put(params: dict[str, object]) -> None:
        for name, value in values.items():
            *sections, key = name.split(".")
            section: dict[str, object] = params
            for one in sections:
                section = section[one]  # type: ignore[assignment]
            section[key] = value

    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / PARAMS
        tried.write_text(rewrite(PARAMS.read_text(encoding="utf-8"), put), encoding="utf-8")
        try:
            load("", Params, tried)
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).partition('; ' + str(tried))[0]}") from None


def committed_seed(repository: Path, commit: str) -> int:
    """The seed of the trials that start from the commit."""
    return int(parse_params(git(repository, "show", f"{commit}:{PARAMS}"))["seed"])


def start_workers(arguments: Sequence[str], n: int) -> None:
    """Start n workers, which share the cores, and wait for them. Raises ValueError when all of them failed."""
    from llm.machine import usable_processors

    threads = str(max(1, usable_processors() // n))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    command = [sys.executable, "-m", "stages.sweep", *arguments]
    workers = [subprocess.Popen(command, env=environment) for _ in range(n)]
    try:
        ended = [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            worker.wait()
    told = f"workers ended with {', '.join(map(str, ended))}: see above"
    if all(ended):
        raise ValueError(f"{told}, then run this again to go on")
    if any(ended):
        logger.warning("%s; what they left is run now", told)


def main() -> None:
    """Be a worker of the study that the command line names, or start several; judge its best configuration."""
    example = "example: python -m stages.sweep docs/example/sweep.yaml --workers 2"
    parser = argparse.ArgumentParser(prog="python -m stages.sweep", description=__doc__, epilog=example)
    parser.add_argument("space", type=Path, metavar="SPACE", help="the space file, such as docs/example/sweep.yaml")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="start N workers on this machine (1)")
    parser.add_argument("--judge", action="store_true", help="then compare the best parameters with the present ones")
    arguments = parser.parse_args()
    check_installed()
    config = read_space(arguments.space)
    repository = Path(git(Path(), "rev-parse", "--show-toplevel"))
    if arguments.workers > 1:
        clean_head(repository)
        start_workers([str(arguments.space)], arguments.workers)
    folder = lasting_folder(".sweeps", "TANDEM_SWEEPS").resolve() / config.study
    worker = Worker(config, repository, folder)
    worker.work()
    if arguments.judge:
        worker.judge(int(config.fixed.get("seed") or committed_seed(repository, worker.commit)) + 1)


if __name__ == "__main__":
    # Several at once, each with a log and a lock of its own, also on machines that share the folder.
    run_stage(f"sweep-{socket.gethostname()}-{os.getpid()}", main)
