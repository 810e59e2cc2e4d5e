import json
from dataclasses import replace

import numpy as np
import pytest

from llm.corpus.questions import Question
from llm.judge.features import FEATURES
from llm.judge.fitting import fit_trees, read_trees
from llm.judge.trees import FILE, Calibration, calibrate, load_judge, margins, probability_false, save_judge
from tests.judge.test_fitting import CONFIG, invented_sample

SKY = Question("q", "facts", "Is the sky green?", ("No, the sky is blue", "It is blue"), ("Yes, it is green", "Red"))


@pytest.fixture(scope="module")
def committed(pytestconfig):
    return load_judge(pytestconfig.rootpath / "data/judge")


def strings(value):
    if isinstance(value, dict):
        return [text for pair in value.items() for text in (pair[0], *strings(pair[1]))]
    return (
        [text for one in value for text in strings(one)]
        if isinstance(value, list)
        else [value] * isinstance(value, str)
    )


def test_the_trees_give_what_scikit_learn_gives():
    sample = invented_sample()
    model = fit_trees(sample, CONFIG)
    strange = np.random.default_rng(2).normal(size=(200, len(FEATURES))) * 3
    for features in (sample.features, strange, np.zeros((1, len(FEATURES)))):
        found = margins(read_trees(model), features)
        assert np.abs(found - model.decision_function(features)).max() < 1e-12
    everything = calibrate(Calibration("none", 1.0, 0.0, (), ()), margins(read_trees(model), sample.features))
    assert np.abs(everything - model.predict_proba(sample.features)[:, 1]).max() < 1e-12


def test_a_saved_judge_comes_back_the_same(committed, tmp_path):
    save_judge(tmp_path, committed)
    again = load_judge(tmp_path)
    assert all(np.array_equal(value, getattr(committed.trees, name)) for name, value in vars(again.trees).items())
    assert replace(again, trees=committed.trees) == committed


def test_a_judge_of_other_features_is_refused(committed, tmp_path):
    save_judge(tmp_path, committed)
    text = (tmp_path / FILE).read_text(encoding="utf-8").replace("n_chars", "n_letters")
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="judges by other features than this version computes"):
        load_judge(tmp_path)


def test_calibration_by_hand():
    margin = np.array([-np.log(3), 0.0, np.log(3)])  # probabilities 1/4, 1/2, 3/4
    assert calibrate(Calibration("platt", 2.0, 0.0, (), ()), margin) == pytest.approx([0.1, 0.5, 0.9])  # 1/9 and 9
    steps = Calibration("isotonic", 1.0, 0.0, (0.25, 0.5), (0.0, 0.4))
    assert calibrate(steps, np.append(margin, np.log(3 / 5))) == pytest.approx([0.0, 0.4, 0.4, 0.2])  # 3/8: halfway


def test_the_committed_judge_believes_the_correct_and_doubts_the_incorrect(committed):
    right, wrong = probability_false(committed, [SKY, SKY], ["No, it is blue.", "Yes, it is green."])
    assert right < 0.3 < 0.7 < wrong


def test_no_answer_gives_no_probability(committed):
    assert probability_false(committed, [], []).shape == (0,)


def test_the_committed_judge_is_small_and_holds_no_answer(repository):
    path = repository / "data/judge" / FILE
    assert path.stat().st_size < 400_000
    words = strings(json.loads(path.read_text(encoding="utf-8")))
    assert max(map(len, words)) == 64  # a sha256; the longest texts besides are names
    assert sorted({word for word in words if " " in word}) == [
        "Apache-2.0 (TruthfulQA, Lin et al. 2022)", "lower case", "no answer", "one sentence", "several sentences"
    ]  # fmt: skip


def test_the_committed_judge_states_figures_worth_using(committed):
    crossed, unseen = committed.figures["cross_validated"], committed.figures["unseen"]
    assert crossed["auroc"]["low"] > 0.84
    assert unseen["auroc"]["low"] > unseen["auroc_contrast"]["high"]
    assert unseen["auroc_above_contrast"]["low"] > 0.1  # paired: it beats the training-free contrast
    assert committed.reliable


def test_a_judge_near_chance_is_not_reliable(committed):
    weak = {"unseen": {"auroc": {"value": 0.6499}}}
    assert not replace(committed, figures=weak).reliable
