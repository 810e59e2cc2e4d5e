import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.app.batch import Step
from llm.app.streamed_reply import TextStream, make_prompt, new_seed, start_reply, stream_reply
from llm.dialogue import Prompt
from llm.inference.decoding import Decoding
from llm.inference.replies import HALF
from tests.app.small_project import TEXTS
from tests.app.test_batch import DRAWN, GREEDY, PROMPTS, evaluation_model

shared = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", ["scratch", "base"])
@given(ids=st.lists(st.integers(5, 257), max_size=30))
@shared
def test_the_pieces_are_the_text_of_all_tokens_but_for_an_unfinished_character(request, name, ids):
    speaker = request.getfixturevalue(name)
    stream = TextStream(speaker)
    shown = "".join(map(stream.feed, ids))
    whole = speaker.texts.decode(ids)
    assert whole.startswith(shown) and whole[len(shown) :].strip(HALF) == ""


def test_a_character_comes_when_it_is_whole(scratch):
    ids = scratch.encode(Prompt(("☃é",)))[1:-1]
    assert len(ids) > 2
    pieces = list(map(TextStream(scratch).feed, ids))
    assert "".join(pieces) == "☃é" and HALF not in "".join(pieces)


def test_the_text_goes_on_behind_a_prefix(scratch):
    ids = scratch.encode(Prompt((TEXTS[0],)))[1:-1]
    stream = TextStream(scratch, ids[:4])
    assert "".join(map(stream.feed, ids[4:])) == scratch.texts.decode(ids)[len(scratch.texts.decode(ids[:4])) :]


@pytest.mark.parametrize("name", ["scratch", "base"])
@pytest.mark.parametrize("max_bytes", [1, 8, 60, 200])
def test_the_streamed_text_is_the_reply_of_the_evaluation(models, request, name, max_bytes):
    for how in (GREEDY, DRAWN):
        how = Decoding(max_bytes, how.temperature, how.top_k, how.top_p, how.repetition_penalty, how.seed)
        expected = evaluation_model(models, name).generate(PROMPTS, how)
        for prompt, reply in zip(PROMPTS, expected, strict=True):
            text = "".join(token.text for token in stream_reply(request.getfixturevalue(name), prompt, how))
            assert text.strip().rstrip(HALF).rstrip() == reply.text.rstrip(HALF).rstrip()


def test_the_token_that_ends_a_reply_has_no_text(scratch):
    reply = start_reply(scratch, PROMPTS[0], GREEDY, 9)
    reply.slot.draft.add(2, scratch.texts, 99)
    assert reply.show(Step(2, -0.1, ((2, -0.1),)), 1) is None
    assert reply.reason == "end"


def test_an_alternative_that_would_end_the_reply_is_named(scratch, base):
    assert scratch.spell(2) == "<|end|>" and base.spell(1) == "</s>"
    assert scratch.spell(scratch.encode(Prompt(("a",)))[1]) == "a"


def test_a_system_message_and_turns_become_a_prompt():
    messages = [("system", "Be kind"), ("user", "Hi"), ("user", "there"), ("assistant", "Yes?"), ("user", "Why?")]
    assert make_prompt(messages) == Prompt(("Hi\nthere", "Yes?", "Why?"), "Be kind")


@pytest.mark.parametrize(
    ("messages", "line"),
    [
        ([], "the first and the last message have to be the user's"),
        ([("system", "a")], "the first and the last"),
        ([("assistant", "a"), ("user", "b")], "the first and the last"),
        ([("user", "a"), ("assistant", "b")], "the first and the last"),
        ([("user", "a"), ("system", "b"), ("user", "c")], "one system message may stand first"),
        ([("user", " \n")], "the last message is empty"),
    ],
)
def test_messages_in_another_order_are_refused(messages, line):
    with pytest.raises(ValueError, match=line):
        make_prompt(messages)


def test_seeds_that_nobody_names_differ():
    assert len({new_seed() for _ in range(9)}) == 9


def test_a_long_conversation_is_cut_from_the_left_to_what_the_model_holds(scratch):
    turns = tuple(f"turn {i}" for i in range(41))
    ids = scratch.encode(Prompt(turns))
    assert len(ids) <= 24 and "turn 40" in scratch.texts.decode(ids) and "turn 1 " not in scratch.texts.decode(ids)
