"""Inputs of every kind, a few of each: read, or refused in a line of the project's own."""

import json
import random
import socket
from collections.abc import Iterator
from functools import partial
from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.app.answers import failure_json
from llm.app.catalogue import find_model
from llm.failures import describe_error
from tests.evaluation.test_kept_outputs import OUTPUTS
from tests.fuzz import web
from tests.fuzz.edits import edited
from tests.fuzz.harness import Finding, check
from tests.fuzz.harnesses import NAMES, PLACES, find_harness
from tests.fuzz.models import found_state, hub_copy, hub_folder, kept_seeds, loaded_outputs, state_seeds
from tests.fuzz.web import REQUESTS, answered, as_it_answers, body_seeds, close, raw_request, sent

SLOW = {"gguf": 4, "hub_tokenizer": 6, "hub_config": 6, "hub_weights": 6, "params": 12, "body": 12, "request": 12}
EXAMPLES = 20
REFUSED = {"zip": 2, "wheel": 1, "response": 7}  # seeds that are to be refused; all others are whole
SETTINGS = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck], report_multiple_bugs=False
)


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    yield
    close()


@pytest.mark.parametrize("name", NAMES)
def test_whole_inputs_are_read(name: str) -> None:
    harness = find_harness(name)
    refused = [seed for seed in harness.seeds() if not check(harness.read, seed)]
    assert len(refused) == REFUSED.get(name, 0)


@pytest.mark.parametrize("data", body_seeds())
def test_whole_bodies_are_answered(data: bytes) -> None:
    assert answered(data).status_code == 200


def test_requests_are_answered_as_they_should_be() -> None:
    assert [sent(data).partition(b"\r\n")[0].split(b" ")[1:2] for data in REQUESTS] == [
        [b"200"], [b"404"], [b"422"], [b"422"], [b"200"],
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_the_chat_refuses_a_damaged_folder_in_a_line_of_the_project(name: str) -> None:
    whole = (hub_folder() / name).read_bytes()
    with hub_copy(name, whole[:-5]) as folder:
        check(partial(lambda at, _: print(find_model(at)), str(folder)), b"")


@pytest.mark.parametrize("data", [one for one in state_seeds() if b"{}" not in one])
def test_whole_states_are_found(data: bytes) -> None:
    assert found_state(data) is not None


@pytest.mark.parametrize("data", kept_seeds())
def test_whole_kept_outputs_are_loaded(data: bytes) -> None:
    assert loaded_outputs(data) == OUTPUTS


def test_a_defect_in_the_middle_of_an_answer_is_a_finding() -> None:
    failed = f'data: {{"x": 1}}\n\ndata: {json.dumps(failure_json("/v1/", 500, "a defect"))}\n\n'
    for status, text in ((200, failed), (500, "too many requests are waiting"), (503, "no model"), (422, "a\x9b2Jb")):
        with pytest.raises(Finding):
            as_it_answers(status, text)
    as_it_answers(503, '{"error": "too many requests are waiting: try again in 5 s"}')
    as_it_answers(200, 'data: {"x": 1}\n\ndata: [DONE]\n\n')


def test_a_server_that_answers_nothing_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(web, "api_port", lambda: silent.getsockname()[1])
        monkeypatch.setattr(web, "TIMEOUT_S", 0.1)
        with pytest.raises(Finding, match="neither answers nor ends"):
            sent(b"GET / HTTP/1.1\r\n\r\n")


def test_a_second_defect_of_a_connection_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 Internal Server Error\r\n\r\n"
    monkeypatch.setattr(web, "sent", lambda _: both)
    with pytest.raises(Finding, match="500"):
        raw_request(b"")


def test_every_harness_has_its_place() -> None:
    assert {place: {*import_module(place).HARNESSES} for place in PLACES} == {p: {*n} for p, n in PLACES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_are_read_or_refused_in_a_line_of_the_project(name: str) -> None:
    harness = find_harness(name)
    seeds = harness.seeds()
    changed = st.builds(lambda seed: edited(seeds, random.Random(seed)), st.integers(0, 2**32))

    @settings(SETTINGS, max_examples=SLOW.get(name, EXAMPLES))
    @given(st.one_of(changed, changed, st.binary(max_size=60)))
    def hold(data: bytes) -> None:
        check(harness.read, data)

    hold()


def test_a_long_name_in_a_file_leaves_the_advice_in_the_line() -> None:
    row = json.dumps({"a" * 5000: "x", "b": "y"}) + "\n"
    with pytest.raises(ValueError, match="name them by columns") as refused:
        find_harness("jsonl").read(row.encode() * 3)
    assert "name them by columns" in describe_error(refused.value)
