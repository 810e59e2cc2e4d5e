import shutil

import pytest
import torch

from llm.evaluation import eval_models
from llm.evaluation.eval_models import ModelFolders, list_models
from llm.evaluation.result_table import FEW_GROUPS
from llm.hub.pretrained import load_tokenizer
from stages.params import read_params
from tests.hub.test_pretrained import IM_TEMPLATE, SYSTEM, base  # noqa: F401  a fixture


@pytest.fixture
def models(base, tmp_path, monkeypatch):  # noqa: F811
    """What is asked where the base ships a template with a default system prompt, and nothing was fine-tuned."""
    shutil.copytree(base, tmp_path / "base")
    tokenizer = load_tokenizer(base)
    loop = "{% for message in messages %}"
    tokenizer.chat_template = IM_TEMPLATE.replace(loop, loop + SYSTEM)
    tokenizer.save_pretrained(tmp_path / "base")
    info = {"name": "t", "stand_in": False, "parameters": 1, "enabled": False}
    monkeypatch.setattr(eval_models, "read_info", lambda folder: info)
    for others in ("_trained_here", "_baselines"):
        monkeypatch.setattr(eval_models, others, lambda *_: [])
    folders = ModelFolders(*(tmp_path / name for name in ("scratch", "tokens", "train", "base", "adapter")))
    return list_models(folders, torch.device("cpu"), 1, 64), tokenizer.chat_template


def test_the_base_model_is_asked_in_its_shipped_template_and_says_so(models):
    (model,), shipped = models
    loaded = model.load()
    assert (loaded.asked_by.chat_template, loaded.tokenizer.chat_template) == (shipped, IM_TEMPLATE)
    assert "default system prompt" in model.real_name


def test_few_groups_are_as_few_for_a_text_as_for_a_source():
    assert FEW_GROUPS == read_params()["clean"]["min_test_dialogues"] == 30
