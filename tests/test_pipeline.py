"""The real DAG on the preset `smoke`, in a clone of its own: built, rebuilt, interrupted, compared.

It runs in hostile surroundings: see tests/clone.py, and the clone's folder.
"""

import json
import re
import shutil
import signal
import sys
import time

import pytest
import torch

from llm.evaluation.figure_files import SUMMARY_ROWS
from tests.clone import Clone, end_when, spoiled, stages_run, states

TRAIN_OUTS = ["models/scratch/best.safetensors", "models/scratch/final.safetensors", "models/scratch/summary.json"]
MAX_REPORT_BYTES = 10**6
FOLDER = "a cloné, 复制"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The clone after its first `dvc repro`."""
    folder = tmp_path_factory.mktemp("clone") / FOLDER
    folder.mkdir()
    clone = Clone(folder)
    clone.first = clone.dvc("repro")
    return clone


def test_one_command_leaves_every_metric(clone):
    names = {"scratch", "mistral", "base", "untrained", "data", "train_scratch", "finetune_mistral"}
    names |= {"ngram5", "unigram", "compressor", "retrieval", "frequent"}
    assert {path.stem for path in (clone.folder / "metrics").glob("*.json")} >= names
    for name in names:
        json.loads((clone.folder / f"metrics/{name}.json").read_text(encoding="utf-8"))
    summary = json.loads((clone.folder / "metrics/summary.json").read_text(encoding="utf-8"))
    assert sum(len(row) for row in summary.values()) <= SUMMARY_ROWS
    pictures = {path.name for path in (clone.folder / "metrics/plots").glob("*.svg")}
    assert pictures == {"bpb.svg", "choice.svg", "judge.svg", "loss.svg"}
    samples = (clone.folder / "metrics/samples.md").read_text(encoding="utf-8")
    assert "scratch" in samples
    assert "mistral" in samples
    assert "scratch" in (clone.folder / "metrics/report.md").read_text(encoding="utf-8")
    assert (clone.folder / "metrics/report.html").stat().st_size <= MAX_REPORT_BYTES
    assert None not in json.loads((clone.folder / "metrics/cost.json").read_text(encoding="utf-8"))["stages"].values()


def test_a_second_repro_runs_nothing(clone):
    assert stages_run(clone.dvc("repro").stdout) == []


@pytest.mark.skipif(torch.version.cuda is not None, reason="a torch built for CUDA takes 3 GB of addresses to load")
@pytest.mark.parametrize("module", ["tokenize_corpus", "train_scratch", "finetune_mistral", "evaluate"])
def test_in_three_gigabytes_a_stage_ends_well_or_says_in_a_line_what_to_do(clone, module):
    # evaluate then has to ask the models, for which it needs 4 GB of addresses.
    shutil.rmtree(clone.folder / ".evaluate_state", ignore_errors=True)
    before = clone.everything()
    done = clone.run("bash", "-c", f"ulimit -v 2929687; exec python -m stages.{module}", check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if "failed: out of memory (" in done.stderr else 0), done.stderr
    assert clone.everything() == before
    assert spoiled(clone.folder) == []  # its outputs were links into the cache


def test_in_a_renamed_folder_nothing_runs_again(clone):
    with clone.renamed("renamed"):
        done = clone.dvc("repro")
    assert stages_run(done.stdout) == []


def test_the_first_run_says_nothing_of_its_surroundings(clone):
    """No traceback, and no library's complaint about folders, languages or screens."""
    said = clone.first.stdout + clone.first.stderr
    assert not re.search("traceback|warning|home|writable|locale|backend|Permission", said, re.IGNORECASE), said


def test_the_scratch_model_beats_the_untrained_one(clone):
    figures = {
        name: json.loads((clone.folder / f"metrics/{name}.json").read_text(encoding="utf-8"))
        for name in ("scratch", "untrained")
    }
    assert figures["scratch"]["bpb"]["all"] < figures["untrained"]["bpb"]["all"]


