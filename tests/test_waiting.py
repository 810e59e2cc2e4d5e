"""How OpenMP's threads wait: said before torch is imported, which reads it once."""

import json
import os
import subprocess
import sys

import pytest

from llm import WAITING

LOOK = """
import importlib, json, os, sys

class Look:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(json.dumps(dict(os.environ)))
            raise SystemExit

sys.meta_path.insert(0, Look())
importlib.import_module(sys.argv[1])
"""
STARTED = ["check_params", "train_scratch", "finetune_mistral", "evaluate", "report", "podcast"]  # import torch


def environment_at_torch(repository, module, **chosen):
    """The variables of WAITING as they are when the module first imports torch."""
    clean = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, module],
        cwd=repository, env=clean | chosen, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    return {name: found[name] for name in WAITING if name in found}


@pytest.mark.parametrize("module", [*(f"stages.{name}" for name in STARTED), "llm.commands", "bench.__main__"])
def test_threads_sleep_soon_in_every_stage_and_command(repository, module):
    assert environment_at_torch(repository, module) == WAITING


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_has_set_stands_alone(repository, name):
    assert environment_at_torch(repository, "stages.train_scratch", **{name: "7"}) == {name: "7"}
