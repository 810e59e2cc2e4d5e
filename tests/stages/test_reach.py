import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from llm.fetching.fetched import keep
from stages.findings import Finding
from stages.reach import FINE, Answer, ask_all, ask_hub, ask_url, look_at_hub, looks, source_findings

NOWHERE = "http://127.0.0.1:9"  # the port `discard`, where nothing listens
GONE = Answer(f"no connection to {NOWHERE}/a.zip", "check network and proxy", out_of_reach=True)


class Hub(BaseHTTPRequestHandler):
    """Two models, one of them gated, a data set, and a file."""

    def do_GET(self):
        known = {"/api/models/a/open/revision/main": False, "/api/models/a/gated/revision/main": "auto"}
        known["/api/datasets/a/set/revision/main"] = False
        if self.path == "/portal/api/models/a/open/revision/main":
            body = b"<html>sign in</html>"
        elif self.path in known:
            body = json.dumps({"gated": known[self.path]}).encode()
        else:
            body = b"" if self.path == "/a.zip" else None
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@contextmanager
def served():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The address of a server that the environment names as the hub, for a user without a token."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with served() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield address


def test_a_file_is_there_missing_or_out_of_reach(hub):
    assert ask_url(f"{hub}/a.zip") == FINE
    assert ask_url(f"{hub}/b.zip").fault == f"{hub}/b.zip answers 404"
    assert ask_url(f"{NOWHERE}/a.zip").fault == f"no connection to {NOWHERE}/a.zip"


def test_a_password_in_an_address_is_not_shown(hub):
    assert "secret" not in ask_url("http://ann:secret@127.0.0.1:9/a.zip?token=secret").fault


def test_a_gated_model_asks_for_a_token(hub, monkeypatch):
    assert ask_hub("models", "a/open", "main") == FINE
    assert ask_hub("models", "a/gated", "main").fault == "a/gated is gated and no token is set"
    assert "set HF_TOKEN" in ask_hub("models", "a/gated", "main").remedy
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    assert ask_hub("models", "a/gated", "main") == FINE


def test_a_token_that_was_stored_by_a_login_counts(hub, tmp_path):
    (tmp_path / "token").write_text("hf_x\n", encoding="utf-8")
    assert ask_hub("models", "a/gated", "main") == FINE


def test_what_the_hub_does_not_have_is_named(hub):
    assert ask_hub("datasets", "a/set", "main") == FINE
    assert ask_hub("datasets", "a/set", "v2").fault == "the hub has no a/set at v2"


def test_a_sign_in_page_is_no_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{hub}/portal")
    assert "does not answer as a hub" in ask_hub("models", "a/open", "main").fault


def test_a_hub_that_may_not_be_asked_is_not(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in ask_hub("models", "a/open", "main").fault


@pytest.mark.parametrize("kind", ["datasets", "models"])
def test_a_copy_in_the_hub_s_cache_serves_where_the_hub_is_out_of_reach(hub, monkeypatch, tmp_path, kind):
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert look_at_hub(kind, "a/thing", "main").out_of_reach
    (tmp_path / f"hub/{kind}--a--thing/snapshots").mkdir(parents=True)
    assert look_at_hub(kind, "a/thing", "main") == FINE


def test_what_was_fetched_before_needs_no_network(tmp_path):
    url = f"{NOWHERE}/a.zip"
    asked = params(fallback=False)
    assert ask_all(looks(asked))["dialogue", "cornell"].out_of_reach
    keep({"url": url, "sha256": None}, lambda folder: {"bytes": (folder / "a.zip").write_bytes(b"zip")})
    keep({"hub": "a/open", "revision": "main"}, lambda folder: {})
    assert ask_all(looks(params(fallback=False, base="a/open"))) == {("dialogue", "cornell"): FINE}


def params(fallback=True, base="tiny", **cornell):
    first = {"providers": ["cornell", "chitchat"], "fallback": fallback, "cornell": {"location": f"{NOWHERE}/a.zip"}}
    return {"download": {"dialogue": first}, "base": {"location": base, "revision": "main"}}


def test_all_providers_that_may_be_asked_are_looked_at(tmp_path):
    assert set(looks(params())) == {("dialogue", "cornell"), ("dialogue", "chitchat")}
    assert set(looks(params(fallback=False, base="a/open"))) == {("dialogue", "cornell"), ("base", "a/open")}
    answers = ask_all(looks(params()))
    assert answers["dialogue", "chitchat"] == FINE
    assert answers["dialogue", "cornell"].fault.startswith("no connection")


def test_a_fallback_is_a_warning_that_names_who_serves():
    answers = {("dialogue", "cornell"): GONE, ("dialogue", "chitchat"): FINE}
    found, base = source_findings(params(), ["download@dialogue", "download_base"], answers)
    assert found == Finding("warning", f"dialogue: {GONE.fault}; chitchat will serve it", GONE.remedy)
    assert base == Finding("ok", "base model: tiny")


def test_without_a_fallback_it_is_a_problem_with_the_way_out():
    (found,) = source_findings(params(fallback=False), ["download@dialogue"], {("dialogue", "cornell"): GONE})
    assert found.mark == "problem"
    assert "set download.dialogue.fallback to true: chitchat serves it then" in found.remedy


def test_what_no_stage_is_to_fetch_is_not_asked_for():
    (found,) = source_findings(params(), ["clean"], {})
    assert found == Finding("ok", "all data and the base model are here already")


def test_no_network_is_one_line():
    answers = {("dialogue", "cornell"): GONE, ("dialogue", "chitchat"): FINE, ("base", "a/open"): GONE}
    (found,) = source_findings(params(base="a/open"), ["download@dialogue", "download_base"], answers)
    assert (found.mark, found.text) == ("problem", "no connection for dialogue (chitchat serves it), base model")
