"""The exported models, read by transformers alone, are the models that were trained."""

import json

import pytest
import torch
from jinja2 import TemplateError

from llm.__main__ import main as run_command
from llm.dialogue import Prompt
from llm.evaluation.hub_model import HubModel
from llm.evaluation.scratch_model import ScratchModel
from llm.files import write_json
from llm.hub.chat import encode_prompt
from llm.hub.export import merged_form, save_adapter_form, save_form, scratch_form
from llm.hub.pretrained import load_adapted, load_base, load_finetuned, quiet_peft
from llm.hub.upstream import describe_tiny
from llm.inference.decoding import Decoding
from llm.inference.replies import cut_reply
from llm.models.registry import build_model, describe_model, load_gpt
from llm.models.shape import ModelConfig
from llm.tokens.tokenizer import TokenizerConfig, load_tokenizer, train_tokenizer
from llm.training.checkpoint import save_tensors
from llm.training.lora import FinetuneConfig, add_lora, save_adapter

TURNS = ("Why is the sky blue?", "Light scatters.\n  Blue most.", "And at dusk… é ?")
GREEDY = Decoding(12, 0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)


def messages(turns):
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def perturb(model, std, only=""):
    """Move the weights far from their initial values, so that every one of them matters."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if only in name:
                weight += std * torch.randn(weight.shape, generator=generator)


@pytest.fixture(scope="module", params=["gpt2", "llama", "qwen3"])
def scratch(request, tmp_path_factory):
    """Folder of a model as the stage train_scratch leaves it."""
    return save_scratch(tmp_path_factory.mktemp(request.param), request.param)


def save_scratch(folder, architecture):
    """Write a tiny model of random weights as the stage train_scratch does; the folder."""
    tokenizer = train_tokenizer([*TURNS, "the cat sat on the mat"] * 3, TokenizerConfig(300, 2))
    shape = ModelConfig(architecture, 2, 2, 16, 64, dropout=0.1, attn_dropout=0.0)
    model = build_model(shape, tokenizer.vocab_size, torch.Generator().manual_seed(1))
    perturb(model, 0.2)
    save_tensors(folder / "best.safetensors", dict(model.named_parameters()))
    write_json(folder / "config.json", describe_model(model))
    tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="module")
def exported(scratch, tmp_path_factory):
    """The exported model and tokenizer, loaded by name alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("exported") / "model"
    save_form(scratch_form(scratch), folder)
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_the_class_is_that_of_the_architecture(scratch, exported):
    name = json.loads((scratch / "config.json").read_text(encoding="utf-8"))["architecture"]
    assert (
        type(exported[0]).__name__
        == {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}[name]
    )


def test_logits_are_equal_on_every_machine(machine, scratch, exported):
    ids = torch.randint(0, 260, (2, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = load_gpt(scratch)(ids), exported[0](ids).logits
    assert ours.std() > 0.5
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 3])
def test_the_chat_template_gives_our_prompts(scratch, exported, n):
    ours = load_tokenizer(scratch / "tokenizer.json")
    theirs = exported[1].apply_chat_template(messages(TURNS[:n]), add_generation_prompt=True)["input_ids"]
    assert theirs == ours.encode_prompt(TURNS[:n])
    whole = exported[1].apply_chat_template(messages(TURNS[:2]))["input_ids"]
    assert whole == ours.encode_dialogue(TURNS[:2]).tolist()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_system_message_stands_before_the_first_turn_as_in_training(scratch, exported, n):
    ours, said = load_tokenizer(scratch / "tokenizer.json"), [{"role": "system", "content": "Be kind"}]
    render, turns = exported[1].apply_chat_template, [*said, *messages(TURNS[:n])]
    if n % 2:
        asked = render(turns, add_generation_prompt=True)["input_ids"]
        assert asked == ours.encode_prompt(TURNS[:n], "Be kind")
    assert render(turns)["input_ids"] == ours.encode_dialogue(TURNS[:n], "Be kind").tolist()


def test_a_reported_system_message_is_not_the_assistants(exported, real_data):
    said = json.loads((real_data / "reports/03-system-message/messages.json").read_text(encoding="utf-8"))
    assert exported[1].apply_chat_template(said, tokenize=False) == "<|system|>Be kind<|user|>Hi"


@pytest.mark.parametrize(
    ("roles", "wrong"),
    [
        (["user", "assistant", "system"], "message 3 is of the role system"),
        (["system", "system", "user"], "message 2 is of the role system"),
        (["system", "assistant"], "message 2 is of the role assistant"),
        (["user", "user"], "message 2 is of the role user"),
        (["assistant"], "message 1 is of the role assistant"),
        (["user", "tool"], "message 2 is of the role tool"),
    ],
)
def test_messages_in_another_order_are_refused(exported, roles, wrong):
    said = [{"role": role, "content": "Hi"} for role in roles]
    with pytest.raises(TemplateError, match=f"^turns alternate between user and assistant, .*: {wrong}$"):
        exported[1].apply_chat_template(said, add_generation_prompt=True)


