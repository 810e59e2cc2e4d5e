"""The generated rows, and the benchmark that runs on them."""

from collections import Counter

import pytest

from bench.corpus import scale
from bench.corpus.generated import draw_dialogues
from bench.corpus.hub_folder import write_hub
from llm.corpus.clean import CleanConfig
from llm.sources.eli5 import Eli5Config, read_eli5
from llm.sources.stackexchange import StackexchangeConfig, read_stackexchange
from stages.params import load, read_params
from tests.cleaned import clean


def test_generated_rows_are_the_same_every_time_have_a_hundred_words_and_survive_cleaning(repository):
    rows = list(draw_dialogues(2000, "dialogue", seed=1))
    assert rows == list(draw_dialogues(2000, "dialogue", seed=1)) != list(draw_dialogues(2000, "dialogue", seed=2))
    assert sum(len(turn.split()) for row in rows for turn in row.turns) / 2000 == pytest.approx(100, abs=3)
    config = load("clean", CleanConfig, repository / "params.yaml")
    report = clean({"dialogue": rows}, [], config, 1).report["sources"]["dialogue"]
    assert report["kept"]["dialogues"] > 0.9 * 2000
    assert all(report["splits"][split]["dialogues"] for split in ("train", "val", "test"))


def test_generated_data_sets_are_read_as_those_of_the_hub(tmp_path, repository):
    download = read_params(repository / "params.yaml")["download"]
    eli5, exchange = download["eli5"]["eli5"], download["technical"]["stackexchange"]
    real = {"question": "ELI5: why is this real?", "answer": "It is written by hand."}
    write_hub(tmp_path, download, [real], share=0.01)
    read = read_eli5(Eli5Config(str(tmp_path / f"{eli5['location']}@{eli5['revision']}/pair"), "pair", ""), "e", 500)
    assert (len(read.dialogues), read.dialogues[0].turns[0]) == (500, "Why is this real?")
    assert read.counts["answers_removed"] > 0 and len({d.group for d in read.dialogues}) < 500
    config = StackexchangeConfig(
        str(tmp_path / f"{exchange['location']}@{exchange['revision']}"), "", exchange["sites"]
    )
    read = read_stackexchange(config, "s", 1000)
    assert Counter(d.id.split("-")[1] for d in read.dialogues) == {"ai": 40, "datascience": 120, "stats": 160}
    assert "Given f(x) < 1, why?" in read.dialogues[0].turns[0] and "- " in read.dialogues[0].turns[1]


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
