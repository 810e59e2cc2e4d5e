import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from llm.corpus.questions import Question
from llm.corpus.split import position
from llm.corpus.truthfulqa import Judged, read_judged, read_truthfulqa
from llm.judge.features import FEATURES
from llm.judge.fitting import (
    CALIBRATIONS,
    JudgeConfig,
    Sample,
    cross_calibrate,
    cross_fit,
    fit_trees,
    make_sample,
    style,
    train_judge,
)
from llm.judge.trees import calibrate, feature_rows, load_judge, margins
from llm.stats.calibration import auroc, calibration_error

CONFIG = JudgeConfig(
    data=None, data_sha256=None, questions=None, questions_sha256=None, unseen=0.25, folds=4, trees=25, leaves=7,
    min_leaf=5, learning_rate=0.1, l2=1.0, bootstrap=100,
)  # fmt: skip
WORDS = re.findall(r"\w+", "river stone cloud lamp horse bread glass paper wheel salt iron rope milk sand wood")


def invented_sample(n=300):
    """Answers told false by their likeness to the incorrect and by their length, with noise."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(n, len(FEATURES))).round(4)
    odds = 2 * features[:, FEATURES.index("f1_incorrect")] + features[:, FEATURES.index("n_words")]
    ones = np.ones(n, bool)
    return Sample(features, rng.random(n) < 1 / (1 + np.exp(-odds)), ones, np.full(n, "x"), np.arange(n) // 5 / n)


def invented_judged(n_questions=40):
    """Judged answers: true ones tell the correct reference's noun, false ones the incorrect's, each in other words."""
    rng, judged = random.Random(1), []
    for i in range(n_questions):
        right, wrong, place = rng.sample(WORDS, 3)
        question = Question(f"q{i}", "a", f"What lies by the {place} {i}?", (f"It is a {right}",), (f"A {wrong} lies",))
        judged += [
            Judged(question, f"{opening} {noun}{end}", noun == wrong)
            for opening in ("Some say a", "I believe it is one", "There we found the")
            for end in (".", " of old")
            for noun in (right, wrong)
        ]
    return judged


def test_trees_are_grown_by_one_thread_which_waits_for_no_other(monkeypatch):
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_info

    fit, seen = HistGradientBoostingClassifier.fit, []

    def look(self, *arguments):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
        return fit(self, *arguments)

    monkeypatch.setattr(HistGradientBoostingClassifier, "fit", look)
    fit_trees(invented_sample(), CONFIG)
    assert set(seen) == {1}


def test_a_fold_holds_all_answers_to_its_questions():
    sample = invented_sample()
    folds = sample.fold(4)
    assert all(len(set(folds[sample.place == place])) == 1 for place in set(sample.place))
    assert set(folds) == {0, 1, 2, 3}


def test_an_answer_is_judged_by_trees_that_never_saw_its_question():
    sample = invented_sample()
    chosen = sample.fold(CONFIG.folds) == 0
    turned = replace(sample, false=np.where(chosen, ~sample.false, sample.false))
    assert np.array_equal(cross_fit(sample, CONFIG)[chosen], cross_fit(turned, CONFIG)[chosen])


@pytest.mark.parametrize("name", ["platt", "isotonic"])
def test_calibration_mends_margins_that_are_too_sure(name):
    rng = np.random.default_rng(1)
    n = 4000
    honest = rng.normal(size=n)
    false = rng.random(n) < 1 / (1 + np.exp(-honest))
    sample = Sample(np.zeros((n, len(FEATURES))), false, false, np.full(n, "x"), np.arange(n) // 4 / n)
    before = calibrate(CALIBRATIONS["none"](honest, false), 3 * honest)
    after = cross_calibrate(name, 3 * honest, sample, CONFIG)
    assert calibration_error(false, before) > 0.1
    assert calibration_error(false, after) < 0.03
    assert auroc(false, after) == pytest.approx(auroc(false, honest), abs=0.01)


def test_the_judge_is_measured_on_questions_it_never_saw():
    judged = invented_judged()
    judge = train_judge(judged, CONFIG, seed=1, provenance={"licence": "none"})
    unseen = judge.figures["unseen"]
    kept = {one.question.id for one in judged if position(one.question.question, 1) < CONFIG.unseen}
    assert unseen["questions"] == len(kept)
    assert unseen["answers"] == 12 * len(kept)
    assert unseen["auroc"]["value"] > 0.9
    assert unseen["balanced_accuracy"] > 0.8
    assert unseen["judged"] == 0.5
    assert judge.provenance == {"licence": "none", "answers": len(judged)}
    assert judge.figures["cross_validated"]["questions"] == 40
    assert judge.figures["calibration_errors_tried"][judge.calibration.name] == min(
        judge.figures["calibration_errors_tried"].values()
    )
    assert sum(row["answers"] for row in judge.figures["by_fold"].values()) == len(judged)


def test_the_same_answers_give_the_same_judge():
    one, two = (train_judge(invented_judged(), CONFIG, 1, {}) for _ in range(2))
    assert one.figures == two.figures
    assert np.array_equal(one.trees.value, two.trees.value)


def test_labels_without_meaning_give_an_unreliable_judge():
    rng = random.Random(1)
    judged = [replace(one, false=rng.random() < 0.5) for one in invented_judged(80)]
    judge = train_judge(judged, CONFIG, 1, {})
    assert judge.figures["unseen"]["auroc"]["value"] < 0.65
    assert not judge.reliable


def test_too_few_questions_are_refused():
    with pytest.raises(ValueError, match="answers to 20 questions or more, got 5"):
        make_sample(invented_judged(5), seed=1)


def test_one_file_without_the_other_is_refused():
    with pytest.raises(ValueError, match=r"data is judged.jsonl and questions is None: give both files"):
        replace(CONFIG, data="judged.jsonl")


def test_styles_of_writing():
    assert [style(text) for text in ("It is 3", "x.", "A. B.", "Yes!")] == [
        "unfinished", "lower case", "several sentences", "one sentence"
    ]  # fmt: skip


def test_the_committed_judge_scores_what_it_states_on_questions_it_never_saw(real_data, repository):
    judge = load_judge(repository / "data/judge")
    judged = read_judged(real_data / "truth/finetune_truth.jsonl", read_truthfulqa(real_data / "truth/TruthfulQA.csv"))
    settings = judge.provenance["settings"]
    unseen = [one for one in judged if position(one.question.question, settings["data_seed"]) < settings["unseen"]]
    rows = feature_rows([one.question for one in unseen], [one.answer for one in unseen])
    false = np.array([one.false for one in unseen])
    probability = calibrate(judge.calibration, margins(judge.trees, rows))
    stated = judge.figures["unseen"]
    assert len(unseen) == stated["answers"]
    assert auroc(false, probability) == pytest.approx(stated["auroc"]["value"], abs=5e-5)
    assert probability.mean() == pytest.approx(stated["predicted"], abs=5e-5)
    assert auroc(false, rows[:, FEATURES.index("n_words")]) == pytest.approx(stated["auroc_length"]["value"], abs=5e-5)
    assert json.dumps(stated)  # no array, no NaN
