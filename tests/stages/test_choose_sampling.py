"""The choice of the sampling with tiny real models."""

import shutil
from pathlib import Path

import pytest

from llm.dialogue import read_table, write_table
from llm.evaluation.items import EvaluateConfig, Sampling
from stages import choose_sampling
from stages.choose_sampling import CLEAN, draw_val_prompts, main
from stages.params import PARAMS, load, read_params, rewrite
from tests.stages.test_evaluate import write_data, write_models


@pytest.fixture
def project(tmp_path, repository, monkeypatch):
    """A folder with tiny models, the committed parameters, and test dialogues in the place of val."""
    shutil.copy(repository / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    write_models(write_data())
    write_table(CLEAN / "val.arrow", list(read_table(CLEAN / "test.arrow")))  # six, six, and of eli5 one dialogue
    PARAMS.write_text(rewrite(Path(PARAMS).read_text(encoding="utf-8"), shorten), encoding="utf-8")
    return tmp_path


def shorten(values):
    values["device"], values["evaluate"]["max_reply_bytes"] = "cpu", 30


def test_prompts_are_equally_many_of_each_source(project):
    prompts = draw_val_prompts(load("evaluate", EvaluateConfig), seed=1)
    assert sorted(prompt.source for prompt in prompts) == sorted(["dialogue", "eli5", "technical"] * 2)


def test_the_chosen_setting_is_written_and_the_other_lines_stay(project, monkeypatch, capsys):
    grid = (Sampling(0.5, 0.75), Sampling(0.25, 0.5))
    monkeypatch.setattr(choose_sampling, "GRIDS", {"scratch": grid, "base": grid})
    before = read_params()
    main(["scratch", "base"])
    shown = capsys.readouterr().out
    assert "scratch: 6 prompts, replies to each: 4" in shown and "base: 6 prompts, replies to each: 1" in shown
    found, others = load("evaluate", EvaluateConfig).sampling, before["evaluate"]["sampling"]
    for how in (found.scratch, found.base):
        assert how in grid and f"| **{how.temperature}, {how.top_p}** |" in shown
    assert (found.mistral.temperature, found.mistral.top_p) == tuple(others["mistral"].values())
    after = read_params()
    after["evaluate"]["sampling"] = others
    assert after == before


def test_a_model_that_is_not_there_is_named_with_those_that_are(project):
    with pytest.raises(ValueError, match=r"^gpt9: no such model here .*scratch, mistral, base"):
        main(["gpt9"])
