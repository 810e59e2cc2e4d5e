import math

import numpy as np
import pytest

from llm.stats.verdict import CANT_TELL, Evidence, Side, bootstrap_p, decide, holm, mcnemar, student, welch


def verdict(a, b, sd_a=0.01, sd_b=0.01, lower_is_better=True, items_p=0.001):
    return decide(Evidence(Side(a, sd_a), Side(b, sd_b), lower_is_better, items_p))


def one_seed(a, b, **kw):
    return verdict([a], [b], **kw)[0]


def test_one_seed_never_claims_more_than_these_items():
    assert one_seed(1.9, 2.0) == "better on these items; one seed"
    assert one_seed(2.0, 1.9) == "worse on these items; one seed"
    assert one_seed(2.0, 1.9, lower_is_better=False) == "better on these items; one seed"


def test_one_seed_needs_a_gap_of_more_than_twice_the_spread_of_a_difference():
    """Of two seeds the difference has a standard deviation of 5 where each has 3 and 4."""
    assert one_seed(0.0, 9.79, sd_a=3.0, sd_b=4.0) == CANT_TELL  # 1.96 times
    assert one_seed(0.0, 9.81, sd_a=3.0, sd_b=4.0) == "better on these items; one seed"


def test_more_seeds_make_the_spread_of_a_mean_smaller():
    assert verdict([0.0, 0.0], [1.9, 1.9], 1.0, 1.0)[0] == CANT_TELL  # sqrt(1/2 + 1/2), twice
    assert verdict([0.0, 0.0], [2.1, 2.1], 1.0, 1.0)[0] == "better on these items; two seeds"


def test_against_a_model_that_no_seed_changes_one_spread_counts():
    assert one_seed(1.0, 1.021, sd_b=0.0) == "better on these items; one seed"
    assert one_seed(1.0, 1.019, sd_b=0.0) == CANT_TELL
    assert one_seed(1.0, 2.0, sd_a=0.0, sd_b=0.0) == "better on these items"  # no seed on either side


def test_a_spread_that_nobody_measured_allows_no_verdict():
    assert one_seed(1.0, 2.0, sd_a=None) == CANT_TELL
    assert one_seed(1.0, 2.0, sd_b=None) == CANT_TELL
    assert verdict([1.0, 1.1, 0.9], [2.0, 2.1, 1.9], None, None)[0] == "better"  # measured here


def test_one_seed_needs_the_items_too():
    assert one_seed(1.0, 2.0, items_p=0.05) == CANT_TELL
    assert one_seed(1.0, 2.0, items_p=None) == CANT_TELL


def test_no_gap_is_no_verdict():
    assert one_seed(2.0, 2.0, sd_a=0.0, sd_b=0.0) == CANT_TELL
    assert verdict([1.0] * 3, [1.0] * 3) == (CANT_TELL, None)


def test_the_smaller_side_counts():
    assert verdict([1.0, 1.01, 1.02, 0.99], [2.0]) == ("better on these items; one seed", None)
    assert verdict([1.0, 1.01, 1.02], [2.0, 2.01]) == ("better on these items; two seeds", None)


def test_three_seeds_a_side_are_tested_by_welch():
    a, b = [1.0, 1.1, 1.2], [1.1, 1.2, 1.3]  # a gap of one standard deviation
    assert verdict(a, b) == (CANT_TELL, pytest.approx(welch(a, b)))
    word, p = verdict(a, [x + 0.5 for x in b])
    assert word == "better"
    assert p < 0.05
    assert verdict(a, [x + 0.5 for x in b], items_p=0.2)[0] == CANT_TELL  # too few items to carry it


