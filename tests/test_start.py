"""What each stage and command imports when it starts: a heavy package costs a second or more, needed or not."""

import json
import subprocess
import sys

import pytest

from llm.__main__ import make_parser
from llm.commands import COMMANDS

LOOK = """
import importlib, json, sys

importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
HEAVY = {  # .2 to 6 s each, on a fast machine
    *("lxml", "datasets", "dvc", "gguf", "huggingface_hub", "matplotlib", "pandas", "peft", "pyarrow", "sacrebleu"),
    *("scipy", "sklearn", "torch", "transformers"),
}
LIGHT = (
    *("llm.__main__", "stages.clean", "stages.download", "stages.download_base", "stages.look"),
    *("stages.judge_replies", "stages.own_data", "stages.plan", "stages.plots", "stages.preset"),
    *("stages.tokenize_corpus", "stages.train_judge"),
)
# All of them torch, and no other: the settings that check_params checks stand beside the code that they configure, and
# podcast, report and seed_sd know the models by what evaluate asked of them.
WITH_TORCH = (
    *("llm.commands", "stages.check_params", "stages.evaluate", "stages.finetune_mistral", "stages.podcast"),
    *("stages.report", "stages.seed_sd", "stages.train_scratch"),
)


@pytest.mark.parametrize("module", [*LIGHT, *WITH_TORCH])
def test_a_start_imports_no_package_that_it_may_not_need(repository, module):
    done = subprocess.run(
        [sys.executable, "-c", LOOK, module], cwd=repository, capture_output=True, text=True, check=True
    )
    assert HEAVY & set(json.loads(done.stdout)) == ({"torch"} if module in WITH_TORCH else set())


def test_every_stage_and_command_is_looked_at(repository):
    below = {"__init__", "estimate", "followed", "logs", "params", "speed"}
    stages = {path.stem for path in (repository / "stages").glob("*.py")} - below
    assert {f"stages.{name}" for name in stages} == {
        name for name in (*LIGHT, *WITH_TORCH) if name.startswith("stages.")
    }


def test_each_command_of_the_command_line_is_there():
    known = next(action.choices for action in make_parser()._actions if action.choices)
    assert known.keys() == COMMANDS.keys()
