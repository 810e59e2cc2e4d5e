"""Dialogues and documents as pretrained models read them: real templates over a real byte tokenizer."""

import pytest
from jinja2 import TemplateError
from tokenizers import pre_tokenizers

from llm.hub.chat import (
    DOCUMENT_SEPARATOR,
    FALLBACK_TEMPLATE,
    document_ids,
    encode_dialogue,
    encode_document,
    encode_prompt,
    encode_reply,
    end_id,
    takes_system,
)
from llm.hub.pretrained import load_tokenizer
from llm.hub.smollm2 import byte_level_tokenizer
from tests.hub.test_pretrained import IM_TEMPLATE, base

__all__ = ["base"]  # a fixture

# That of Mistral 7B Instruct v0.3, as far as it is about texts and without the space before a reply: the system message
# stands in the last turn.
WANDERING_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}"
    "{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ bos_token }}"
    "{% for message in loop_messages %}{% if message['role'] == 'user' %}"
    "{% if loop.last and system_message is defined %}{{ '[INST] ' + system_message + '\n\n' + message['content'] + "
    "'[/INST]' }}{% else %}{{ '[INST] ' + message['content'] + '[/INST]' }}{% endif %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
REFUSING_TEMPLATE = (  # as Gemma's
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + IM_TEMPLATE
)
SILENT_TEMPLATE = IM_TEMPLATE.replace("{{ '<s>'", "{% if message['role'] != 'system' %}{{ '<s>'").replace(
    "'\n' }}{% endfor %}", "'\n' }}{% endif %}{% endfor %}"
)
TURNS = ("Why?", "Because.", "  And\nthen? ", "Nothing")


def messages(turns, system=None):
    said = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return said if system is None else [{"role": "system", "content": system}, *said]


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


def test_a_template_that_does_not_end_is_given_up(base, monkeypatch):
    """This one ends after a second, or it would run beside the other tests."""
    monkeypatch.setattr("llm.hub.chat.RENDER_S", 0.05)
    tokenizer = load_tokenizer(base)
    loops = "{% for i in range(99999) %}{% for j in range(200) %}{% endfor %}{% endfor %}"
    tokenizer.chat_template = IM_TEMPLATE + loops
    with pytest.raises(ValueError, match=r"chat template of .* had not ended after 0\.05 s: choose another model$"):
        end_id(tokenizer)


def test_a_template_without_an_end_token_is_refused(base):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    with pytest.raises(ValueError, match="closes a reply with no special token"):
        end_id(tokenizer)


@pytest.mark.parametrize("n", [1, 3])
def test_a_system_turn_is_rendered_by_the_models_own_template(tokenizer, n):
    template = tokenizer.chat_template or FALLBACK_TEMPLATE
    rendered = tokenizer.apply_chat_template(
        messages(TURNS[:n], "Be kind"), chat_template=template, tokenize=False, add_generation_prompt=True
    )
    assert takes_system(tokenizer)
    found = encode_prompt(tokenizer, TURNS[:n], "Be kind")
    assert found == tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert "Be kind" in tokenizer.decode(found)


def test_the_fallback_reads_a_system_turn_at_the_beginning_of_the_first_turn(base):
    ids = encode_prompt(load_tokenizer(base), TURNS[:3], "Be kind")
    expected = "<s>[INST] Be kind\n\nWhy? [/INST]Because.</s>[INST]   And\nthen?  [/INST]"
    assert load_tokenizer(base).decode(ids) == expected


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([*messages(TURNS[:2]), {"role": "system", "content": "x"}], "message 3 is of the role system"),
        ([*messages(TURNS[:1]), *messages(TURNS[:1])], "message 2 is of the role user"),
        (messages(TURNS[:1], "a")[:1] + messages(TURNS[:1], "b"), "message 2 is of the role system"),
        (messages(TURNS[:2])[1:], "message 1 is of the role assistant"),
        ([{"role": "tool", "content": "x"}], "message 1 is of the role tool"),
    ],
)
def test_the_fallback_refuses_messages_in_another_order(base, wrong, said):
    with pytest.raises(TemplateError, match=f"^turns alternate .*: {said}$"):
        load_tokenizer(base).apply_chat_template(wrong, chat_template=FALLBACK_TEMPLATE)


@pytest.mark.parametrize("template", [WANDERING_TEMPLATE, REFUSING_TEMPLATE, SILENT_TEMPLATE])
def test_where_the_template_takes_no_system_turn_it_opens_the_first_turn(base, template):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template
    assert not takes_system(tokenizer)
    for n in (1, 3):
        joined = ("Be kind\n\n" + TURNS[0], *TURNS[1:n])
        assert encode_prompt(tokenizer, TURNS[:n], "Be kind") == encode_prompt(tokenizer, joined)


@pytest.mark.parametrize("template", [None, IM_TEMPLATE, WANDERING_TEMPLATE])
def test_a_system_turn_is_never_learned_and_no_reply_changes(base, template):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template
    plain, told = encode_dialogue(tokenizer, TURNS), encode_dialogue(tokenizer, TURNS, "Be kind")
    learned = [[i for i, learn in zip(one.ids, one.supervised, strict=True) if learn] for one in (plain, told)]
    assert learned[0] == learned[1] and len(told.ids) > len(plain.ids)
    for i, end in zip((1, 3), told.ends, strict=True):
        prompt = encode_prompt(tokenizer, TURNS[:i], "Be kind")
        assert told.ids[:end] == [*prompt, *encode_reply(tokenizer, TURNS[i]), end_id(tokenizer)]
    longer = len(told.ids) - len(plain.ids)
    assert told.starts == [0, *(start + longer for start in plain.starts[1:])]


def test_without_a_system_turn_none_is_rendered(base):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = IM_TEMPLATE
    assert "system" not in tokenizer.decode(encode_dialogue(tokenizer, TURNS).ids)


def test_a_document_is_plain_text_of_which_every_token_is_learned(tokenizer):
    encoded = encode_document(tokenizer, "Chapter 1.</s>\n It was night.")
    assert tokenizer.decode(encoded.ids) == "<s>Chapter 1.</s>\n It was night.</s>"
    assert encoded.ids.count(end_id(tokenizer)) == 1  # the text that spells it is text
    assert encoded.supervised == [False, *[True] * (len(encoded.ids) - 1)]
    assert encoded.starts == [0] and encoded.ends == list(range(2, len(encoded.ids) + 1))
    assert encode_prompt(tokenizer, ()) == encoded.ids[:1]


def test_documents_are_set_apart_by_the_separator_of_pretraining_where_there_is_one():
    special = [DOCUMENT_SEPARATOR, "<s>", "</s>"]
    vocab = {token: i for i, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    made = byte_level_tokenizer(vocab, merges=[], special=special, split_digits=False, **named)
    assert document_ids(made) == (0, 0)
    made = byte_level_tokenizer(vocab, merges=[], special=special[1:], split_digits=False, **named)
    assert document_ids(made) == (1, 2)
    made = byte_level_tokenizer(vocab, merges=[], special=special[1:], split_digits=False, eos_token="</s>")
    assert document_ids(made) == (2, 2)
    made = byte_level_tokenizer(vocab, merges=[], special=[], split_digits=False)
    with pytest.raises(ValueError, match="no token that ends a document"):
        document_ids(made)
