"""The card says what the files of the run say, and nothing where they are of another run."""

import pytest
from huggingface_hub import ModelCard

from llm.__main__ import main as run_command
from llm.app.model_card import model_card, read_trained
from llm.files import write_json
from tests.hub.test_export import finetuned, save_scratch

__all__ = ["finetuned"]  # a fixture
SUMMARY = {"best_val_loss": 4.2}
SERVED = {"provider": "curated", "location": "data/curated/eli5.jsonl", "licence": "CC BY 4.0", "used": 1535}
DATA = {"provenance": {"eli5": {"served": [SERVED]}}}
DETAIL = {
    "bpb": {"all": {"value": 1.71794, "low": 1.683, "high": 1.7563, "n": 166, "groups": 40}},
    "text": {"bleu": {"value": 0.63, "low": None, "high": None}, "lengths": {"n": 12, "groups": 2}},
    "literacy": {"all": {"accuracy": {"value": 0.494, "low": 0.456, "high": 0.532}, "n": 344}},
}


@pytest.fixture(scope="module")
def project(finetuned, tmp_path_factory):
    """A folder like this repository after a run."""
    folder, (base, adapter) = tmp_path_factory.mktemp("project"), finetuned
    (folder / "models").mkdir()
    scratch = save_scratch(tmp_path_factory.mktemp("scratch"), "qwen3")
    for name, made in {"scratch": scratch, "base": base, "mistral": adapter}.items():
        (folder / "models" / name).symlink_to(made)
    origin = {"name": "tiny", "source": "generated", "revision": None, "licence": "MIT"}
    write_json(adapter / "tandem.json", {"enabled": True, "description": "tiny, fine-tuned", "base": origin})
    for made, stated in {scratch: "train_scratch", adapter: "finetune_mistral"}.items():
        write_json(made / "summary.json", SUMMARY)
        write_json(folder / f"metrics/{stated}.json", SUMMARY)
    write_json(folder / "metrics/data.json", DATA)
    for name in ("scratch", "mistral"):
        write_json(folder / f"metrics/detail/{name}.json", DETAIL)
    (folder / "params.yaml").touch()
    return folder


def test_the_card_has_figures_with_intervals_data_and_licences(project):
    card = model_card(read_trained("scratch", project), "whole")
    assert "| bits per byte | 1.718 | 1.683 to 1.756 | 166 |" in card.text
    assert "| BLEU | 0.63 | none | 12 |" in card.text
    assert "| `eli5` | curated | data/curated/eli5.jsonl | CC BY 4.0 | 1,535 |" in card.text
    for section in ("How to use", "Intended use", "Limits", "Licence"):
        assert f"## {section}\n\n" in card.text
    assert (card.data.license, card.data.library_name) == ("unknown", "transformers")


def test_the_figures_are_read_back_as_the_hub_reads_them(project, tmp_path):
    model_card(read_trained("mistral", project), "whole", merge_cost=1.2e-5).save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    found = {result.metric_type: (result.metric_value, result.metric_name) for result in card.data.eval_results}
    assert found["bits_per_byte"] == (1.718, "bits per byte (95 % interval: 1.683 to 1.756; n = 166)")
    assert found["literacy"] == (0.494, "literacy (95 % interval: 0.456 to 0.532; n = 344)")
    assert card.data.license == "mit" and "1.2e-05" in card.text


def test_figures_and_data_of_another_run_are_left_out(project, tmp_path):
    (tmp_path / "models").symlink_to(project / "models")
    write_json(tmp_path / "metrics/train_scratch.json", {"best_val_loss": 4.3})
    write_json(tmp_path / "metrics/data.json", DATA)
    write_json(tmp_path / "metrics/detail/scratch.json", DETAIL)
    card = model_card(read_trained("scratch", tmp_path), "whole")
    assert card.data.eval_results is None
    assert "None: the last finished evaluation was not of these weights." in card.text
    assert "CC BY 4.0" not in card.text


@pytest.mark.parametrize("words", [("scratch",), ("mistral",), ("adapter",), ("scratch", "--gguf", "f16")])
def test_every_exported_folder_has_its_card(project, tmp_path, monkeypatch, capsys, words):
    monkeypatch.setattr("llm.commands.HERE", project)
    assert run_command(["export", words[0], str(tmp_path / "out"), *words[1:]]) == 0
    library = {"adapter": "peft", "--gguf": "gguf"}.get(words[1] if words[1:] else words[0], "transformers")
    assert ModelCard.load(tmp_path / "out/README.md").data.library_name == library
    assert ("the merge changed no logit" in capsys.readouterr().out) == (words == ("mistral",))


def test_an_adapter_alone_is_no_gguf(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("llm.commands.HERE", project)
    assert run_command(["export", "adapter", str(tmp_path / "out"), "--gguf", "f16"]) == 1
    assert "export mistral, which has it merged" in capsys.readouterr().err
