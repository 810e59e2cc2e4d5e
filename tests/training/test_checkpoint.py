import errno
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

import llm.machine
from llm.files import WAITS, file_sha256, write_bytes, write_json
from llm.training.checkpoint import DTYPES, State, open_state, run_key, save_tensors
from llm.training.free_memory import peak_growth


def test_a_state_comes_back_as_it_was_saved(tmp_path):
    State(tmp_path).save(3, {"w": torch.arange(4.0)}, {"step": 3, "history": [{"loss": 0.1}]}, needs=3)
    tensors, values = State(tmp_path).load()
    assert torch.equal(tensors["w"], torch.arange(4.0))
    assert values == {"step": 3, "history": [{"loss": 0.1}]}


def test_no_state_is_none(tmp_path):
    assert State(tmp_path).load() is None


def test_the_last_two_states_are_kept(tmp_path):
    for step in (1, 2, 3):
        State(tmp_path).save(step, {"w": torch.ones(1)}, {"step": step}, needs=step)
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == [
        "state_00000002.safetensors",
        "state_00000003.safetensors",
    ]


def test_a_damaged_state_of_a_later_step_takes_the_place_of_no_whole_one(tmp_path):
    for step in (5, 10):
        State(tmp_path).save(step, {"w": torch.ones(1)}, {"step": step}, needs=step)
    (tmp_path / "state_00000010.safetensors").write_bytes(b"damaged")
    for step in (6, 7):
        State(tmp_path).save(step, {"w": torch.ones(1)}, {"step": step}, needs=step)
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["state_00000006", "state_00000007"]


def test_a_state_that_a_kept_one_needs_is_kept(tmp_path):
    for step, needs in ((1, 1), (2, 1), (3, 1), (4, 4)):
        State(tmp_path).save(step, {"w": torch.full((1,), float(step))}, {"step": step}, needs)
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["state_00000001", "state_00000003", "state_00000004"]
    assert State(tmp_path).load_step(1)["w"].item() == 1.0
    State(tmp_path).save(5, {"w": torch.ones(1)}, {"step": 5}, 4)
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["state_00000004", "state_00000005"]


def test_a_damaged_state_that_is_needed_is_named(tmp_path):
    State(tmp_path).save(1, {"w": torch.ones(1)}, {}, 1)
    (tmp_path / "state_00000001.safetensors").write_bytes(b"half")
    with pytest.raises(OSError, match=r"state_00000001\.safetensors is damaged .*: delete .* to train anew"):
        State(tmp_path).load_step(1)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    half = tmp_path / "scratch-abc" / "checkpoints" / ".step_00000004.optim.tmp"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    with open_state(tmp_path, "scratch", "abc"):
        assert not half.exists()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_state_that_the_disk_does_not_give_stops_the_run(tmp_path, monkeypatch, code):
    State(tmp_path).save(1, {"w": torch.ones(1)}, {"step": 1}, needs=1)

    def fail(path):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("llm.training.checkpoint.file_sha256", fail)
    with pytest.raises(OSError, match=r"state_00000001\.safetensors cannot be read \(.*\): mend that and run again"):
        State(tmp_path).load()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "manifest"])
def test_a_damaged_state_is_named_and_the_one_before_it_taken(tmp_path, caplog, damage):
    for step in (1, 2):
        State(tmp_path).save(step, {"w": torch.full((8,), float(step))}, {"step": step}, needs=step)
    newest = tmp_path / "state_00000002.safetensors"
    whole = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(whole[:-5])
    elif damage == "flipped":
        newest.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "missing":
        newest.unlink()
    else:
        newest.with_suffix(".json").write_text("{")
    tensors, values = State(tmp_path).load()
    assert values == {"step": 1}
    assert tensors["w"][0] == 1.0
    assert "state_00000002.safetensors is damaged" in caplog.text


def save_with(folder, step, *names):
    """A state whose run also ends with these files."""
    files = {name: file_sha256(folder / name) for name in names}
    State(folder).save(step, {"w": torch.ones(1)}, {"step": step}, step, files)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_state_with_damaged_best_weights_is_passed_over(tmp_path, caplog, damage):
    best = [tmp_path / f"best_{step:08d}.safetensors" for step in (1, 2)]
    for step, path in enumerate(best, 1):
        path.write_bytes(b"weights")
        save_with(tmp_path, step, path.name)
    assert State(tmp_path).load()[1] == {"step": 2}
    best[1].unlink() if damage == "missing" else best[1].write_bytes(b"Weights")
    assert State(tmp_path).load()[1] == {"step": 1}
    assert "best_00000002.safetensors" in caplog.text


def test_a_checkpoint_that_a_later_one_replaced_is_not_missed(tmp_path):
    old, new = (tmp_path / f"checkpoints/step_{step:08d}.safetensors" for step in (1, 2))
    old.parent.mkdir()
    old.write_bytes(b"weights")
    save_with(tmp_path, 1, f"checkpoints/{old.name}")
    new.write_bytes(b"weights")
    old.unlink()
    assert State(tmp_path).load()[1] == {"step": 1}
    new.unlink()
    assert State(tmp_path).load() is None


def test_a_half_written_file_is_never_seen(tmp_path):
    target = tmp_path / "weights"
    write_bytes(target, b"old")
    with pytest.raises(TypeError):
        write_bytes(target, "not bytes")  # the write fails after the temporary file is open
    assert target.read_bytes() == b"old"


