"""Two processes find out whether they see one folder."""

import json
import os
import threading
import time

import pytest

from llm.files import hold_lock
from llm.training.checkpoint import open_state
from llm.training.distributed import is_first, rank, wait_for_all
from llm.training.shared_folder import check_shared
from tests.processes import run_processes

ADVICE = "The project's folder must be on a file system that all machines share"


def left_behind(folder):
    """Files in the folder of a run whose state both have opened."""
    with open_state(folder, "scratch", "abc") as state:
        wait_for_all()
        found = [path.name for path in state.folder.iterdir()]
        wait_for_all()
    return found


def refusal(folder):
    """What each is told that opens the state in another folder than the other, on a machine of its own."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError) as raised:
        patch.setattr("llm.training.shared_folder.WAIT_S", 0.5)
        patch.setattr("socket.gethostname", lambda: f"node-{rank()}")
        with open_state(folder / f"disk{rank()}", "scratch", "abc"):
            pass
    return str(raised.value)


def later_refusal(folder):
    """The same where the second sees the first file, but not what takes its place."""
    first, second = (folder / f"disk{number}/scratch-abc/shared" for number in range(2))

    def link():
        while not first.is_file():
            time.sleep(0.01)
        second.parent.mkdir(parents=True, exist_ok=True)
        os.link(first, second)

    if not is_first():
        threading.Thread(target=link).start()
    return refusal(folder)


def n_unlocked(folder):
    """How many machines could take a lock that the first process does not hold, and one that it holds."""
    found = [check_shared(folder, folder / "lock")]
    wait_for_all()
    if is_first():
        with hold_lock(folder / "lock"):
            found.append(check_shared(folder, folder / "lock"))
    else:
        found.append(check_shared(folder, folder / "lock"))
    return [len(machines) for machines in found]


def tell_all(folder):
    """Write what each of these functions gives in this process; each has a folder of its own."""
    found = {}
    for function in (left_behind, refusal, later_refusal, n_unlocked):
        own = folder / function.__name__
        own.mkdir(exist_ok=True)
        found[function.__name__] = function(own)
    (folder / f"said{rank()}.json").write_text(json.dumps(found), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """After two processes have been there."""
    folder = tmp_path_factory.mktemp("shared")
    run_processes(2, __name__, "tell_all", folder)
    return folder


def said(folder, function):
    """What the function gave in both processes."""
    texts = [(folder / f"said{number}.json").read_text(encoding="utf-8") for number in range(2)]
    return [json.loads(text)[function] for text in texts]


def test_processes_that_share_a_folder_leave_nothing_but_the_lock_in_it(folder):
    assert said(folder, "left_behind") == [["lock"], ["lock"]]


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("refusal", "does not see what node-0 writes there"),
        ("later_refusal", "goes on seeing what node-0 has replaced there"),
    ],
)
def test_a_machine_that_sees_another_folder_is_named_by_all(folder, function, complaint):
    places = [folder / function / f"disk{number}/scratch-abc" for number in range(2)]
    assert said(folder, function) == [f"node-1 {complaint}: {place}. {ADVICE}" for place in places]


def test_a_machine_for_which_a_held_lock_is_free_is_found(folder):
    assert said(folder, "n_unlocked") == [[1, 0], [1, 0]]


def test_one_process_checks_nothing(tmp_path):
    assert check_shared(tmp_path / "not there", tmp_path / "lock") == []
