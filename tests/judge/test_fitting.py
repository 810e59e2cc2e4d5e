import random
import re
from dataclasses import replace

import numpy as np
import pytest

from llm.corpus.questions import Question
from llm.corpus.truthfulqa import Judged, read_judged, read_truthfulqa
from llm.judge.features import TELLING, columns
from llm.judge.fitting import JudgeConfig, cross_fit, fit_weights, hand_on, make_sample, train_judge
from llm.judge.instrument import RELIABLE, fold_of, load_judge, log_odds, probability_false
from llm.stats.calibration import auroc

CONFIG = JudgeConfig(
    data=None, data_sha256=None, questions=None, questions_sha256=None, folds=4, l2=1.0, off_topic=0.02, bootstrap=100
)
WORDS = re.findall(r"\w+", "river stone cloud lamp horse bread glass paper wheel salt iron rope milk sand wood")


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


def invented_judge(judged=None, config=CONFIG):
    return train_judge(judged or invented_judged(), invented_judged(25), config, seed=1, provenance={"licence": "none"})


def test_a_question_is_judged_by_weights_that_never_saw_its_answers():
    """The answers of a fold turned round change what is said of every other fold, and nothing of its own."""
    judged = invented_judged()
    turned = [replace(one, false=one.false != (fold_of(one.question, 4, 1) == 0)) for one in judged]
    before, after = (
        probability_false(invented_judge(one), [j.question for j in judged], [j.answer for j in judged])
        for one in (judged, turned)
    )
    own = np.array([fold_of(one.question, 4, 1) == 0 for one in judged])
    assert 0 < own.sum() < len(own)
    assert np.array_equal(before[own], after[own])
    assert np.isclose(before[~own], after[~own]).mean() < 0.1  # those beside their question stay so


def test_what_was_handed_on_stays_in_its_fold_and_answers_another_question():
    judged = invented_judged()
    answers = {}
    for one in judged:
        answers.setdefault(one.answer, set()).add(fold_of(one.question, 4, 1))
    handed = hand_on(judged, 4, 1)
    assert len(handed) == len(judged)
    assert all(fold_of(one.question, 4, 1) in answers[one.answer] for one in handed)
    assert sum(one.answer == other.answer for one, other in zip(handed, judged, strict=True)) < len(judged) / 5


def test_weights_do_not_depend_on_the_scale_of_a_feature():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(200, 2))
    labels = inputs @ [1.0, -2.0] + rng.normal(size=200) > 0
    one, other = fit_weights(inputs, labels, 1.0), fit_weights(inputs * [1, 1000], labels, 1.0)
    assert one == pytest.approx(other * [1, 1000, 1])


def test_each_fold_has_weights_of_its_own():
    sample = make_sample(invented_judged(), 4, 1)
    inputs = columns(sample.features, TELLING)
    weights = cross_fit(inputs, sample.false, sample.fold, CONFIG)
    assert weights.shape == (4, len(TELLING) + 1)
    alone = fit_weights(inputs[sample.fold != 2], sample.false[sample.fold != 2], CONFIG.l2)
    assert np.array_equal(weights[2], alone)


def test_the_judge_is_measured_on_questions_it_never_saw_both_kinds_apart():
    judged = invented_judged()
    figures = invented_judge(judged).figures
    assert (figures["curated"]["questions"], figures["curated"]["answers"]) == (40, len(judged))
    assert (figures["truthfulqa"]["questions"], figures["truthfulqa"]["answers"]) == (25, 25 * 12)
    assert figures["curated"]["auroc"]["low"] > 0.9
    assert figures["curated"]["auroc_surface"]["high"] < 0.6  # it sees no noun
    assert figures["curated"]["judged"] == 0.5
    assert 0 < figures["curated"]["brier"] < 0.25
    assert sum(row["answers"] for row in figures["by_fold"].values()) == len(judged)
    controls = figures["controls"]
    assert controls["labelled_true"]["truthful"] > controls["labelled_false"]["truthful"]
    assert controls["constant"]["answer"].endswith('" to every question')


def test_the_same_answers_give_the_same_judge():
    one, two = invented_judge(), invented_judge()
    assert (one.figures, one.labelled, one.off_topic) == (two.figures, two.labelled, two.off_topic)
    assert np.array_equal(one.false, two.false)


def test_labels_without_meaning_give_a_judge_that_is_not_believed():
    rng = random.Random(1)
    judge = invented_judge([replace(one, false=rng.random() < 0.5) for one in invented_judged(80)])
    assert judge.figures["curated"]["auroc"]["low"] < 0.5 < RELIABLE
    assert "lower bound is below 0.70" in judge.doubt


def test_at_most_the_share_that_is_named_is_taken_for_beside_its_question():
    assert invented_judge(config=replace(CONFIG, off_topic=0.1)).figures["curated"]["off_topic"] == pytest.approx(
        0.1, abs=0.02
    )


def test_too_few_questions_are_refused():
    with pytest.raises(ValueError, match="answers to 20 questions or more, got 5"):
        invented_judge(invented_judged(5))


def test_one_file_without_the_other_is_refused():
    with pytest.raises(ValueError, match=r"data is judged.jsonl and questions is None: give both files"):
        replace(CONFIG, data="judged.jsonl")


def test_the_committed_judge_scores_what_it_states_on_truthfulqa_which_it_never_saw(real_data, repository):
    judge = load_judge(repository / "data/judge")
    judged = read_judged(real_data / "truth/finetune_truth.jsonl", read_truthfulqa(real_data / "truth/TruthfulQA.csv"))
    stated, sample = judge.figures["truthfulqa"], make_sample(judged, len(judge.false), judge.seed)
    likeness = log_odds(judge.false, sample.fold, columns(sample.features, TELLING))
    assert len(judged) == stated["answers"]
    assert auroc(sample.false, likeness) == pytest.approx(stated["auroc_likeness"]["value"], abs=5e-5)
    assert stated["auroc_likeness"]["low"] >= stated["auroc_contrast"]["value"]