def _hold(root: Path, ready, release) -> None:
    """Train until told to stop, as far as another process can see."""
    with open_state(root, "scratch", "abc"):
        ready.set()
        release.wait(20)


def another_trainer(root: Path):
    """A process that trains the run already, and what lets it end."""
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(root, ready, release))
    other.start()
    assert ready.wait(30)
    return other, release


def test_a_second_trainer_of_the_same_run_is_refused(tmp_path):
    other, release = another_trainer(tmp_path)
    with (
        pytest.raises(OSError, match="another process is training this very run"),
        open_state(tmp_path, "scratch", "abc"),
    ):
        pass
    release.set()
    other.join(20)
    with open_state(tmp_path, "scratch", "abc") as state:
        assert state.folder == tmp_path / "scratch-abc"


def test_a_trainer_that_is_told_to_wait_is_answered_by_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv(WAITS, "1")
    other, release = another_trainer(tmp_path)
    threading.Timer(1.0, release.set).start()
    with open_state(tmp_path, "scratch", "abc"):
        assert release.is_set()
    other.join(20)


def test_a_killed_trainer_holds_the_lock_no_longer(tmp_path):
    other, _ = another_trainer(tmp_path)
    other.kill()
    other.join(20)
    with open_state(tmp_path, "scratch", "abc") as state:
        assert state.folder == tmp_path / "scratch-abc"


def test_a_run_that_has_ended_can_be_opened_again_in_the_same_process(tmp_path):
    for _ in range(3):
        with open_state(tmp_path, "scratch", "abc") as first:
            assert (tmp_path / "scratch-abc/lock").is_file()
        assert first.folder == tmp_path / "scratch-abc"


def test_the_key_depends_on_every_part():
    cpu, optim = torch.device("cpu"), ["llm.training.optim"]
    key = run_key({"lr": 1e-3}, optim, cpu)
    assert key == run_key({"lr": 1e-3}, optim, cpu)
    others = [run_key({"lr": 2e-3}, optim, cpu), run_key({"lr": 1e-3}, ["llm.models.gpt"], cpu)]
    others += [run_key({"lr": 1e-3}, optim, torch.device("mps")), run_key({"lr": 1e-3}, optim, cpu, ["peft"])]
    assert len({key, *others}) == 5


def test_the_key_depends_on_the_numbers_that_the_device_computes_in(monkeypatch):
    keys = set()
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(llm.machine, "number_type", lambda *_, dtype=dtype: dtype)
        keys.add(run_key({}, [], torch.device("cpu")))
    assert len(keys) == 2


def test_the_key_depends_on_a_packages_version(monkeypatch):
    keys = set()
    for number in ("5.23", "5.24"):
        monkeypatch.setattr("llm.training.checkpoint.version", lambda name, number=number: number)
        keys.add(run_key({}, [], torch.device("cpu"), ["transformers"]))
    assert len(keys) == 2


def test_equal_tensors_give_equal_bytes(tmp_path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.long)}
    save_tensors(tmp_path / "one", tensors)
    save_tensors(tmp_path / "two", dict(reversed(tensors.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("metadata", [None, {}, {"values": '{"ä": "\\n\x01\x7f\u2028/"}'}])
def test_a_file_is_that_of_safetensors(tmp_path, metadata):
    numbers = torch.randint(0, 2, (3, 5), generator=torch.Generator().manual_seed(1))
    tensors = {f"{i % 3}.{dtype}": numbers.to(dtype) for i, dtype in enumerate(reversed(DTYPES))}
    tensors |= {"scalar": torch.tensor(2.5), "none": torch.empty(0, 4), "ü": torch.nn.Parameter(torch.ones(1))}
    save_tensors(tmp_path / "file", {**tensors, "turned": numbers.T}, metadata)
    assert (tmp_path / "file").read_bytes() == save({**tensors, "turned": numbers.T.contiguous()}, metadata)
    assert torch.equal(load_file(tmp_path / "file")["turned"], numbers.T)


SAVING = """
import sys
from pathlib import Path
import torch
from llm.training.checkpoint import save_tensors
from llm.training.free_memory import peak_growth
tensors = {str(i): torch.ones(1_000, 4_000).T for i in range(12)}  # 16 MB each, not contiguous: each has to be copied
print(peak_growth(lambda: save_tensors(Path(sys.argv[1]), tensors)))
"""


@pytest.mark.skipif(peak_growth(lambda: None) is None, reason="needs Linux's /proc")
def test_saving_takes_the_memory_of_a_tensor_not_of_the_file(tmp_path):
    command = [sys.executable, "-c", SAVING, str(tmp_path / "file")]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # what is freed is given back at once
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "file").stat().st_size > 192e6
    assert int(told) < 40e6  # 17.6 MB; with the whole file at once 576


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "metrics.json", {"loss": float("nan")})
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    "manifest", [b"[]", b"7", b"[" * 9999, b'{"sha256": 1, "values": "{}"}', b"\xff", b'{"needs": []}']
)
def test_a_manifest_of_any_bytes_is_passed_over(tmp_path, caplog, manifest):
    State(tmp_path).save(1, {"w": torch.ones(1)}, {"step": 1}, needs=1)
    State(tmp_path).save(2, {"w": torch.ones(1)}, {"step": 2}, needs=1)
    (tmp_path / "state_00000002.json").write_bytes(manifest)
    assert State(tmp_path).load()[1] == {"step": 1}
    assert "state_00000002.safetensors is damaged" in caplog.text
    State(tmp_path).save(3, {"w": torch.ones(1)}, {"step": 3}, needs=1)