def test_three_seeds_are_tested_against_a_fixed_figure_by_student():
    seeds = [1.0, 1.1, 1.2]
    assert verdict(seeds, [1.5], sd_b=0.0) == ("better", pytest.approx(student(seeds, 1.5)))
    assert verdict([1.5], seeds, sd_a=0.0) == ("worse", pytest.approx(student(seeds, 1.5)))
    assert verdict(seeds, [1.2], sd_b=0.0)[0] == CANT_TELL
    assert verdict(seeds[:2], [1.5], sd_b=0.0)[0] == "better on these items; two seeds"


def test_student_equals_scipy():
    from scipy.stats import ttest_1samp

    values = [1.0, 1.3, 1.2, 0.7]
    assert student(values, 1.5) == pytest.approx(ttest_1samp(values, 1.5).pvalue)
    assert student([1.0], 2.0) is None
    assert student([1.0, 1.0, 1.0], 2.0) is None


def test_holm_multiplies_by_the_tests_that_are_left():
    assert holm({"a": 0.011, "b": 0.02, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.033, "b": 0.04, "c": 0.04}  # 4 * .005; 3 * .011; 2 * .02; 1 * .03, not below .04
    )
    assert holm({"a": 0.9, "b": 0.6}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}


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


def told_apart(n_a, n_b, gap, fixed=False, n_cases=20_000):
    """Share of cases in which two sides `gap` spreads apart get a verdict, where the items always see a difference."""
    rng = np.random.default_rng([n_a, n_b])
    a = rng.normal(gap, 1.0, (n_cases, n_a))
    b = np.zeros((n_cases, 1)) if fixed else rng.normal(0.0, 1.0, (n_cases, n_b))
    return np.mean(
        [verdict(x, y, 1.0, 0.0 if fixed else 1.0, items_p=0.0)[0] != CANT_TELL for x, y in zip(a, b, strict=True)]
    )


@pytest.mark.parametrize(("n_a", "n_b"), [(1, 1), (1, 2), (2, 2), (1, 5), (3, 3), (5, 5), (10, 10)])
def test_at_most_one_in_twenty_pairs_of_one_configuration_is_told_apart(n_a, n_b):
    assert told_apart(n_a, n_b, 0.0) <= 0.05


@pytest.mark.parametrize("n_seeds", [1, 2, 3, 5])
def test_at_most_one_in_twenty_is_told_apart_from_a_fixed_figure_that_it_equals(n_seeds):
    assert told_apart(n_seeds, 1, 0.0, fixed=True) <= 0.05


@pytest.mark.parametrize("n_measured", [2, 3, 5, 10])
@pytest.mark.parametrize("fixed", [False, True])
def test_at_most_one_in_twenty_where_the_spread_itself_was_measured_on_few_seeds(n_measured, fixed):
    """With twice the spread of five seeds one in nine pairs of one configuration would be told apart."""
    rng, n_cases = np.random.default_rng(n_measured), 20_000
    gaps = rng.normal(0.0, 1.0 if fixed else math.sqrt(2), n_cases)
    spreads = rng.normal(0.0, 1.0, (n_cases, n_measured)).std(axis=1, ddof=1)
    other = Side([0.0], 0.0) if fixed else None
    told = [
        decide(Evidence(Side([gap], sd, n_measured), other or Side([0.0], sd, n_measured), True, 0.0))[0] != CANT_TELL
        for gap, sd in zip(gaps.tolist(), spreads.tolist(), strict=True)
    ]
    assert np.mean(told) == pytest.approx(0.05, abs=0.005)
    if n_measured == 5:
        assert np.mean(np.abs(gaps) > 2 * spreads * (1 if fixed else math.sqrt(2))) > 0.1


def test_power_of_the_rule():
    """Of a gap of five spreads between seeds, 5 % where seeds differ by 1 %."""
    assert told_apart(1, 1, 5.0) >= 0.9
    assert told_apart(3, 3, 5.0) >= 0.9
    assert told_apart(5, 5, 5.0) >= 0.99
    assert told_apart(3, 1, 5.0, fixed=True) >= 0.8
    assert told_apart(3, 3, 2.0) < 0.5  # three seeds do not suffice for everything
