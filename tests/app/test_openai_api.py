import openai
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from llm.app.stop_text import StopText
from llm.dialogue import Prompt
from tests.app.served import events

ASKED = [{"role": "user", "content": "What is a word?"}]


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["scratch", "base"]
    assert client.models.retrieve("base").id == "base"


def test_a_chat_is_answered_with_what_it_took(client, scratch):
    found = client.chat.completions.create(model="scratch", messages=ASKED, max_tokens=7, seed=2, temperature=1)
    (choice,) = found.choices
    assert choice.message.role == "assistant" and choice.finish_reason == "length"
    assert found.usage.completion_tokens == 7
    assert found.usage.prompt_tokens == len(scratch.encode(Prompt((ASKED[0]["content"],))))
    again = client.chat.completions.create(model="scratch", messages=ASKED, max_tokens=7, seed=2, temperature=1)
    assert again.choices[0].message.content == choice.message.content


def test_a_stream_is_the_same_reply_in_pieces(client):
    how = {"model": "base", "messages": ASKED, "max_tokens": 20, "seed": 2, "temperature": 1}
    whole = client.chat.completions.create(**how)
    *chunks, last = client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True})
    text = "".join(chunk.choices[0].delta.content for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices == [] and last.usage == whole.usage


def test_a_stream_ends_with_the_word_that_clients_wait_for(url):
    body = {"model": "scratch", "messages": ASKED, "max_tokens": 2, "stream": True}
    assert events(requests.post(f"{url}/v1/chat/completions", json=body, timeout=9).text)[-1] == "[DONE]"


def test_log_probabilities_come_with_as_many_others_as_are_asked_for(client):
    found = client.chat.completions.create(
        model="base", messages=ASKED, max_tokens=4, temperature=0, logprobs=True, top_logprobs=12
    )
    content = found.choices[0].logprobs.content
    assert len(content) == 4
    for token in content:
        assert len(token.top_logprobs) == 12
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)
    assert client.chat.completions.create(model="base", messages=ASKED, max_tokens=1).choices[0].logprobs is None


def test_pieces_of_a_message_and_a_developer_are_understood(client):
    said = [
        {"role": "developer", "content": "Be kind"},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
    ]
    plain = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Why?"}]
    texts = [
        client.chat.completions.create(model="base", messages=one, max_completion_tokens=9, seed=1)
        for one in (said, plain)
    ]
    assert texts[0].choices[0].message.content == texts[1].choices[0].message.content
    assert texts[0].usage.completion_tokens <= 9


def test_a_stop_ends_the_reply_before_it(client):
    how = {"model": "base", "messages": ASKED, "max_tokens": 40, "seed": 5, "temperature": 1}
    whole = client.chat.completions.create(**how).choices[0].message.content
    stop = whole[6:8]
    found = client.chat.completions.create(**how, stop=[stop, "never said"]).choices[0]
    assert found.message.content == whole[: whole.index(stop)] and found.finish_reason == "stop"
    pieces = client.chat.completions.create(**how, stop=stop, stream=True)
    assert "".join(piece.choices[0].delta.content for piece in pieces) == found.message.content


def test_a_text_is_gone_on_with(client):
    found = client.completions.create(model="base", prompt="What is", max_tokens=5, seed=1, logprobs=3)
    (choice,) = found.choices
    assert found.object == "text_completion" and len(choice.logprobs.tokens) == 5
    assert all(len(one) <= 3 for one in choice.logprobs.top_logprobs)
    assert choice.logprobs.text_offset[0] == 0
    pieces = client.completions.create(model="base", prompt=["What is"], max_tokens=5, seed=1, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == choice.text


@pytest.mark.parametrize(
    "changed",
    [
        {"n": 2}, {"presence_penalty": 1}, {"max_tokens": 10**6}, {"top_logprobs": 21}, {"stop": ["a"] * 5},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_what_there_is_not_is_refused_in_their_form(client, changed):
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model="scratch", messages=ASKED, **changed)
    assert next(iter(changed)) in refused.value.body["message"]


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-9': scratch, base"):
        client.chat.completions.create(model="gpt-9", messages=ASKED)


@given(st.lists(st.text("ab", max_size=3), max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), max_size=2))
def test_the_pieces_are_the_text_up_to_the_first_stop(pieces, stops):
    text = StopText(stops)
    shown = "".join(map(text.feed, pieces)) + text.rest()
    whole = "".join(pieces)
    ends = [whole.index(stop) for stop in stops if stop in whole]
    if not ends:
        assert shown == whole and not text.found
    else:
        assert text.found and shown == whole[: len(shown)] and not any(stop in shown for stop in stops)
