"""A trained model published: to a stand-in of the hub, by the command, as its users run it."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from llm.files import write_json
from tests.app.test_model_card import finetuned, project
from tests.upload_server import serve_uploads

__all__ = ["finetuned", "project"]  # fixtures
TOKEN = "hf_of_the_tests"


def publish(project, repository, *words, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "PYTHONPATH": str(repository),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(project / "hub"),
    } | variables
    return subprocess.run(
        [sys.executable, "-m", "llm", "publish", *words], cwd=project, env=environment, capture_output=True, text=True
    )


def test_without_a_token_it_says_what_it_would_send_and_sends_nothing(project, repository):
    with serve_uploads(TOKEN) as uploads:
        done = publish(project, repository, "scratch", "me/small", HF_ENDPOINT=uploads.address)
    assert (done.returncode, uploads.requests) == (0, []), done.stderr
    assert "would be sent to the public repository me/small" in done.stdout
    assert "model.safetensors" in done.stdout and "bytes in all" in done.stdout
    assert "# Tandem scratch" in done.stdout
    assert done.stdout.endswith("nothing was sent: the environment variable HF_TOKEN is not set\n")


def test_with_a_token_the_repository_is_made_and_holds_the_model_and_nothing_else(project, repository):
    with serve_uploads(TOKEN) as uploads:
        words = ("scratch", "me/small", "--private")
        done = publish(project, repository, *words, HF_ENDPOINT=uploads.address, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{uploads.address}/me/small holds scratch\n"
    assert [(asked["organization"], asked["name"], asked["visibility"]) for asked in uploads.made] == [
        ("me", "small", "private")
    ]
    names = {name.removeprefix("me/small/") for name in uploads.files}
    assert names == {
        *("README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert uploads.files["me/small/README.md"].startswith(b"---\n")


def test_an_adapter_is_sent_with_the_base_model_it_belongs_to(project, repository):
    with serve_uploads(TOKEN) as uploads:
        done = publish(project, repository, "adapter", "me/a", HF_ENDPOINT=uploads.address, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    names = {name.removeprefix("me/a/") for name in uploads.files}
    assert {"adapter_config.json", "adapter_model.safetensors", "base/model.safetensors", "README.md"} <= names


def test_a_token_that_may_not_write_is_one_line(project, repository):
    with serve_uploads(TOKEN) as uploads:
        done = publish(project, repository, "scratch", "me/small", HF_ENDPOINT=uploads.address, HF_TOKEN="hf_other")
    assert (done.returncode, uploads.files) == (1, {})
    (line,) = done.stderr.splitlines()
    assert line.startswith("me/small was not published (") and "see that HF_TOKEN may write to it" in line
    assert "hf_other" not in line


@pytest.mark.parametrize("provider", ["local", "hub"])
def test_a_model_of_ones_own_data_is_refused_whatever_the_token(project, repository, provider, tmp_path):
    data = json.loads((project / "metrics/data.json").read_text(encoding="utf-8"))
    data["provenance"]["eli5"]["served"][0]["provider"] = provider
    own = tmp_path / "own"
    shutil.copytree(project, own, symlinks=True)
    write_json(own / "metrics/data.json", data)
    with serve_uploads(TOKEN) as uploads:
        done = publish(own, repository, "scratch", "me/small", HF_ENDPOINT=uploads.address, HF_TOKEN=TOKEN)
    assert (done.returncode, uploads.requests) == (1, [])
    (line,) = done.stderr.splitlines()
    assert line.startswith("scratch is not published: it learned from your own data (eli5), which a model can repeat")


def test_a_model_whose_data_nobody_knows_is_refused(project, repository, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(project, other, symlinks=True)
    write_json(other / "metrics/train_scratch.json", {"best_val_loss": 1.0})
    done = publish(other, repository, "scratch", "me/small")
    assert done.returncode == 1
    assert "what it learned from is not known, for metrics/ is of another run" in done.stderr


def test_a_name_that_is_none_of_the_hub_is_refused(project, repository):
    done = publish(project, repository, "scratch", "a/b/c")
    assert done.returncode == 1 and "a/b/c" in done.stderr
