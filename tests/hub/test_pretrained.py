import json

import pytest
import torch

from llm.hub.info import read_info
from llm.hub.pretrained import (
    FALLBACK_TEMPLATE,
    encode_dialogue,
    encode_prompt,
    encode_reply,
    end_id,
    load_base,
    load_finetuned,
    load_tokenizer,
)
from llm.hub.tiny import generate_tiny

IM_TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
SYSTEM = "{% if loop.first and messages[0]['role'] != 'system' %}{{ 'Be helpful' }}{% endif %}"
TURNS = ("Why?", "Because.", "  And\nthen? ", "Nothing")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    folder.mkdir()
    generate_tiny(folder)
    (folder / "tandem.json").write_text(json.dumps({"name": "tiny"}), encoding="utf-8")
    return folder


@pytest.fixture(params=["fallback", "own"])
def tokenizer(base, request):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = IM_TEMPLATE if request.param == "own" else None
    return tokenizer


def test_the_fallback_is_the_form_of_mistral(base):
    tokenizer = load_tokenizer(base)
    ids = encode_prompt(tokenizer, TURNS[:3])
    assert tokenizer.decode(ids) == "<s>[INST] Why? [/INST]Because.</s>[INST]   And\nthen?  [/INST]"


def test_a_models_own_template_is_used(base):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = IM_TEMPLATE
    ids = encode_prompt(tokenizer, TURNS[:1])
    assert tokenizer.decode(ids) == "<s>user\nWhy?</s>\n<s>assistant\n"


def test_a_prompt_equals_the_rendered_template_tokenised_at_once(tokenizer):
    template = tokenizer.chat_template or FALLBACK_TEMPLATE
    messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(TURNS[:3])]
    rendered = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    assert encode_prompt(tokenizer, TURNS[:3]) == tokenizer(rendered, add_special_tokens=False)["input_ids"]


def test_every_reply_of_a_dialogue_follows_the_prompt_that_scoring_uses(tokenizer):
    encoded = encode_dialogue(tokenizer, TURNS)
    for i, end in zip((1, 3), encoded.ends, strict=True):
        expected = [*encode_prompt(tokenizer, TURNS[:i]), *encode_reply(tokenizer, TURNS[i]), end_id(tokenizer)]
        assert encoded.ids[:end] == expected


def test_only_replies_and_their_end_tokens_are_supervised(tokenizer):
    encoded = encode_dialogue(tokenizer, TURNS)
    learned = [i for i, learn in zip(encoded.ids, encoded.supervised, strict=True) if learn]
    assert tokenizer.decode(learned) == "Because.</s>Nothing</s>"
    assert len(encoded.ids) == len(encoded.supervised) == encoded.ends[-1]


def test_a_template_is_rendered_once_for_all_dialogues_of_as_many_turns(tokenizer, monkeypatch):
    render, rendered = tokenizer.apply_chat_template, []

    def count(messages, **options):
        rendered.append(len(messages))
        return render(messages, **options)

    monkeypatch.setattr(tokenizer, "apply_chat_template", count)
    for i in range(30):
        encode_dialogue(tokenizer, TURNS[: 2 + 2 * (i % 2)] if i else TURNS)
        encode_prompt(tokenizer, TURNS[:1])
    assert sorted(rendered) == [1, 2, 4]  # the prompt; dialogues of two turns, whose end is every reply's; and of four


def test_a_changed_template_is_rendered_anew(tokenizer):
    before = encode_prompt(tokenizer, TURNS[:1])
    tokenizer.chat_template = (tokenizer.chat_template or FALLBACK_TEMPLATE) + "!"
    assert encode_prompt(tokenizer, TURNS[:1]) == [*before, *encode_reply(tokenizer, "!")]


def test_a_turn_starts_with_what_opens_it(tokenizer):
    encoded = encode_dialogue(tokenizer, TURNS)
    pieces = [encoded.ids[a:b] for a, b in zip(encoded.starts, [*encoded.starts[1:], None], strict=True)]
    assert encoded.starts[0] == 0 and sum(map(len, pieces)) == len(encoded.ids)
    assert all(turn.strip() in tokenizer.decode(piece) for turn, piece in zip(TURNS, pieces, strict=True))


def test_a_last_turn_of_the_user_is_left_out(tokenizer):
    assert encode_dialogue(tokenizer, TURNS[:3]) == encode_dialogue(tokenizer, TURNS[:2])


def test_text_that_spells_a_special_token_is_text(tokenizer):
    ids = encode_reply(tokenizer, "a</s>b")
    assert end_id(tokenizer) not in ids and tokenizer.decode(ids) == "a</s>b"
    plain, spelled = (encode_prompt(tokenizer, (text,)) for text in ("ab", "a</s>b"))
    assert plain.count(end_id(tokenizer)) == spelled.count(end_id(tokenizer))


def test_a_template_that_drops_a_turn_is_refused(base):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{{ messages[-1]['content'] }}</s>"
    with pytest.raises(ValueError, match="leaves out turn 0 of 2"):
        encode_dialogue(tokenizer, TURNS[:2])


def test_a_template_without_an_end_token_is_refused(base):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    with pytest.raises(ValueError, match="closes a reply with no special token"):
        end_id(tokenizer)


def test_a_default_system_prompt_is_left_out(base, tmp_path):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = IM_TEMPLATE.replace(
        "{% for message in messages %}", "{% for message in messages %}" + SYSTEM
    )
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).chat_template == IM_TEMPLATE


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


def test_4_bit_weights_are_refused_on_a_cpu(base):
    with pytest.raises(ValueError, match="nf4, which trains on CUDA only, and the device is cpu"):
        load_base(base, quantize="nf4")


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
