import json
import math
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from llm.app.catalogue import list_models, watch_models
from llm.app.limits import MAX_BODY, MAX_CHARS
from llm.dialogue import Prompt
from tests.app.served import events, send_raw, serving, wait_until
from tests.app.small_project import write_base, write_scratch
from tests.app.test_batch import GREEDY, evaluation_model

ASKED = [{"role": "user", "content": "What is a word?"}]


def reply(url, **body):
    """The tokens of a reply and its last event."""
    found = requests.post(f"{url}/api/reply", json={"model": "scratch", "messages": ASKED, **body}, timeout=30)
    assert found.status_code == 200, found.text
    *tokens, last = events(found.text)
    return tokens, last


def test_the_models_are_listed_under_their_real_names(url):
    found = requests.get(f"{url}/api/models", timeout=9).json()
    scratch, base = found["models"]
    assert scratch["name"] == "scratch" and scratch["title"].endswith("trained here from scratch")
    assert base["title"].startswith("tiny Mistral of random weights (0M parameters, a stand-in for Mistral 7B)")
    assert (scratch["context_length"], base["context_length"]) == (32, 2048)
    assert 0 < scratch["temperature"] <= 2 and 0 < scratch["top_p"] <= 1
    assert "What is overfitting?" in found["prompts"]


@pytest.mark.parametrize("name", ["scratch", "base"])
def test_the_greedy_reply_is_that_of_the_evaluation(models, request, url, name):
    tokens, last = reply(url, model=name, temperature=0, max_tokens=10)
    (expected,) = evaluation_model(models, name).generate([Prompt((ASKED[0]["content"],))], GREEDY)
    text = request.getfixturevalue(name).texts.decode([token["token"] for token in tokens]).strip()
    assert expected.text.startswith(text) and len(text) > 3
    assert text.startswith("".join(token["text"] for token in tokens).strip())
    assert last["done"] and last["tokens"] == len(tokens)
    assert last["reason"] == ("length" if len(tokens) == 10 else "end")


def test_each_token_comes_with_its_likeliest_alternatives(url):
    tokens, _ = reply(url, temperature=0, max_tokens=5)
    for token in tokens:
        logprobs = [one["logprob"] for one in token["alternatives"]]
        assert len(logprobs) == 10 and logprobs == sorted(logprobs, reverse=True)
        assert token["alternatives"][0]["token"] == token["token"]
        assert token["logprob"] == pytest.approx(logprobs[0])


def test_the_same_seed_gives_the_same_reply_and_the_seed_of_any_is_told(url):
    first, last = reply(url, temperature=1.5, max_tokens=30)
    assert reply(url, temperature=1.5, max_tokens=30, seed=last["seed"])[0] == first
    assert len({json.dumps(reply(url, temperature=1.5, max_tokens=30)[0]) for _ in range(4)}) > 1


def test_a_branch_sends_only_what_comes_behind_its_prefix(url):
    whole, _ = reply(url, temperature=1, seed=3, max_tokens=12)
    ids = [token["token"] for token in whole]
    assert len(ids) == 12
    branch, _ = reply(url, temperature=1, seed=3, max_tokens=8, prefix=ids[:4])
    assert [token["token"] for token in branch] == ids[4:]


def test_what_comes_next_has_the_sums_that_other_temperatures_need(url):
    body = {"model": "scratch", "messages": ASKED, "n": 300}
    found = requests.post(f"{url}/api/next", json=body | {"n": 200}, timeout=9).json()
    logprobs = [one["logprob"] for one in found["alternatives"]]
    assert len(logprobs) == 200 and logprobs == sorted(logprobs, reverse=True)
    sums = dict(zip(found["temperatures"], found["log_sums"], strict=True))
    assert list(sums) == pytest.approx([i / 10 for i in range(1, 21)])
    assert sums[1.0] == pytest.approx(0, abs=1e-5)
    listed = math.log(sum(math.exp(p / 0.5) for p in logprobs))
    assert listed <= sums[0.5] <= listed + 0.01  # the other hundred are unlikely
    assert requests.post(f"{url}/api/next", json=body, timeout=9).status_code == 422


def test_requests_at_once_are_answered_as_alone(url):
    def ask(i):
        return reply(url, messages=[{"role": "user", "content": f"Why {i}?"}], seed=i, max_tokens=30, temperature=1)[0]

    alone = [ask(i) for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(ask, range(12)))
    assert [[t["token"] for t in one] for one in together] == [[t["token"] for t in one] for one in alone]


@pytest.mark.parametrize("name", ["scratch", "base"])
def test_what_would_end_the_reply_is_marked(url, request, name):
    body = {"model": name, "messages": ASKED, "n": 200, "prefix": [70]}
    found = requests.post(f"{url}/api/next", json=body, timeout=9).json()["alternatives"]
    stop = set(request.getfixturevalue(name).stops(Prompt((ASKED[0]["content"],))))
    listed = {one["token"] for one in found}
    assert {one["token"] for one in found if one["ends"]} == stop & listed
    tokens, _ = reply(url, model=name, max_tokens=20)
    assert all(one["ends"] == (one["token"] in stop) for token in tokens for one in token["alternatives"])


