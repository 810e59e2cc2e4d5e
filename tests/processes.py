"""Functions of test modules run by processes of their own: forked from one, or several that torchrun joins.

`python -m torch.distributed.run ... -m tests.processes MODULE FUNCTION FOLDER` is one of these processes.
"""

import importlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import torch

from llm.training.distributed import process_group

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = (  # seconds each
    *("torch", "transformers.models.gpt2.modeling_gpt2", "transformers.models.mistral.modeling_mistral"),
    *("transformers.trainer", "transformers.generation", "peft", "datasets", "llm.training.loop"),
    *("tests.test_bench", "tests.stages.test_kill_training", "tests.stages.test_kill_stages"),
)


def forking():
    """Starts processes forked from one that has PRELOADED; a test session has a single such one, whoever starts it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def run_processes(n, module, function, folder, timeout_s=180):
    """What they printed, all n of them; each has called the module's function with the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(n), "-m", "tests.processes", module, function, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


if __name__ == "__main__":
    with process_group(torch.device("cpu")):
        getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(Path(sys.argv[3]))
