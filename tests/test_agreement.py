"""Whether metrics are held to those of a commit by the right rule, on small files."""

import io
import json
import subprocess
import sys
import tarfile

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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_on_another_machine_nan_and_infinity_agree_with_nothing(value):
    for one, other in ((value, 1.7151), (1.7151, value), (value, value)):
        assert len(near_differences(files(with_all(one)), files(with_all(other)), SEED_SD)) == 1
    assert len(near_differences(files({**SCRATCH, "text": {"bleu": value}}), files(), SEED_SD)) == 1
    assert len(near_differences(files(curve=f"step,val_loss\n0,8.3\n300,{value}\n"), files(), SEED_SD)) == 1


def test_a_spread_that_is_no_number_allows_nothing():
    seed_sd = {"scratch": {"bpb": {"all": float("nan"), "eli5": None}}}
    assert len(near_differences(files(with_all(1.7152)), files(), seed_sd)) == 1


@pytest.mark.parametrize(("ppl", "agrees"), [(148.0, True), (154.6, True), (154.8, False), (0, False), (None, False)])
def test_on_another_machine_perplexity_may_be_as_far_off_as_bits_per_byte(
    ppl, agrees
):  # 148.1**(1 + 0.015 / 1.7151) = 154.7
    here, there = ({**SCRATCH, "ppl": {"all": value}} for value in (ppl, 148.1))
    assert (near_differences(files(here), files(there), SEED_SD) == []) == agrees


@pytest.mark.parametrize("text", ["", "{", "null", "[]"])
def test_figures_that_are_none_are_named(text):
    broken = {**files(), "metrics/scratch.json": text.encode()}
    assert near_differences(broken, files(), SEED_SD) and exact_differences(broken, files())


@pytest.mark.parametrize(
    ("name", "was", "figures"),
    [
        ("metrics/summary.json", {"scratch": {"bpb": 1.7}}, {"scratch": {"bpb": 1.8}}),
        ("metrics/summary.json", {"scratch": {"bpb_eli5": 1.7}}, {"scratch": {"bpb_eli5": 1.8}}),
        ("metrics/summary.json", {"data": {"train_tokens": 5}}, {"data": {"train_tokens": 6}}),
        ("metrics/base.json", {"english": {"bpb": 1.2}}, {"english": {"bpb": 1.3}}),
        ("metrics/base.json", {"n": {"replies": 166}}, {"n": {"replies": 16}}),
        ("metrics/train_scratch.json", {"parameters": 100}, {"parameters": 101}),
        ("metrics/train_scratch.json", {"step": 1750}, {"step": 175}),
        ("metrics/base.json", {"literacy": {"chance": 0.5}}, {"literacy": {"chance": 0.25}}),
        ("metrics/finetune_mistral.json", {"stand_in": False}, {"stand_in": True}),
        ("metrics/finetune_mistral.json", {"stand_in": False}, {"stand_in": 0}),
        ("metrics/finetune_mistral.json", {"base": "Mistral"}, {"base": "SmolLM2"}),
        ("metrics/base.json", {"areas": [1, 2]}, {"areas": [1]}),
        ("metrics/base.json", {"areas": [{"a": 1, "b": 1}, {"a": 1}]}, {"areas": [{"a": 1}, {"a": 1, "b": 1}]}),
    ],
)
def test_on_another_machine_what_no_machine_changes_is_held_in_every_file(name, was, figures):
    here, there = ({name: json.dumps(one).encode()} for one in (figures, was))
    assert near_differences(there, there, SEED_SD) == []
    assert near_differences(here, there, SEED_SD)


@pytest.mark.parametrize("curve", ["step,val_loss\n0,8.3\n301,4.4\n", "step,val_loss\n0,8.3\n300,?\n", ""])
def test_on_another_machine_a_table_holds_the_same_steps_and_numbers(curve):
    assert near_differences(files(curve=curve), files(), SEED_SD)
    assert near_differences(files(), files(curve=curve), SEED_SD)


def test_on_another_machine_a_table_names_the_same_models():
    scores = {"metrics/plots/bpb.csv": b"model,value\nscratch,1.7\n"}
    assert near_differences({"metrics/plots/bpb.csv": b"model,value\nngram5,1.7\n"}, scores, SEED_SD)
    assert near_differences({"metrics/plots/bpb.csv": b"model,value\nscratch,1.8\n"}, scores, SEED_SD) == []


def test_on_another_machine_a_page_is_not_empty():
    assert near_differences(files(page="\n"), files(), SEED_SD) == ["metrics/samples.md: empty"]


def packed(**members):
    """An archive of texts."""
    with tarfile.open(fileobj=(out := io.BytesIO()), mode="w:xz") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return out.getvalue()


def test_on_another_machine_an_archive_holds_the_same_files():
    there = {"metrics/outputs.tar.xz": packed(scores=b"1", replies=b"yes")}
    for other in (packed(scores=b"1"), packed(scores=b"1", replies=b""), there["metrics/outputs.tar.xz"][:-20], b""):
        assert len(near_differences({"metrics/outputs.tar.xz": other}, there, SEED_SD)) == 1
    assert near_differences({"metrics/outputs.tar.xz": packed(scores=b"2", replies=b"no")}, there, SEED_SD) == []


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


def told_by(monkeypatch, capsys):
    """Exit code and words of the command."""
    monkeypatch.setattr(sys, "argv", ["agreement", "HEAD"])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().out


def test_a_file_that_the_commit_lacks_is_named(commit, monkeypatch, capsys, tmp_path):
    commit({**machine_kind(), "threads": 64})
    (tmp_path / "metrics/new.json").write_text("{}", encoding="utf-8")
    code, said = told_by(monkeypatch, capsys)
    assert code == 1 and "metrics/new.json: only here" in said


def test_spreads_that_were_widened_here_allow_nothing(commit, monkeypatch, capsys, tmp_path):
    commit({**machine_kind(), "threads": 64})
    (tmp_path / "metrics/scratch.json").write_bytes(files(with_all(9.0))["metrics/scratch.json"])
    wide = {"compare": {"seed_sd": {"scratch": {"bpb": {"all": 100.0}}}}}
    (tmp_path / "params.yaml").write_text(json.dumps(wide), encoding="utf-8")
    assert told_by(monkeypatch, capsys)[0] == 1


def test_results_of_the_same_kind_of_machine_are_held_to_the_last_bit_whatever_machine_compares(
    commit, monkeypatch, capsys, tmp_path
):
    commit({**machine_kind(), "threads": 64})
    subprocess.run(["git", "checkout", "-q", "HEAD", "metrics/cost.json"], check=True)
    code, said = told_by(monkeypatch, capsys)
    assert code == 1 and "bpb.all is 1.7152, was 1.7151" in said


def test_a_folder_without_metrics_agrees_with_nothing(commit, monkeypatch, tmp_path):
    commit(machine_kind())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "argv", ["agreement", "HEAD"])
    with pytest.raises(SystemExit, match="no metrics here"):
        main()
