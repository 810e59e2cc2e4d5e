import json
from dataclasses import asdict, replace

import pytest

from llm.app.catalogue import USUAL, find_model, list_models
from llm.app.streamed_reply import stream_reply
from llm.evaluation.items import Sampling, SamplingConfig
from llm.files import write_json
from llm.hub.export import save_form, scratch_form
from llm.models.registry import load_gpt, n_parameters
from llm.runs.packed import SETTINGS
from tests.app.small_project import write_scratch
from tests.app.test_batch import GREEDY, PROMPTS, evaluation_model
from tests.runs.test_run_files import OWN_SETTINGS


def test_the_models_that_are_there_are_listed(models, tmp_path):
    assert [one.about.name for one in list_models(models)] == ["scratch", "base"]
    assert list_models(tmp_path) == []


def test_scratch_is_described_without_its_weights(models):
    about = find_model("scratch", models).about
    assert about.parameters == n_parameters(load_gpt(models / "scratch"))
    assert about.title == "Qwen3 architecture (2 layers, 16 wide, 0.0M parameters), trained here from scratch"


def test_a_model_draws_as_the_last_run_had_it_draw(models, tmp_path):
    (tmp_path / "models").symlink_to(models)
    assert find_model("scratch", tmp_path / "models").sampling == USUAL
    own = SamplingConfig(scratch=Sampling(0.5, 0.6), mistral=USUAL, base=Sampling(0.7, 0.9))
    settings = replace(OWN_SETTINGS, evaluate=replace(OWN_SETTINGS.evaluate, sampling=own))
    write_json(tmp_path / SETTINGS, asdict(settings))
    assert find_model("scratch", tmp_path / "models").sampling == Sampling(0.5, 0.6)
    assert find_model("base", tmp_path / "models").sampling == Sampling(0.7, 0.9)


@pytest.mark.parametrize(
    ("name", "stage"), [("scratch", "train_scratch"), ("base", "download_base"), ("mistral", "download_base")]
)
def test_a_model_that_is_not_made_yet_names_the_stage_that_makes_it(tmp_path, name, stage):
    with pytest.raises(FileNotFoundError, match=f"run `dvc repro {stage}` first"):
        find_model(name, tmp_path)


def test_without_fine_tuning_there_is_no_mistral(models, tmp_path):
    (tmp_path / "base").symlink_to(models / "base")
    (tmp_path / "mistral").mkdir()
    (tmp_path / "mistral/tandem.json").write_text(json.dumps({"enabled": False}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"set finetune\.enabled to true and run `dvc repro`"):
        find_model("mistral", tmp_path)
    assert [one.about.name for one in list_models(tmp_path)] == ["base"]


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_an_exported_model_replies_as_it_did_before(tmp_path, architecture):
    write_scratch(tmp_path / "scratch", architecture)
    save_form(scratch_form(tmp_path / "scratch"), tmp_path / "exported")
    listed = find_model(str(tmp_path / "exported"))
    own = find_model("scratch", tmp_path).about
    assert listed.about.parameters == own.parameters and listed.about.context_length == own.context_length
    speaker = listed.load()
    talks = PROMPTS[:4]  # a document of the exported model ends otherwise
    expected = evaluation_model(tmp_path, "scratch").generate(talks, GREEDY)
    for prompt, reply in zip(talks, expected, strict=True):
        ids = [token.token for token in stream_reply(speaker, prompt, GREEDY)]
        assert speaker.texts.decode(ids).strip()[: len(reply.text)] == reply.text


def test_a_folder_without_a_model_or_in_another_form_is_named(tmp_path, models):
    with pytest.raises(FileNotFoundError, match="is neither scratch, mistral, base nor a folder with a model"):
        find_model(str(tmp_path))
    with pytest.raises(ValueError, match="is not in Hugging Face form: name scratch or mistral, or export it first"):
        find_model(str(models / "scratch"))
