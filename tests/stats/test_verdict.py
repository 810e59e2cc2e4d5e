import math

import numpy as np
import pytest

from llm.stats.verdict import CANT_TELL, Evidence, bootstrap_p, decide, mcnemar, welch


def one_seed(a, b, **kw):
    return decide(Evidence([a], [b], **{"lower_is_better": True, "items_p": 0.001, "seed_sd": 0.01, **kw}))[0]


def test_one_seed_never_claims_more_than_these_items():
    assert one_seed(1.9, 2.0) == "better on these items; one seed"
    assert one_seed(2.0, 1.9) == "worse on these items; one seed"
    assert one_seed(2.0, 1.9, lower_is_better=False) == "better on these items; one seed"


def test_one_seed_needs_a_gap_of_more_than_twice_the_spread_between_seeds():
    assert one_seed(1.0, 1.25, seed_sd=0.125) == CANT_TELL  # exactly twice
    assert one_seed(1.0, 1.26, seed_sd=0.125) == "better on these items; one seed"


def test_one_seed_needs_the_items_too():
    assert one_seed(1.0, 2.0, items_p=0.05) == CANT_TELL
    assert one_seed(1.0, 2.0, items_p=None) == CANT_TELL


def test_no_gap_is_no_verdict():
    assert one_seed(2.0, 2.0, seed_sd=0.0) == CANT_TELL
    assert decide(Evidence([1.0] * 3, [1.0] * 3, True, 0.001, 0.0)) == (CANT_TELL, None)


def test_the_smaller_side_counts():
    found = decide(Evidence([1.0, 1.01, 1.02, 0.99], [2.0], True, 0.001, 0.01))
    assert found == ("better on these items; one seed", None)
    found = decide(Evidence([1.0, 1.01, 1.02], [2.0, 2.01], True, 0.001, 0.01))
    assert found == ("better on these items; two seeds", None)


def test_three_seeds_a_side_are_tested_by_welch():
    a, b = [1.0, 1.1, 1.2], [1.1, 1.2, 1.3]  # a gap of one standard deviation
    assert decide(Evidence(a, b, True, 0.001, 0.0)) == (CANT_TELL, pytest.approx(welch(a, b)))
    verdict, p = decide(Evidence(a, [x + 0.5 for x in b], True, 0.001, 0.0))
    assert verdict == "better"
    assert p < 0.05
    assert decide(Evidence(a, [x + 0.5 for x in b], True, 0.2, 0.0))[0] == CANT_TELL  # too few items to carry it


def test_welch_equals_the_worked_value():
    # Equal sizes and variances: t = .1 / sqrt(2 * .01 / 3), 4 degrees of freedom. Student's law for 4 in closed form:
    # P(T > t) = 1/2 - s (3 - s^2) / 4 with s = t / sqrt(t^2 + 4)
    t = 0.1 / math.sqrt(2 * 0.01 / 3)
    s = t / math.sqrt(t * t + 4)
    assert welch([1.0, 1.1, 1.2], [1.1, 1.2, 1.3]) == pytest.approx(2 * (0.5 - s * (3 - s * s) / 4))


def test_welch_equals_scipy_on_unequal_groups():
    from scipy.stats import ttest_ind

    a, b = [1.0, 1.3, 1.2, 0.7], [2.0, 5.0, 1.0]
    assert welch(a, b) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue)


def test_welch_knows_nothing_without_a_spread():
    assert welch([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]) is None
    assert welch([1.0], [2.0, 3.0, 4.0]) is None


def test_mcnemar_counts_only_the_questions_on_which_the_two_differ():
    a = [True] * 50 + [True] * 8 + [False] * 2
    b = [True] * 50 + [False] * 8 + [True] * 2
    assert mcnemar(a, b) == 2 * (1 + 10 + 45) / 2**10  # at most 2 of 10, both tails
    assert mcnemar(a, a) == 1.0
    assert mcnemar([True, False], [False, True]) == 1.0  # one each: not 1.5


def test_bootstrap_p_counts_the_far_side_twice():
    assert bootstrap_p(np.array([-1.0] * 98 + [1.0])) == 2 * 2 / 100
    assert bootstrap_p(np.array([-1.0] * 99)) == 2 * 1 / 100
    assert bootstrap_p(np.zeros(99)) == 1.0
    assert bootstrap_p(np.array([math.nan, -1.0, -1.0])) == 2 * 1 / 3


def told_apart(n_seeds, gap, n_cases=2000):
    """Share of cases in which two groups `gap` apart get a verdict, where the items always see a difference."""
    rng = np.random.default_rng(n_seeds)
    a, b = rng.normal(gap, 1.0, (n_cases, n_seeds)), rng.normal(0.0, 1.0, (n_cases, n_seeds))
    return np.mean([decide(Evidence(x, y, False, 0.0, 0.0))[0] != CANT_TELL for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
def test_at_most_one_in_twenty_groups_of_one_configuration_is_told_apart(n_seeds):
    assert told_apart(n_seeds, 0.0) <= 0.05


def test_power_of_the_rule():
    """Of a gap of five spreads between seeds, 5 % where seeds differ by 1 %."""
    assert told_apart(3, 5.0) >= 0.9
    assert told_apart(5, 5.0) >= 0.99
    assert told_apart(3, 2.0) < 0.5  # three seeds do not suffice for everything
