"""What the matrix of runs says of results that differ, on small ones; the runs themselves take minutes each."""

import json

import pytest
import yaml

from tests.reproduce import Variation, differences, furthest, outputs, table

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


def test_the_table_has_a_row_for_each_run_that_there_is_and_says_what_differs(tmp_path, capsys):
    for name, found in {"plain": left(), "path": left(figures="d"), "avx2": left(bpb=1.7160, figures="d")}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    assert not table([Variation("plain"), EXACT, NEAR, Variation("user")], tmp_path)
    shown = capsys.readouterr().out
    assert shown.count("as it has to be") == 2 and shown.count("| differs |") == 1
    assert "  metrics/scratch.json: other bytes" in shown and "user" not in shown
    assert table([Variation("plain"), NEAR], tmp_path)