def test_everything_rebuilt_from_nothing_gives_the_same_bytes(clone):
    before = clone.metrics()
    copies = clone.hashes(TRAIN_OUTS)
    states, data = (".train_state", ".evaluate_state", ".fetched"), ("data/raw", "data/clean", "data/tokens")
    for name in (*states, ".dvc/cache", "models", *data):
        shutil.rmtree(clone.folder / name)
    clone.dvc("repro", "--force")
    assert clone.metrics() == before
    assert clone.hashes(TRAIN_OUTS) == copies


def test_one_changed_number_reruns_only_what_depends_on_it(clone):
    done = clone.dvc("exp", "run", "-S", "train.lr=1e-4")
    assert set(stages_run(done.stdout)) == {"check_params", "train_scratch", "evaluate", "plots", "report", "podcast"}
    changed = json.loads(clone.dvc("metrics", "diff", "--json").stdout)
    assert list(changed) == ["metrics/summary.json"]
    assert {"scratch.bpb", "scratch.val_loss"} <= changed["metrics/summary.json"].keys()


def test_the_old_value_comes_back_without_training_or_evaluating_again(clone):
    """All but `report` and `podcast`, whose pages git tracks: DVC caches no such stage. They take seconds."""
    clone.restore_params()
    clone.dvc("repro")
    before = clone.everything()
    for change in ("train.lr=1e-4", "tokenize.vocab_size=400"):
        clone.dvc("exp", "run", "-S", change)
        assert clone.metrics() != {name: content for name, content in before.items() if name.startswith("metrics/")}
        clone.restore_params()
        done = clone.dvc("repro")
        assert set(stages_run(done.stdout)) == {"report", "podcast"}
        assert clone.everything() == before


def test_a_comment_in_a_room_of_the_base_model_fetches_and_hashes_nothing_again(clone):
    """DVC knows a file by its inode, time and size: while they stay, it does not read it."""
    clone.restore_params()
    clone.dvc("repro")
    weights = clone.folder / "models/base/model.safetensors"
    before = weights.stat()
    with clone.comment_in("llm/hub/info.py"):
        done = clone.dvc("repro", "-s", "download_base")
    assert stages_run(done.stdout) == ["download_base"]
    assert "nothing to fetch" in done.stdout + done.stderr
    after = weights.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def test_a_comment_in_the_training_code_trains_nothing_again(clone):
    """The stages run, and answer from the saved states: their keys hold what the code computes."""
    before, states = clone.hashes(TRAIN_OUTS), set((clone.folder / ".train_state").iterdir())
    with clone.comment_in("llm/training/schedule.py"):
        done = clone.dvc("repro")
    assert set(stages_run(done.stdout)) == {"check_params", "finetune_mistral", "train_scratch"}
    assert "going on from step 30" in done.stdout + done.stderr
    assert set((clone.folder / ".train_state").iterdir()) == states
    assert clone.hashes(TRAIN_OUTS) == before


def test_a_queued_experiment_runs_in_a_copy(clone):
    """As `--temp` runs one, whose copy DVC makes by the same means, and itself only where the path is ASCII."""
    with clone.renamed("ascii"):
        clone.dvc("exp", "run", "--queue", "-S", "train.lr=3e-4")
        clone.dvc("queue", "start")
        for _ in range(300):
            status = clone.dvc("queue", "status").stdout
            if "Success" in status or "Failed" in status:
                break
            time.sleep(1)
        assert "Success" in status
        rows = json.loads(clone.dvc("exp", "show", "--json").stdout)
        assert f'"lr": {3e-4}' in json.dumps(rows)
        assert any((clone.folder / ".train_state").iterdir())


def kill_training_after(clone: Clone, n_states: int, arguments: list[str]) -> None:
    """Start dvc, and kill it and its children after `n_states` saved states."""
    seen: set[str] = set()

    def enough() -> bool:
        seen.update(states(clone, "scratch"))
        return len(seen) >= n_states

    end_when(clone, enough, signal.SIGKILL, *arguments)