def test_a_model_that_is_made_while_the_server_runs_is_listed(static, tmp_path):
    write_scratch(tmp_path / "scratch")
    with serving(watch_models(tmp_path), static) as (served, port):
        address = f"http://127.0.0.1:{port}/api"
        reply(address.removesuffix("/api"), max_tokens=1)
        loaded = served.workers["scratch"]
        write_base(tmp_path / "base")
        found = requests.get(f"{address}/models", timeout=9).json()["models"]
        assert [one["name"] for one in found] == ["scratch", "base"]
        assert reply(address.removesuffix("/api"), model="base", max_tokens=2)[0]
        assert served.workers["scratch"] is loaded


@pytest.mark.parametrize(
    ("changed", "status", "line"),
    [
        ({"model": "gpt"}, 404, "there is no model 'gpt': scratch, base"),
        ({"messages": []}, 422, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 422, "messages.0.role: Input should be"),
        ({"messages": [{"role": "user", "content": "x" * (MAX_CHARS + 1)}]}, 422, "at most 10000 characters"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 422, "the first and the last message"),
        ({"temperature": 9}, 422, "temperature: Input should be less than or equal to 2"),
        ({"temperature": "NaN"}, 422, "temperature"),
        ({"max_tokens": 100_000}, 422, "max_tokens"),
        ({"prefix": [5000]}, 422, "no reply of scratch can hold the token 5000"),
    ],
)
def test_what_is_wrong_is_told_as_json(url, changed, status, line):
    found = requests.post(f"{url}/api/reply", json={"model": "scratch", "messages": ASKED, **changed}, timeout=9)
    assert found.status_code == status
    assert line in found.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/api/reply", 405), ("GET", "/docs", 404)]
)
def test_other_addresses_are_answered_as_json_too(url, method, path, status):
    found = requests.request(method, url + path, timeout=9)
    assert found.status_code == status and found.json()["error"]


def test_a_body_that_is_no_json_is_refused(url):
    found = requests.post(f"{url}/api/next", data="{", headers={"content-type": "application/json"}, timeout=9)
    assert found.status_code == 422 and "JSON" in found.json()["error"]


def test_the_page_and_its_files_come_with_a_policy_that_allows_nothing_from_elsewhere(url):
    page = requests.get(url, timeout=9)
    assert "<title>page</title>" in page.text and page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert page.headers["x-content-type-options"] == "nosniff"
    script = requests.get(f"{url}/static/page.js", timeout=9)
    assert script.text == "'use strict'" and "javascript" in script.headers["content-type"]


@pytest.mark.parametrize("path", ["/static/../secret.txt", "/static/%2e%2e/secret.txt", "/static/link.txt", "/static/"])
def test_no_other_file_is_served(server, path):
    found = send_raw(server[1], f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert found.startswith("HTTP/1.1 404") and "secret" not in found.partition("\r\n\r\n")[2]


def head(length):
    return f"POST /api/next HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()


def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(server):
    found = send_raw(server[1], head(f"Content-Length: {MAX_BODY + 1}\r\nConnection: close"))
    assert found.startswith("HTTP/1.1 413") and "1,048,576 bytes" in found


def test_a_body_that_announces_nothing_is_read_no_further_than_the_limit(server):
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    found = send_raw(server[1], head("Transfer-Encoding: chunked\r\nConnection: close") + chunk * 17 + b"0\r\n\r\n")
    assert found.startswith("HTTP/1.1 413") and "1,048,576 bytes" in found


def test_a_page_of_another_site_can_ask_nothing(url):
    body = {"model": "scratch", "messages": ASKED}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        found = requests.post(f"{url}/api/reply", json=body, headers={"origin": origin}, timeout=9)
        assert found.status_code == 403 and "are refused" in found.json()["error"]
    found = requests.post(f"{url}/api/next", json=body, headers={"origin": url}, timeout=9)
    assert found.status_code == 200
    found = requests.get(f"{url}/api/models", headers={"host": "evil.example"}, timeout=9)
    assert found.status_code == 403 and "this server is not 'evil.example'" in found.json()["error"]


def test_who_comes_when_too_many_wait_is_told_when_to_come_again(url, monkeypatch):
    monkeypatch.setattr("llm.app.worker.MAX_WAITING", 0)
    body = {"model": "scratch", "messages": ASKED}
    found = requests.post(f"{url}/api/reply", json=body, timeout=9)
    assert found.status_code == 503 and found.headers["retry-after"] == "5"
    assert found.json()["error"] == "too many requests are waiting: try again in 5 s"


def test_a_client_that_goes_gives_up_its_place(server):
    served, port = server
    body = json.dumps({"model": "base", "messages": ASKED, "max_tokens": 1024, "temperature": 2}).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            f"POST /api/reply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        connection.recv(100)
        wait_until(lambda: len(served.workers["base"].running) == 1)
    wait_until(lambda: len(served.workers["base"].running) == 0, timeout_s=3)


def test_a_model_that_cannot_be_loaded_says_why(models, static, tmp_path):
    write_scratch(tmp_path / "scratch")
    listed = list_models(tmp_path)
    (tmp_path / "scratch/tokenizer.json").unlink()
    with serving(lambda: listed, static) as (_, port):
        body = {"model": "scratch", "messages": ASKED}
        found = requests.post(f"http://127.0.0.1:{port}/api/reply", json=body, timeout=9)
    assert found.status_code == 503
    assert "the model cannot be loaded" in found.json()["error"] and "run `dvc repro tokenize`" in found.json()["error"]
