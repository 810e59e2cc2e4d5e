"""The real clients of the hub against a stand-in of it: what they fetch, what is kept, and copies without a network."""

import random
import subprocess
import sys

import httpx2
import pytest
from huggingface_hub import HfApi, constants, snapshot_download

from llm.fetching.download import DownloadError
from llm.sources.eli5 import Eli5Config, read_eli5
from llm.sources.hub_rows import hub_rows, local_files
from llm.sources.stackexchange import StackexchangeConfig, read_stackexchange
from tests.sources.hub_sets import (
    ELI5,
    ELI5_COMMIT,
    OLDER_COMMIT,
    PREFERENCES,
    PREFERENCES_COMMIT,
    write_eli5,
    write_preferences,
    write_rows,
)

ROWS = [{"question": f"Why {i}?", "answer": f"Because {i}."} for i in range(40)]
SITES = {"ai.stackexchange.com": 5, "cooking.stackexchange.com": 5, "stats.stackexchange.com": 4}


def eli5(limit=100, revision=ELI5_COMMIT):
    return read_eli5(Eli5Config(ELI5, "pair", revision), "mine", limit)


def threads(limit=100, revision=PREFERENCES_COMMIT, sites=("stats", "ai")):
    return read_stackexchange(StackexchangeConfig(PREFERENCES, revision, sites), "technical", limit)


def files_asked(hub):
    return {request.split("/resolve/")[1].split("/", 1)[1] for request in hub.requests if request.endswith("parquet")}


def test_eli5_is_read_at_its_pinned_commit_under_the_sources_name(hub):
    write_eli5(hub.folder, ROWS)
    corpus = eli5()
    assert [dialogue.turns for dialogue in corpus.dialogues] == [(row["question"], row["answer"]) for row in ROWS]
    assert {dialogue.source for dialogue in corpus.dialogues} == {"mine"}
    assert (corpus.location, corpus.revision, corpus.counts) == (ELI5, ELI5_COMMIT, {"rows": 40})


def test_a_branch_is_recorded_as_the_commit_it_stood_for(hub):
    write_eli5(hub.folder, ROWS)
    assert eli5(revision="main").revision == ELI5_COMMIT


def test_no_more_of_eli5_is_fetched_than_the_limit_needs(hub):
    words = random.Random(1)
    rows = [{"question": f"Why {i}?", "answer": words.randbytes(1000).hex()} for i in range(20_000)]
    shard = write_eli5(hub.folder, rows) / "pair" / "train-00000-of-00001.parquet"
    assert len(eli5(limit=100).dialogues) == 100
    assert shard.stat().st_size > 20_000_000
    assert hub.sent_bytes < 8_000_000  # a first piece of 4 MiB, and the table of contents at the end


def test_only_the_sites_shards_are_fetched_site_after_site(hub):
    write_preferences(hub.folder, SITES)
    corpus = threads()
    hosts = [dialogue.id.split("-")[1] for dialogue in corpus.dialogues]
    assert hosts == ["stats"] * 4 + ["ai"] * 5
    assert corpus.dialogues[0].turns == ("Question 0?", "Answer 3 to 0.")
    names = [f"train-0000{shard}-of-00002.parquet" for shard in range(2)]
    assert files_asked(hub) == {f"data/{site}.stackexchange.com/{name}" for site in ("stats", "ai") for name in names}


def test_a_site_beyond_the_limit_is_not_fetched(hub):
    write_preferences(hub.folder, SITES)
    assert len(threads(limit=3).dialogues) == 3
    assert all("stats.stackexchange.com" in name for name in files_asked(hub))


def test_a_commit_before_the_sites_folders_is_told(hub):
    write_rows(hub.folder / f"{PREFERENCES}@{OLDER_COMMIT}" / "data" / "stats" / "train.parquet", ROWS)
    with pytest.raises(DownloadError, match=rf"revision {OLDER_COMMIT} holds no folder data/stats.stackexchange.com"):
        threads(revision=OLDER_COMMIT)


def test_an_unknown_revision_names_the_parameter_and_its_value(hub):
    write_eli5(hub.folder, ROWS)
    with pytest.raises(DownloadError, match=rf"^the parameter revision is abc123, which {ELI5} does not have"):
        eli5(revision="abc123")


