"""The stage download_base in a folder of its own, with a local server in place of the Hugging Face hub."""

import json
import os
import subprocess
import sys

import pytest

from llm.hub.tiny import generate_tiny
from tests.model_hub import COMMIT, serve_model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A hub repository: the model, and files that are not wanted."""
    folder = tmp_path_factory.mktemp("repository")
    generate_tiny(folder)
    model = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**model, "consolidated.safetensors": b"twice", "pytorch_model.bin": b"pickle", "run.py": b"code"}


@pytest.fixture
def hub(files):
    with serve_model(files) as (hub, address):
        hub.address = address
        yield hub


@pytest.fixture
def run(tmp_path, repository, hub):
    """Runs the stage on a location; gives the finished process."""

    def run(location, revision="main", **environment):
        text = (repository / "presets" / "laptop.yaml").read_text(encoding="utf-8")
        text = text.replace("location: smollm2-135m", f"location: {location}")
        assert f"location: {location}" in text
        (tmp_path / "params.yaml").write_text(text.replace("revision: main   ", f"revision: {revision} "), "utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        own = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "PYTHONPATH": str(repository),
            "NO_PROXY": "*",
        }
        command = [sys.executable, "-m", "stages.download_base"]
        return subprocess.run(
            command, cwd=tmp_path, env={**kept, **own, **environment}, capture_output=True, text=True, timeout=240
        )

    return run


def test_a_hub_model_is_downloaded_at_its_commit_without_code_or_pickles(run, hub, files, tmp_path):
    done = run("acme/tiny")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / "base"
    unwanted = {"consolidated.safetensors", "pytorch_model.bin", "run.py"}
    assert {p.name for p in folder.iterdir()} == set(files) - unwanted | {"tandem.json"}
    assert all((folder / name).read_bytes() == files[name] for name in set(files) - unwanted)
    assert not any(path.endswith(tuple(unwanted)) for path in hub.asked)
    info = json.loads((folder / "tandem.json").read_text(encoding="utf-8"))
    assert (info["name"], info["revision"], info["licence"]) == ("acme/tiny", COMMIT, "apache-2.0")


def test_a_model_for_registered_users_asks_for_a_token_before_anything_is_downloaded(run, hub, tmp_path):
    hub.gated = True
    done = run("acme/tiny")
    assert done.returncode == 1
    assert "acme/tiny is given to registered users only" in done.stderr and "HF_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any("resolve" in path for path in hub.asked)


def test_a_token_without_access_gives_the_same_sentence_and_one_with_access_the_model(run, hub, tmp_path):
    hub.gated = True
    refused = run("acme/tiny", HF_TOKEN="hf_wrong")
    assert refused.returncode == 1 and "accept its terms" in refused.stderr and "Traceback" not in refused.stderr
    assert run("acme/tiny", HF_TOKEN="hf_right").returncode == 0


def test_an_unknown_hub_model_ends_in_one_sentence(run):
    done = run("acme/other")
    assert done.returncode == 1
    assert "acme/other at main could not be had from the hub" in done.stderr and "Traceback" not in done.stderr


def test_a_hub_that_does_not_answer_ends_in_one_sentence(run):
    done = run("acme/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "could not be had from the hub" in done.stderr and "Traceback" not in done.stderr


def test_the_generated_model_needs_no_network(run, hub, tmp_path):
    assert run("tiny", HF_HUB_OFFLINE="1").returncode == 0
    assert hub.asked == []
    info = json.loads((tmp_path / "models" / "base" / "tandem.json").read_text(encoding="utf-8"))
    assert info["stand_in"] is True and info["source"] == "generated"


def test_a_run_without_the_hub_takes_its_cached_copy_or_ends_in_one_sentence(run, hub, tmp_path):
    offline = {"HF_HUB_OFFLINE": "1", "TANDEM_FETCHED": str(tmp_path / "not fetched before")}
    refused = run("acme/tiny", **offline)
    assert refused.returncode == 1 and "the hub's cache holds no copy: unset it" in refused.stderr
    assert "Traceback" not in refused.stderr and hub.asked == []
    assert run("acme/tiny").returncode == 0
    n_asked = len(hub.asked)
    assert run("acme/tiny", **offline).returncode == 0 and len(hub.asked) == n_asked