def test_texts_survive_and_role_tokens_are_special(scratch, exported):
    ours, theirs = load_tokenizer(scratch / "tokenizer.json"), exported[1]
    for text in (*TURNS, " two  spaces ", "don't , stop"):
        assert theirs(text)["input_ids"] == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    assert set(theirs.all_special_ids) == set(ours.role_ids)
    assert theirs.decode(ours.encode_prompt(TURNS[:1]), skip_special_tokens=True) == TURNS[0]


def test_generate_gives_our_greedy_replies_on_every_machine(machine, scratch, exported):
    gpt, ours = load_gpt(scratch), load_tokenizer(scratch / "tokenizer.json")
    model, tokenizer = exported
    histories = [TURNS[:1], ("the cat",), TURNS]
    expected = ScratchModel("scratch", gpt, ours, 2048).generate([Prompt(history) for history in histories], GREEDY)
    assert all(reply.text for reply in expected)
    for history, reply in zip(histories, expected, strict=True):
        ids = tokenizer.apply_chat_template(messages(history), add_generation_prompt=True, return_tensors="pt")
        said = model.generate(**ids, max_new_tokens=16)[0, ids["input_ids"].size(1) :]
        assert cut_reply(tokenizer.decode(said, skip_special_tokens=True), True, 12).text == reply.text


def test_a_reply_ends_at_any_role_token(scratch, exported):
    ours = load_tokenizer(scratch / "tokenizer.json")
    assert exported[0].generation_config.eos_token_id[0] == ours.end_id
    assert sorted(exported[0].generation_config.eos_token_id) == sorted(ours.role_ids)


def test_a_folder_with_files_is_not_overwritten(scratch, tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileExistsError, match="name a new folder"):
        save_form(scratch_form(scratch), tmp_path)


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    """Folders of a tiny base model and of an adapter that changes it."""
    base, adapter = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("mistral")
    write_json(base / "tandem.json", vars(describe_tiny(base)))
    network = add_lora(
        load_base(base)[0], FinetuneConfig(True, None, 64, 2, 4, 0.0, "lora", "replies", "none", False, train=None)
    )
    perturb(network, 0.2, only="lora_B")
    save_adapter(adapter, network)
    write_json(adapter / "tandem.json", {"enabled": True, "description": "tiny"})
    return base, adapter


def test_the_merged_model_is_the_fine_tuned_one(finetuned, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    save_form(merged_form(*finetuned, TURNS)[0], tmp_path / "merged")
    model, tokenizer = (c.from_pretrained(tmp_path / "merged") for c in (AutoModelForCausalLM, AutoTokenizer))
    ids = torch.randint(0, 200, (1, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs, ours = model(ids).logits, load_finetuned(*finetuned)[0](ids).logits
        base = load_base(finetuned[0])[0](ids).logits
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    assert (ours - base).abs().max() > 0.01
    expected = HubModel("mistral", *load_finetuned(*finetuned), 2048).generate([Prompt(TURNS)], GREEDY)[0].text
    prompt = tokenizer.apply_chat_template(messages(TURNS), add_generation_prompt=True, return_tensors="pt")
    said = model.generate(**prompt, max_new_tokens=16)[0, prompt["input_ids"].size(1) :]
    assert cut_reply(tokenizer.decode(said, skip_special_tokens=True), True, 12).text == expected


def test_the_cost_of_the_merge_is_that_of_the_logits(finetuned):
    form, cost = merged_form(*finetuned, TURNS[:1])
    ids = torch.tensor([encode_prompt(form.tokenizer, TURNS[:1])])
    adapted, _ = load_adapted(*finetuned)
    with torch.no_grad():
        apart = float((adapted(input_ids=ids).logits - form.network(ids).logits).abs().max())
    assert 0 < cost < 1e-4 and cost == pytest.approx(apart)


def test_the_adapter_form_is_the_fine_tuned_model_on_the_base_beside_it(finetuned, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    origin = {"name": "tiny", "source": "generated", "revision": None}
    write_json(finetuned[1] / "tandem.json", {"enabled": True, "description": "tiny", "base": origin})
    save_adapter_form(*finetuned, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter/base")
    with quiet_peft():
        model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ids = torch.randint(0, 200, (1, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        due = load_finetuned(*finetuned)[0](ids).logits
        torch.testing.assert_close(model(input_ids=ids).logits, due, atol=1e-5, rtol=1e-5)


def test_a_base_model_of_the_hub_is_named_with_its_commit_and_not_copied(finetuned, tmp_path):
    origin = {"name": "a/b", "source": "https://huggingface.co/a/b", "revision": "c0ffee"}
    write_json(finetuned[1] / "tandem.json", {"enabled": True, "description": "tiny", "base": origin})
    save_adapter_form(*finetuned, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("a/b", "c0ffee")
    assert not (tmp_path / "adapter/base").exists()


def test_the_command_exports_the_model_of_the_last_run(scratch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/scratch").symlink_to(scratch)
    assert run_command(["export", "scratch", "out"]) == 0
    assert (tmp_path / "out/config.json").is_file()
    assert run_command(["export", "mistral", "out"]) == 1
    assert "dvc repro finetune_mistral" in capsys.readouterr().err