def test_a_fine_tune_stopped_by_ctrl_c_and_an_evaluation_killed_end_as_if_undisturbed(clone):
    before, lock = {**clone.metrics(), **clone.adapter()}, (clone.folder / "dvc.lock").read_bytes()
    shutil.rmtree(next((clone.folder / ".train_state").glob("mistral-*")))
    shutil.rmtree(clone.folder / ".evaluate_state")
    both = ("repro", "--force", "-s", "finetune_mistral", "evaluate")
    code, said = end_when(clone, lambda: bool(states(clone, "mistral")), signal.SIGINT, *both)
    assert code not in (0, -signal.SIGINT)
    assert re.search(r"finetune_mistral interrupted: stopped at step \d+: run the same command again", said)
    assert "failed to run: python -m stages.finetune_mistral, exited with 130" in said
    assert (clone.folder / "dvc.lock").read_bytes() == lock and not clone.adapter()
    log = clone.folder / "logs/evaluate.log"
    size = log.stat().st_size
    code, said = end_when(clone, lambda: log.stat().st_size > size, signal.SIGKILL, *both)
    assert code == -signal.SIGKILL and "going on from step" in said
    assert stages_run(clone.dvc("repro", "--force", "-s", "evaluate").stdout) == ["evaluate"]
    assert {**clone.metrics(), **clone.adapter()} == before


def test_a_run_killed_three_times_ends_bit_identical(clone):
    clone.restore_params()
    clone.run(sys.executable, "-c", SET_STATE_EVERY_STEP)
    shutil.rmtree(clone.folder / ".train_state")
    clone.dvc("repro", "--force", "-s", "train_scratch")
    straight = clone.hashes(TRAIN_OUTS)
    shutil.rmtree(clone.folder / ".train_state")
    for n_states in (1, 4, 9):
        kill_training_after(clone, n_states, ["repro", "--force", "-s", "train_scratch"])
    clone.dvc("repro", "--force", "-s", "train_scratch")
    assert clone.hashes(TRAIN_OUTS) == straight


SET_STATE_EVERY_STEP = """
from pathlib import Path
path = Path("params.yaml")
text = path.read_text(encoding="utf-8")
head, train = text.split("\\ntrain:\\n")
import re
train = re.sub(r"state_every_s: \\S+", "state_every_s: 0.0", train, count=1)
path.write_text(head + "\\ntrain:\\n" + train, encoding="utf-8")
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("+train.lrr=1", "train.lrr (now 1, a whole number) is not a parameter, did you mean train.lr?"),
        ("train.lr=abc", "train.lr is 'abc', a text, allowed: a number"),
        ("model.n_head=5", "is not a multiple of n_head 5"),
        ("tokenize.vocab_size=70000", "tokenize.vocab_size is 70000"),
    ],
)
def test_a_bad_parameter_is_refused_before_anything_is_touched(clone, change, message):
    clone.restore_params()
    clone.dvc("repro")
    before = clone.hashes(TRAIN_OUTS)
    done = clone.dvc("exp", "run", "-S", change, check=False)
    text = (clone.folder / "params.yaml").read_text(encoding="utf-8")
    clone.restore_params()
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())
    assert text != (clone.folder / "params.yaml").read_text(encoding="utf-8")  # the bad value is still to be seen
    assert clone.hashes(TRAIN_OUTS) == before


def test_an_experiment_in_a_copy_sees_own_data_and_what_changed_under_their_path(clone):
    params = clone.folder / "params.yaml"
    kept, lock = params.read_bytes(), (clone.folder / "dvc.lock").read_bytes()
    rows = [json.dumps({"question": f"Who is number {i}?", "answer": f"One of {i * 7919}."}) for i in range(60)]
    with clone.renamed("ascii"):
        own = clone.folder.with_name("own chats.jsonl")
        own.write_text("\n".join(rows), encoding="utf-8")
        clone.run(sys.executable, "-m", "stages.own_data", str(own))
        first = clone.dvc("exp", "run", "--temp", "clean").stdout
        own.write_text("\n".join(rows).replace("Who", "Why"), encoding="utf-8")  # as long as before
        second = clone.dvc("exp", "run", "--temp", "clean").stdout
    params.write_bytes(kept)
    (clone.folder / "dvc.lock").write_bytes(lock)
    assert [stages_run(output)[-2:] for output in (first, second)] == [["download@own", "clean"]] * 2
