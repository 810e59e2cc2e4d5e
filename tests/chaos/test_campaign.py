"""The campaign itself, and in `pytest -m slow` a few of its faults."""

import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.chaos.__main__ import RESULTS, read_results, table
from tests.chaos.faults import KINDS, OF_THE_WHOLE, draw_fault
from tests.chaos.judge import GOOD, Before, judge_command, judge_end, leftovers
from tests.chaos.running import Ended
from tests.chaos.scene import Trial

N = 200
QUICK = ("5", "8", "11", "17", "27", "45")  # of stages that take seconds, of four kinds


def test_a_number_gives_one_fault_for_ever():
    assert [draw_fault(19, n) for n in range(N)] == [draw_fault(19, n) for n in range(N)]
    assert draw_fault(19, 3) != draw_fault(20, 3)
    assert draw_fault(19, 3).dice.random() == draw_fault(19, 3).dice.random()


def test_two_hundred_faults_are_of_all_kinds_and_forty_meet_the_whole_dag():
    faults = [draw_fault(19, n) for n in range(N)]
    whole = Counter(fault.kind for fault in faults if fault.stage is None)
    assert whole.total() == 40 and set(whole) == set(OF_THE_WHOLE)
    counts = Counter(fault.kind for fault in faults)
    assert set(counts) == set(KINDS) and min(counts.values()) >= 10


def test_the_table_counts_by_kind_and_outcome():
    rows = [{"kind": "signal", "outcome": "same"}, {"kind": "clock", "outcome": "told"}]
    assert table([*rows, *rows]).splitlines() == [
        "| fault | faults | same | told | missed |",
        "|---|---|---|---|---|",
        "| signal | 2 | 2 | 0 | 0 |",
        "| clock | 2 | 0 | 2 | 0 |",
        "| all | 4 | 2 | 2 | 0 |",
    ]


def test_the_page_holds_the_table_of_the_committed_results(repository):
    page = (repository / "docs/trust.md").read_text(encoding="utf-8")
    assert page.partition("<!-- chaos -->\n")[2].partition("\n<!-- /chaos -->")[0] == table(read_results(RESULTS))


@pytest.mark.parametrize(
    ("output", "findings"),
    [
        ("ERROR: failed to reproduce 'clean': failed to run: python -m stages.clean, exited with 1", 1),
        ("ERROR: failed to reproduce 'clean': failed to run: python -m stages.clean, exited with -9", 0),
        ("12:00:00 clean failed: no room\nERROR: failed to reproduce 'clean': failed to run: x, exited with 1", 0),
        ("ERROR: Unable to acquire lock", 0),
        ("a process of the training was ended by SIGKILL: run the same command again", 0),
        (
            "train: 19/30 [00:00<00:00, loss=5.3]ERROR: failed to reproduce 'x': failed to run: x, exited with -9",
            0,
        ),
        ("", 1),
    ],
)
def test_that_a_stage_failed_is_no_message_unless_it_was_killed(output, findings):
    assert len(judge_command(None, Ended("dvc repro", 1, output, 1.0))) == findings


@pytest.mark.parametrize(("anew", "findings"), [(set(), ["lost: train_scratch began anew"]), ({"train_scratch"}, [])])
def test_a_training_goes_on_unless_what_it_kept_is_of_damaged_data(tmp_path, anew, findings):
    (tmp_path / "dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    scene = SimpleNamespace(folder=tmp_path, base=SimpleNamespace(expected={}))
    final = Ended("dvc repro", 0, "Running stage 'train_scratch':", 1.0)
    trial, before = Trial("", [], hurt={"train_scratch"}, anew=anew), Before(set(), {"train_scratch"})
    assert judge_end(scene, trial, before, final) == findings


def test_what_stays_in_a_half_fetched_folder_is_left_over(tmp_path):
    for name in (".fetched/abc.part/model.gguf", "logs/x.tmp", ".dvc/tmp/lock", "data/clean.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert leftovers(tmp_path) == [".fetched/abc.part/model.gguf"]


@pytest.mark.slow
def test_faults_of_single_stages_end_as_they_may(tmp_path, repository):
    command = [sys.executable, "-m", "tests.chaos", "--folder", str(tmp_path), "--only", *QUICK]
    results = tmp_path / "results.jsonl"
    done = subprocess.run([*command, "--results", results], cwd=repository, capture_output=True, text=True)
    rows = read_results(results)
    assert len(rows) == len(QUICK), done.stderr
    assert not [row for row in rows if row["outcome"] not in GOOD]
