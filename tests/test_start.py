"""What each stage and command imports when it starts: a heavy package costs a second or more, needed or not."""

import importlib
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
    *("stages.cards", "stages.doctor", "stages.judge_replies", "stages.own_data", "stages.plan", "stages.plots"),
    *("stages.preset", "stages.tokenize_corpus", "stages.train_judge"),
)
# All of them torch, and no other: the settings that check_params checks stand beside the code that they configure, and
# podcast, report, seed_sd and sweep know the models by what evaluate asked of them.
WITH_TORCH = (
    *("llm.commands", "stages.check_params", "stages.choose_sampling", "stages.ensemble", "stages.evaluate"),
    *("stages.finetune_mistral", "stages.podcast", "stages.report", "stages.seed_sd", "stages.sweep"),
    "stages.train_scratch",
)


@pytest.mark.parametrize("module", [*LIGHT, *WITH_TORCH])
def test_a_start_imports_no_package_that_it_may_not_need(repository, module):
    done = subprocess.run(
        [sys.executable, "-c", LOOK, module], cwd=repository, capture_output=True, text=True, check=True
    )
    assert HEAVY & set(json.loads(done.stdout)) == ({"torch"} if module in WITH_TORCH else set())


def test_every_stage_and_command_is_looked_at(repository):
    below = {
        *("__init__", "dvc_cache", "dvc_state", "estimate", "findings", "followed", "logs", "needs", "params"),
        *("reach", "recorded", "speed"),
    }
    stages = {path.stem for path in (repository / "stages").glob("*.py")} - below
    assert {f"stages.{name}" for name in stages} == {
        name for name in (*LIGHT, *WITH_TORCH) if name.startswith("stages.")
    }


TOOLS = (  # what people start by hand
    *("cards", "choose_sampling", "doctor", "ensemble", "judge_replies", "own_data", "plan", "preset", "seed_sd"),
    "sweep",
)


@pytest.mark.parametrize("name", TOOLS)
def test_the_help_of_a_tool_ends_with_an_example(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"stages/{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"stages.{name}").main()
    page = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert f"python -m stages.{name} " in page[page.index("example") :] + " "


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_help_of_a_command_ends_with_an_example(name, capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args([*name.split(), "--help"])
    page = capsys.readouterr().out
    assert f"python -m llm {name}" in page[page.rindex("example") :]


def test_each_command_of_the_command_line_is_there():
    known = next(action.choices for action in make_parser()._actions if action.choices)
    assert known.keys() == COMMANDS.keys()
