"""A sharded Mistral from a stand-in of the hub, from the hub's cache, and from a path; what goes wrong in one line."""

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest

from llm.files import folder_sha256
from llm.hub.upstream import BaseConfig, fetch_base
from tests.model_hub import COMMIT, NAME, serve_model
from tests.sharded_mistral import CARD, EXTRA, INDEX, SHARDS, write_sharded_mistral

MEMORY_DISK = Path("/dev/shm")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "mistral"
    folder.mkdir()
    write_sharded_mistral(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The hub's own cache: a folder of the test."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def hub(checkpoint, cache, monkeypatch):
    with serve_model({path.name: path.read_bytes() for path in checkpoint.iterdir()}) as (hub, address):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        yield hub


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Fetches the model, as one that was not fetched before."""

    def fetch(location=NAME, revision="main"):
        monkeypatch.setenv("TANDEM_FETCHED", str(tmp_path / "fetched"))
        for folder in ("fetched", "base"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        return fetch_base(BaseConfig(str(location), revision), tmp_path / "base")

    return fetch


@pytest.fixture
def offline(monkeypatch):
    """Forbids asking the hub from now on."""
    return lambda: monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def refusal(fetch, tmp_path):
    """The line in which a model is refused; nothing may stand in its folder."""

    def refusal(location=NAME, revision="main"):
        with pytest.raises((OSError, ValueError)) as refused:
            fetch(location, revision)
        assert not (tmp_path / "base").exists() and "\n" not in str(refused.value)
        return str(refused.value)

    return refusal


def blob(cache, shard):
    """The file of the cache that holds a shard's bytes."""
    [link] = cache.glob(f"*/snapshots/*/{shard}")
    return link.resolve()


def weights_asked(hub):
    return [path for path in hub.asked if path.endswith(".safetensors")]


def test_the_hub_its_cache_and_a_path_give_the_same_files(checkpoint, hub, fetch, offline, tmp_path):
    from_hub = fetch()
    files = folder_sha256(tmp_path / "base")
    assert files == {name: sha for name, sha in folder_sha256(checkpoint).items() if name not in EXTRA}
    assert not {"consolidated.safetensors", "params.json"} & {path.rpartition("/")[2] for path in hub.asked}
    offline()
    asked = len(hub.asked)
    assert fetch() == from_hub and folder_sha256(tmp_path / "base") == files and len(hub.asked) == asked
    from_path = fetch(checkpoint)
    assert folder_sha256(tmp_path / "base") == files and from_path.sha256 == from_hub.sha256
    assert asdict(from_hub) == asdict(from_path) | {
        "name": NAME,
        "source": f"https://huggingface.co/{NAME}",
        "revision": COMMIT,
        "licence": "apache-2.0",
    }


def test_a_hub_that_does_not_answer_is_replaced_by_its_cached_copy(hub, fetch, caplog):
    origin = fetch()
    hub.unavailable = True
    assert fetch() == origin and fetch(revision=COMMIT) == origin
    assert "the hub is out of reach; reading its copy" in caplog.text


def test_without_a_copy_a_forbidden_hub_says_how_to_bring_one(cache, refusal, offline):
    offline()
    line = refusal()
    assert "HF_HUB_OFFLINE is set, and the hub's cache holds no copy" in line and not cache.exists()
    assert line.endswith(f"bring one by `hf download {NAME} --revision main`")


def test_a_cached_copy_without_its_card_states_no_licence(hub, fetch, offline, cache):
    fetch()
    [card] = cache.glob(f"*/snapshots/*/{CARD}")
    card.unlink()
    offline()
    assert fetch().licence == "none stated"


def test_of_a_cached_copy_the_missing_shard_is_named(hub, fetch, refusal, offline, cache):
    fetch()
    blob(cache, SHARDS[1]).unlink()
    offline()
    assert f"{NAME} lacks {SHARDS[1]} of 3 files that {INDEX} names" in refusal()


@pytest.mark.parametrize("damage", ["half there", "one bit"])
def test_a_damaged_shard_of_the_cache_is_named_and_fetched_anew_once_deleted(hub, fetch, refusal, cache, damage):
    origin, path = fetch(), blob(cache, SHARDS[1])
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body[: len(body) // 2] if damage == "half there" else body)
    line = refusal()
    assert f"{SHARDS[1]} of {NAME} is damaged or half there in the hub's cache: delete {path} and run again" in line
    path.unlink()
    hub.asked.clear()
    assert fetch() == origin
    assert {name.rpartition("/")[2] for name in weights_asked(hub)} == {SHARDS[1]}


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, fetch, refusal, monkeypatch):
    hub.cut = SHARDS[2]
    assert f"{NAME} at main could not be had from the hub" in refusal()
    hub.cut = ""
    hub.asked.clear()
    fetch()
    assert {name.rpartition("/")[2] for name in weights_asked(hub)} == {SHARDS[2]}


def test_a_shard_that_the_hub_lacks_is_named_before_any_is_fetched(hub, refusal):
    del hub.files[SHARDS[1]]
    assert f"{NAME} lacks {SHARDS[1]} of 3 files that {INDEX} names" in refusal()
    assert not weights_asked(hub)


def test_a_model_of_another_kind_is_refused_before_its_weights_are_fetched(hub, refusal):
    hub.files["config.json"] = hub.files["config.json"].replace(b'"mistral"', b'"mixtral"')
    assert "a model of type mixtral, allowed: mistral, llama" in refusal()
    assert not weights_asked(hub)


def test_weights_that_do_not_fit_on_the_disk_are_not_begun(hub, refusal, cache):
    hub.said_bytes[SHARDS[0]] = 10**18
    line = refusal()
    assert (
        f"{NAME} takes 1,000,000,000.0 GB of disk" in line and f"are free at {cache}: make room, or set HF_HOME" in line
    )
    assert not weights_asked(hub)


def test_a_local_model_that_does_not_fit_on_the_disk_is_not_copied(checkpoint, refusal, monkeypatch):
    full = shutil._ntuple_diskusage(10**9, 10**9, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    assert "mistral takes 0.0 GB of disk, 0.0 GB are free at" in refusal(checkpoint)


def test_an_unknown_revision_is_named(hub, refusal):
    assert refusal(revision="v9") == (
        f"{NAME} has no revision v9 on the hub: set base.revision to one of its commits, branches or tags"
    )


def test_a_model_that_is_not_there_or_private_says_so(hub, refusal):
    assert "acme/other at main could not be had from the hub: there is none of that name, or it is private" in refusal(
        "acme/other"
    )


def test_registered_users_are_asked_for_a_token_before_the_weights(hub, refusal, monkeypatch):
    hub.gated = True
    for token in (None, "hf_wrong"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        assert f"{NAME} is given to registered users only: accept its terms" in refusal()
    assert not weights_asked(hub)


def test_a_token_that_the_hub_does_not_know_is_called_that(hub, refusal, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "HF_TOKEN is no token that the hub knows: correct or unset it" in refusal()


def test_a_sign_in_page_is_not_taken_for_the_hub(hub, refusal):
    hub.portal = True
    assert "perhaps a network's sign-in page: check HF_ENDPOINT" in refusal()


@pytest.fixture
def other_disk(tmp_path):
    """A folder on another file system."""
    if not MEMORY_DISK.is_dir() or MEMORY_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"{MEMORY_DISK} is no other file system than {tmp_path}")
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        yield Path(folder)


@pytest.mark.parametrize("moved", ["cache", "fetched"])
def test_caches_on_another_disk_give_the_same_files(hub, fetch, monkeypatch, tmp_path, other_disk, moved):
    origin = fetch()
    files = folder_sha256(tmp_path / "base")
    if moved == "cache":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(other_disk / "cache"))
        assert fetch() == origin
    else:
        monkeypatch.setenv("TANDEM_FETCHED", str(other_disk / "fetched"))
        assert fetch_base(BaseConfig(NAME, "main"), tmp_path / "base") == origin
    assert folder_sha256(tmp_path / "base") == files


def test_a_cache_on_another_disk_needs_room_for_both_copies(hub, refusal, monkeypatch, tmp_path, other_disk):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(other_disk / "cache"))
    room = {other_disk.stat().st_dev: 10**12, tmp_path.stat().st_dev: 1000}
    usage = lambda path: shutil._ntuple_diskusage(10**12, 0, room[Path(path).stat().st_dev])  # noqa: E731
    monkeypatch.setattr("shutil.disk_usage", usage)
    assert "keep HF_HOME on the project's own disk, where no second copy is needed" in refusal()
    assert not weights_asked(hub)