@pytest.mark.parametrize("offline", [True, False])
def test_a_copy_in_the_cache_serves_without_a_network(hub, monkeypatch, caplog, offline):
    write_eli5(hub.folder, ROWS)
    snapshot_download(ELI5, repo_type="dataset", revision=ELI5_COMMIT)
    without_network(monkeypatch, offline)
    corpus = eli5()
    assert (len(corpus.dialogues), corpus.location, corpus.revision) == (40, ELI5, ELI5_COMMIT)
    assert "the hub is out of reach; reading its copy" in caplog.text


def test_a_cached_copy_of_one_site_serves_that_site(hub, monkeypatch):
    write_preferences(hub.folder, SITES)
    patterns = ["data/ai.stackexchange.com/*"]
    snapshot_download(PREFERENCES, repo_type="dataset", revision=PREFERENCES_COMMIT, allow_patterns=patterns)
    without_network(monkeypatch, offline=True)
    assert len(threads(sites=("ai",)).dialogues) == 5
    with pytest.raises(DownloadError, match=r"the cached copy of it holds no folder data/stats.stackexchange.com"):
        threads(sites=("stats",))


def test_a_cached_copy_that_lacks_a_shard_is_refused(hub, monkeypatch):
    write_preferences(hub.folder, SITES)
    patterns = ["data/ai.stackexchange.com/train-00000*"]
    snapshot_download(PREFERENCES, repo_type="dataset", revision=PREFERENCES_COMMIT, allow_patterns=patterns)
    without_network(monkeypatch, offline=True)
    with pytest.raises(DownloadError, match="the cache holds 1 of 2 files"):
        threads(sites=("ai",))


def test_a_copy_of_another_commit_does_not_serve(hub, monkeypatch):
    write_eli5(hub.folder, ROWS)
    snapshot_download(ELI5, repo_type="dataset", revision=ELI5_COMMIT)
    without_network(monkeypatch, offline=False)
    with pytest.raises(httpx2.ConnectError):
        eli5(revision="f" * 40)


def test_a_connection_cut_once_goes_on_where_it_was(hub):
    write_eli5(hub.folder, ROWS)
    hub.fault = "cut once"
    assert len(eli5().dialogues) == 40
    assert hub.fault is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"config": "triplet"},
            r"parameter config is triplet: BuilderConfig 'triplet' not found. Available: \['pair'\]",
        ),
        ({"split": "test"}, "the parameter split is test, allowed: train$"),
    ],
)
def test_an_unknown_part_or_split_names_those_there_are(hub, changes, told):
    write_eli5(hub.folder, ROWS)
    with pytest.raises(DownloadError, match=told):
        list(hub_rows(ELI5, ELI5_COMMIT, **{"config": "pair", "split": "train"} | changes).rows)


def without_network(monkeypatch, offline):
    """Nothing listens at the hub's address, or HF_HUB_OFFLINE forbids asking."""
    from datasets import config

    if offline:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    for module, name in ((constants, "ENDPOINT"), (config, "HF_ENDPOINT")):
        monkeypatch.setattr(module, name, "http://127.0.0.1:9")


def test_an_existing_folder_comes_before_a_data_set_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert local_files("data/mine") == []
    write_rows(tmp_path / "data" / "mine" / "own.parquet", ROWS)
    assert [file.as_posix() for file in local_files("data/mine")] == ["data/mine/own.parquet"]


def test_of_a_local_folder_the_split_named_is_read(tmp_path):
    for name in ("train.parquet", "test-0.parquet", "contest.parquet"):
        write_rows(tmp_path / name, ROWS)
    assert local_files(str(tmp_path), "test") == [tmp_path / "test-0.parquet"]
    with pytest.raises(DownloadError, match="no file of it is named after the split dev"):
        local_files(str(tmp_path), "dev")


def test_the_stand_in_of_the_hub_serves_a_folder_from_the_command_line(tmp_path):
    write_eli5(tmp_path, ROWS)
    command = [sys.executable, "-m", "tests.hub_server", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            address = server.stdout.readline().strip().partition("HF_ENDPOINT=")[2]
            assert HfApi(endpoint=address).dataset_info(ELI5, revision="main").sha == ELI5_COMMIT
        finally:
            server.terminate()
