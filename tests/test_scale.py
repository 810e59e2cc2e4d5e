"""The generated rows, and the benchmark that runs on them."""

import pytest

from bench.corpus import scale
from bench.corpus.generated import draw_dialogues
from llm.corpus.clean import CleanConfig
from stages.params import load
from tests.cleaned import clean


def test_generated_rows_are_the_same_every_time_have_a_hundred_words_and_survive_cleaning(repository):
    rows = list(draw_dialogues(2000, "dialogue", seed=1))
    assert rows == list(draw_dialogues(2000, "dialogue", seed=1)) != list(draw_dialogues(2000, "dialogue", seed=2))
    assert sum(len(turn.split()) for row in rows for turn in row.turns) / 2000 == pytest.approx(100, abs=3)
    config = load("clean", CleanConfig, repository / "params.yaml")
    report = clean({"dialogue": rows}, [], config, 1).report["sources"]["dialogue"]
    assert report["kept"]["dialogues"] > 0.9 * 2000
    assert all(report["splits"][split]["dialogues"] for split in ("train", "val", "test"))


def test_scale_measures_both_stages_at_every_size(monkeypatch, repository):
    monkeypatch.chdir(repository)
    monkeypatch.setattr(scale, "SIZES", (300, 600))
    sections = dict(scale.measure(1, full=False))
    assert list(sections) == ["scale of clean", "scale of tokenize"]
    for section in sections.values():
        assert list(section["contenders"]) == ["300 exchanges", "600 exchanges"]
        assert section["ratios"]["600 exchanges / 300 exchanges"]["median"] > 0
        assert all(0.03 < contender["peak_gb"] < 2 for contender in section["contenders"].values())


def test_a_stage_that_fails_is_told_with_its_last_lines(tmp_path):
    with pytest.raises(RuntimeError, match=r"stages\.clean failed: (.|\n)*params\.yaml"):
        scale.watch("stages.clean", tmp_path, 1)
