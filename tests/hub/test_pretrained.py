import json

import pytest
import torch

from llm.evaluation.eval_models import template_notes
from llm.hub.info import read_info
from llm.hub.pretrained import load_base, load_finetuned, load_shipped_tokenizer, load_tokenizer
from llm.hub.tiny import generate_tiny

IM_TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
SYSTEM = "{% if loop.first and messages[0]['role'] != 'system' %}{{ 'Be helpful' }}{% endif %}"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    folder.mkdir()
    generate_tiny(folder)
    (folder / "tandem.json").write_text(json.dumps({"name": "tiny"}), encoding="utf-8")
    return folder


def test_a_default_system_prompt_is_left_out(base, tmp_path):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = IM_TEMPLATE.replace(
        "{% for message in messages %}", "{% for message in messages %}" + SYSTEM
    )
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).chat_template == IM_TEMPLATE
    assert load_shipped_tokenizer(tmp_path).chat_template == tokenizer.chat_template
    assert template_notes(tmp_path) == (
        "; writes texts with the default system prompt of its template, is scored without",
        "; has no system prompt",
    )
    load_tokenizer(tmp_path).save_pretrained(tmp_path)
    assert template_notes(tmp_path) == ("", "")


def test_of_several_named_templates_the_default_is_taken(base, tmp_path):
    load_tokenizer(base).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": IM_TEMPLATE}]
    path.write_text(json.dumps(config | {"chat_template": named}), encoding="utf-8")
    assert load_tokenizer(tmp_path).chat_template == IM_TEMPLATE
    path.write_text(json.dumps(config | {"chat_template": named[:1]}), encoding="utf-8")
    with pytest.raises(ValueError, match="has the chat templates tool_use: call one `default`"):
        load_tokenizer(tmp_path)


def test_the_base_is_loaded_in_fp32_on_a_cpu_and_for_evaluation(base):
    model, _ = load_base(base)
    assert model.dtype == torch.float32 and not model.training


def test_attention_on_a_cpu_gives_the_logits_of_torchs_own(base):
    from transformers import AutoModelForCausalLM

    ours, _ = load_base(base)
    theirs = AutoModelForCausalLM.from_pretrained(base, attn_implementation="sdpa", dtype=torch.float32).eval()
    ids = torch.randint(0, 100, (3, 12), generator=torch.Generator().manual_seed(1))
    padding = torch.ones_like(ids)
    padding[1, :5] = 0
    for mask in (None, padding):
        seen = slice(None) if mask is None else mask.bool()
        ours_logits, theirs_logits = ours(ids, attention_mask=mask).logits, theirs(ids, attention_mask=mask).logits
        torch.testing.assert_close(ours_logits[seen], theirs_logits[seen], rtol=1e-4, atol=1e-5)
        asked = {"attention_mask": padding if mask is None else mask, "max_new_tokens": 6, "do_sample": False}
        assert torch.equal(ours.generate(ids, **asked), theirs.generate(ids, **asked))


def test_loading_draws_no_bar_of_its_own_and_leaves_others_theirs(base, capfd):
    from transformers.utils import logging

    load_base(base)
    assert "Loading weights" not in capfd.readouterr().err
    for _ in logging.tqdm(range(2), desc="another bar"):
        pass
    assert "another bar" in capfd.readouterr().err


@pytest.mark.parametrize(("name", "stage"), [("base", "download_base"), ("mistral", "finetune_mistral")])
def test_a_missing_model_names_the_stage_to_run(tmp_path, name, stage):
    with pytest.raises(FileNotFoundError, match=f"dvc repro {stage}"):
        read_info(tmp_path / name)


def test_a_fine_tune_that_was_switched_off_cannot_be_loaded(base, tmp_path):
    (tmp_path / "tandem.json").write_text('{"enabled": false}', encoding="utf-8")
    with pytest.raises(ValueError, match="holds no adapter"):
        load_finetuned(base, tmp_path)


@pytest.mark.parametrize(("device", "expected"), [("cpu", None), ("mps", {"": torch.device("mps")})])
def test_weights_go_straight_to_the_device(base, monkeypatch, device, expected):
    from transformers import AutoModelForCausalLM

    class Asked(Exception):
        pass

    def ask(folder, **loading):
        raise Asked(loading.get("device_map"))

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", ask)
    with pytest.raises(Asked) as asked:
        load_base(base, torch.device(device))
    assert asked.value.args == (expected,)
