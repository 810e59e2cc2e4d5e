"""Whether a clone stands alone, in the surroundings that it says; what runs in it takes minutes."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from tests.clone import ROOT, SURROUNDINGS, UNSET, Clone, spoiled


def test_a_clone_sees_nothing_of_other_runs_and_repositories(monkeypatch):
    names = {*UNSET, "TANDEM_STATE", "TANDEM_COST", "TANDEM_EVALUATED", "TANDEM_SWEEPS", "TANDEM_WAIT", "DVC_ROOT"}
    for name in names:
        monkeypatch.setenv(name, "/elsewhere")
    assert names & Clone.existing(ROOT).environment.keys() == set()


def test_surroundings_are_as_hostile_as_they_say():
    module = SURROUNDINGS["MPLBACKEND"].removeprefix("module://").partition(".")[0]
    assert importlib.util.find_spec(module) is None
    with pytest.raises(OSError):
        Path(SURROUNDINGS["HOME"]).mkdir(parents=True)


def test_a_clone_begins_with_what_the_project_holds_but_results():
    names = Clone.existing(ROOT).sources()
    assert {"dvc.yaml", "params.yaml", "tests/clone.py"} <= {*names}
    assert [name for name in names if name == "dvc.lock" or name.startswith("metrics/")] == []


@pytest.mark.parametrize("suffix", ["", ".dir"])
def test_an_object_of_the_cache_that_was_written_to_is_found(tmp_path, suffix):
    digest = hashlib.md5(b"whole", usedforsecurity=False).hexdigest()
    path = tmp_path / ".dvc/cache/files/md5" / digest[:2] / f"{digest[2:]}{suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"whole")
    assert spoiled(tmp_path) == []
    path.write_bytes(b"other")
    assert spoiled(tmp_path) == [path.name]
