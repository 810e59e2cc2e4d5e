"""Whether metrics are held to those of a commit by the right rule, on small files."""

import json
import subprocess
import sys

import pytest

from tests.agreement import exact_differences, machine_kind, main, near_differences

SCRATCH = {"bpb": {"all": 1.7151, "eli5": 1.7549}, "text": {"bleu": 0.9084}, "truth": {"false_rate": None}}
DATA = {"dialogues": {"eli5": 535}, "sha256": "3ce9"}
SEED_SD = {"scratch": {"bpb": {"all": 0.005, "eli5": 0.008}}}


def files(scratch=SCRATCH, data=DATA, curve="step,val_loss\n0,8.3\n300,4.4\n", page="# Samples\n"):
    """The metrics of a run."""
    return {
        "metrics/scratch.json": json.dumps(scratch).encode(),
        "metrics/ngram5.json": json.dumps({"bpb": {"all": 1.9364}}).encode(),
        "metrics/data.json": json.dumps(data).encode(),
        "metrics/train_scratch.csv": curve.encode(),
        "metrics/samples.md": page.encode(),
    }


def with_all(value):
    """The figures with other bits per byte over all sources."""
    return {**SCRATCH, "bpb": {**SCRATCH["bpb"], "all": value}}


def test_the_same_files_agree_by_both_rules():
    assert exact_differences(files(), files()) == near_differences(files(), files(), SEED_SD) == []


def test_on_the_same_machine_the_last_digit_counts():
    assert exact_differences(files(with_all(1.7152)), files()) == [
        "metrics/scratch.json: bpb.all is 1.7152, was 1.7151"
    ]
    assert exact_differences(files(page="# Other\n"), files()) == ["metrics/samples.md: other bytes"]


def test_on_another_machine_bits_per_byte_may_differ_by_two_spreads_and_no_more():
    assert near_differences(files(with_all(1.7250)), files(), SEED_SD) == []
    assert near_differences(files(with_all(1.7253)), files(), SEED_SD) == [
        "metrics/scratch.json: bpb.all is 1.7253, was 1.7151: 0.0102 apart, allowed 0.0100"
    ]


def test_on_another_machine_nothing_scored_is_no_score():
    line = "metrics/scratch.json: bpb.all is None, was 1.7151"
    assert near_differences(files(with_all(None)), files(), SEED_SD) == [line]


def test_on_another_machine_a_figure_that_no_seed_changes_may_differ_in_its_last_digit():
    other = {**files(), "metrics/ngram5.json": json.dumps({"bpb": {"all": 1.9365}}).encode()}
    assert near_differences(other, files(), SEED_SD) == []
    other["metrics/ngram5.json"] = json.dumps({"bpb": {"all": 1.9367}}).encode()
    assert len(near_differences(other, files(), SEED_SD)) == 1


def test_on_another_machine_the_data_are_the_same():
    assert near_differences(files(data={**DATA, "sha256": "4ce9"}), files(), SEED_SD) == [
        "metrics/data.json: sha256 is 4ce9, was 3ce9"
    ]


def test_on_another_machine_texts_and_what_is_counted_in_them_may_differ():
    other = {**SCRATCH, "text": {"bleu": 2.0}, "truth": {"false_rate": 0.5}}
    assert (
        near_differences(files(other, page="# Other\n", curve="step,val_loss\n0,8.2\n300,4.5\n"), files(), SEED_SD)
        == []
    )


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"bpb": SCRATCH["bpb"], "truth": SCRATCH["truth"]}, "metrics/scratch.json: text.bleu is not there"),
        ({**SCRATCH, "new": 1}, "metrics/scratch.json: new is there, it was not"),
        ({**SCRATCH, "text": {"bleu": "high"}}, "metrics/scratch.json: text.bleu is str, was number"),
    ],
)
def test_on_another_machine_a_file_holds_the_same_entries(other, line):
    assert near_differences(files(other), files(), SEED_SD) == [line]


def test_a_curve_of_another_length_and_a_missing_file_are_named():
    shorter = files(curve="step,val_loss\n0,8.3\n")
    del shorter["metrics/samples.md"]
    assert near_differences(shorter, files(), SEED_SD) == [
        "metrics/samples.md: missing here",
        "metrics/train_scratch.csv: other columns or another number of rows",
    ]


@pytest.fixture
def commit(tmp_path, monkeypatch):
    """What commits the metrics, made on a machine of that kind, into a repository that the test stands in."""
    monkeypatch.chdir(tmp_path)

    def make(kind):
        line = kind and {"processor": kind["processor"], "environment": kind}
        costs = {"stages": {"train_scratch": line or {"processor": "?"}, "clean": None}}
        (tmp_path / "params.yaml").write_text(json.dumps({"compare": {"seed_sd": SEED_SD}}), encoding="utf-8")
        (tmp_path / "metrics").mkdir()
        for name, content in {**files(), "metrics/cost.json": json.dumps(costs).encode()}.items():
            (tmp_path / name).write_bytes(content)
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a run"]):
            subprocess.run([*git, *command], check=True)
        (tmp_path / "metrics/scratch.json").write_bytes(files(with_all(1.7152))["metrics/scratch.json"])
        (tmp_path / "metrics/cost.json").write_text("{}", encoding="utf-8")

    return make


@pytest.mark.parametrize(
    ("other", "code", "told"),
    [
        ({}, 1, ["made on this kind of machine", "metrics/scratch.json: bpb.all is 1.7152, was 1.7151"]),
        ({"threads": 64}, 0, ["made on another kind of machine", "threads: ", "there 64", "they agree"]),
        (None, 0, ["it does not say on what", "they agree"]),
    ],
)
def test_the_machine_that_a_commit_names_decides_by_which_rule_it_is_held(
    commit, monkeypatch, capsys, other, code, told
):
    commit(None if other is None else {**machine_kind(), **other})
    monkeypatch.setattr(sys, "argv", ["agreement", "HEAD"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == code and [part for part in told if part not in said] == []
