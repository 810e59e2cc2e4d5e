"""What the matrix of runs says of results that differ, on small ones; the runs themselves take minutes each."""

import json
import math
import sys
from pathlib import Path

import pytest
import yaml

from tests.clone import ASCII, ROOT, Clone
from tests.reproduce import differences, finish, furthest, main, outputs, state_of_project, table
from tests.variations import VARIED, Variation, environment, has_effect, output, variations

LOCK = {
    "tokenize": {"outs": [{"path": "data/tokens", "md5": "a.dir"}]},
    "report": {"outs": [{"path": "metrics/cost.json", "md5": "b"}, {"path": "metrics/scratch.json", "md5": "c"}]},
}
EXACT, NEAR = Variation("path"), Variation("avx2", False)


def left(bpb=1.7151, tokens="a.dir", figures="c"):
    """What a run left."""
    metrics = {"metrics/scratch.json": json.dumps({"bpb": {"all": bpb}})}
    return {"outputs": {"data/tokens": tokens, "metrics/scratch.json": figures}, "metrics": metrics}


def test_of_what_a_run_left_its_costs_are_no_result():
    assert outputs(yaml.safe_dump({"stages": LOCK}).encode()) == left()["outputs"]


def test_on_the_same_machine_every_output_counts():
    assert differences(EXACT, left(), left()) == []
    assert differences(EXACT, left(), left(figures="d")) == ["metrics/scratch.json: other bytes"]


def test_on_another_machine_the_data_count_and_figures_beyond_two_seeds():
    assert differences(NEAR, left(), left(bpb=1.7160, figures="d")) == []
    assert differences(NEAR, left(), left(tokens="e.dir")) == ["data/tokens: other bytes"]
    assert len(differences(NEAR, left(), left(bpb=1.8, figures="d"))) == 1
    assert furthest(left(), left(bpb=1.8)) == pytest.approx(0.0849)


@pytest.mark.parametrize("variation", [EXACT, NEAR])
def test_a_run_leaves_neither_more_nor_less(variation):
    less = left()
    more = {**less, "outputs": {**less["outputs"], "models/scratch": "m"}}
    line = ["models/scratch: only in one of both"]
    assert differences(variation, more, less)[:1] == differences(variation, less, more)[:1] == line


@pytest.mark.parametrize("variation", [EXACT, NEAR])
def test_runs_of_two_states_of_the_project_are_not_the_same(variation):
    assert len(differences(variation, {**left(), "made_of": "a"}, {**left(), "made_of": "b"})) == 1


def test_nothing_is_not_the_same_as_nothing():
    nothing = {"outputs": {}, "metrics": {}}
    assert differences(EXACT, nothing, nothing)


def test_metrics_that_are_not_what_their_digest_says_are_named():
    line = ["metrics/scratch.json: other bytes than its digest says"]
    assert differences(EXACT, left(), left(bpb=1.7152)) == line


@pytest.mark.parametrize("bpb", [float("nan"), None])
def test_a_figure_that_one_run_lacks_is_infinitely_far(bpb):
    assert furthest(left(), left(bpb)) == furthest(left(bpb), left()) == math.inf


def test_a_run_on_another_state_of_the_project_is_run_again(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr("tests.reproduce.run", lambda variation, folder: runs.append(variation.name))
    monkeypatch.setattr("tests.reproduce.results", lambda variation, clone: left())
    for state in ("a", "a", "b", "b"):
        finish(EXACT, tmp_path, state)
    assert runs == ["path", "path"]
    (tmp_path / "path").mkdir()
    (tmp_path / "path/clone").write_text("of an interrupted run on b", encoding="utf-8")
    finish(EXACT, tmp_path, "c")
    assert not (tmp_path / "path").exists() and len(runs) == 3


def test_the_state_of_the_project_is_its_content(monkeypatch, tmp_path):
    for name, content in (("a", "x"), ("b", "y")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.setattr("tests.reproduce.ROOT", tmp_path)
    monkeypatch.setattr(Clone, "sources", lambda _: ["a", "b"])
    before = state_of_project()
    assert state_of_project() == before
    (tmp_path / "b").write_text("z", encoding="utf-8")
    assert state_of_project() != before


@pytest.mark.parametrize("name", ["pth", "locale_turkish"])
def test_a_variation_that_is_not_there_is_refused(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["reproduce", "--folder", str(tmp_path), name])
    monkeypatch.setattr("tests.reproduce.has_effect", lambda one: one.name != "locale_turkish")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and name in capsys.readouterr().err


def test_what_a_variation_sets_the_caller_does_not(monkeypatch):
    every = variations(None, None)
    for name in VARIED:
        monkeypatch.setenv(name, "1")
    assert VARIED & environment(Variation("plain"), Clone.existing(ROOT)).keys() == set()
    varied = {name for one in every for name in one.environment if name != "OMP_NUM_THREADS"}
    assert varied - {*ASCII, "LC_ALL", "LANG"} == VARIED


def test_every_variable_is_shown_to_change_something():
    assert [one.name for one in variations(None, None) if one.environment and not one.shows] == []


def test_a_variation_without_effect_is_not_run(capsys):
    same = Variation("same", True, {"LANG": "C"}, "print(1)")
    failing = Variation("failing", True, {}, "import sys; sys.exit(1)")
    other = Variation("other", True, {"TZ": "XYZ-5"}, "import time; print(time.localtime(0))")
    itself = Variation("itself", python=Path(sys.executable))
    assert [has_effect(one) for one in (same, failing, other, itself)] == [False, False, True, False]
    assert has_effect(Variation("plain"))
    assert "same: not run" in capsys.readouterr().out


def test_in_ascii_python_reads_and_writes_ascii():
    ascii = next(one for one in variations(None, None) if one.name == "locale_c")
    clone = Clone.existing(ROOT)
    shown = output([sys.executable, "-c", ascii.shows], environment(ascii, clone))
    assert b"UTF" not in shown.upper() and has_effect(ascii)


def test_the_table_has_a_row_for_each_run_that_there_is_and_says_what_differs(tmp_path, capsys):
    for name, found in {"plain": left(), "path": left(figures="d"), "avx2": left(bpb=1.7160, figures="d")}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    assert not table([Variation("plain"), EXACT, NEAR, Variation("user")], tmp_path)
    shown = capsys.readouterr().out
    assert shown.count("as it has to be") == 2 and shown.count("| differs |") == 1
    assert "  metrics/scratch.json: other bytes" in shown and "user" not in shown
    assert table([Variation("plain"), NEAR], tmp_path)
