import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from llm.stats.bootstrap import draw_groups
from llm.stats.calibration import (
    auroc,
    balanced_accuracy,
    best_threshold,
    calibration_error,
    paired_gap,
    ranked_auroc,
    reliability,
    roc,
    with_interval,
)

RNG = np.random.default_rng(3)
FALSE = RNG.random(400) < 0.6
SCORE = np.round(RNG.random(400) + 0.3 * FALSE, 1)  # with ties
WEIGHTS = RNG.integers(0, 4, 400).astype(float)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_auroc_is_scikit_learn_s(weights):
    expected = roc_auc_score(FALSE, SCORE, sample_weight=weights)
    assert auroc(FALSE, SCORE, weights) == pytest.approx(expected, abs=1e-12)


def test_a_constant_score_tells_nothing():
    assert auroc(FALSE, np.ones(400)) == 0.5


def test_without_a_true_answer_there_is_no_area():
    assert np.isnan(auroc(np.array([True, True]), np.array([0.1, 0.2])))


def test_balanced_accuracy_is_scikit_learn_s():
    called = SCORE >= 0.6
    assert balanced_accuracy(FALSE, called) == pytest.approx(balanced_accuracy_score(FALSE, called), abs=1e-12)


def test_the_threshold_is_the_best_of_all():
    found = balanced_accuracy(FALSE, best_threshold(FALSE, SCORE) <= SCORE)
    assert found == max(balanced_accuracy(FALSE, line <= SCORE) for line in np.unique(SCORE)[1:])


def test_calibration_error_by_hand():
    probability = np.array([0.1, 0.1, 0.9, 0.9])
    false = np.array([False, False, True, False])
    assert reliability(false, probability)[1] == {"predicted": 0.9, "judged": 0.5, "answers": 2}
    assert calibration_error(false, probability) == pytest.approx(0.5 * 0.1 + 0.5 * 0.4)  # two bins of half the answers


def test_certainty_falls_into_the_last_bin():
    assert reliability(np.array([True]), np.array([1.0])) == [{"predicted": 1.0, "judged": 1.0, "answers": 1}]


def test_the_area_under_the_curve_s_points_is_the_area():
    points = np.array(roc(FALSE, SCORE))
    assert points[0].tolist() == [0.0, 0.0]
    assert points[-1].tolist() == [1.0, 1.0]
    area = np.sum(np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2)
    assert area == pytest.approx(auroc(FALSE, SCORE), abs=0.005)  # 41 points


def test_an_interval_resamples_groups_and_a_gap_with_itself_is_nothing():
    groups = draw_groups([str(i // 4) for i in range(400)], [""] * 400, 200, seed=1)
    curve = ranked_auroc(FALSE, SCORE)
    found = with_interval(curve, groups)
    assert found["low"] < found["value"] < found["high"]
    assert paired_gap(curve, curve, groups) == {"value": 0.0, "low": 0.0, "high": 0.0}
