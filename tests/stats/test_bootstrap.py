import numpy as np
import pytest

from llm.stats.bootstrap import difference, draw_groups, mean, mean_of, ratio, transform


def test_a_ratio_is_of_sums_not_a_mean_of_ratios():
    resampling = draw_groups(["a", "b"], ["s", "s"], 100, seed=1)
    assert ratio([1, 9], [1, 3], resampling).value == 10 / 4  # not (1 + 3) / 2


def test_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(1).normal(size=400)
    resampling = draw_groups([str(i) for i in range(400)], ["s"] * 400, 4000, seed=1)
    found = mean(values, resampling)
    half = 1.96 * values.std() / np.sqrt(400)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_copies_of_an_item_in_its_group_do_not_narrow_the_interval():
    values = np.random.default_rng(2).normal(size=50)
    groups = [str(i) for i in range(50)]
    once = mean(values, draw_groups(groups, ["s"] * 50, 500, seed=1))
    tenfold = mean(np.repeat(values, 10), draw_groups(np.repeat(groups, 10).tolist(), ["s"] * 500, 500, seed=1))
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_each_stratum_keeps_its_number_of_groups():
    groups, strata = ["a", "b", "c", "a"], ["s", "s", "s", "t"]
    resampling = draw_groups(groups, strata, 200, seed=1)
    inside = np.array([1.0, 1.0, 1.0, 0.0])
    assert resampling.weights.shape == (200, 4)  # group a of s is not group a of t
    assert set(ratio(inside, [1, 1, 1, 1], resampling).resampled) == {0.75}


def test_a_paired_difference_is_narrower_than_its_parts():
    rng = np.random.default_rng(3)
    shared, resampling = rng.normal(size=100), draw_groups([str(i) for i in range(100)], ["s"] * 100, 500, seed=1)
    a, b = mean(shared, resampling), mean(shared + 0.1 + 0.01 * rng.normal(size=100), resampling)
    found = difference(a, b)
    assert found.value == pytest.approx(-0.1, abs=0.005)
    assert found.high < 0 < a.high - b.low  # lower, although the two intervals overlap


def test_the_seed_fixes_the_interval():
    def low(seed):
        return mean(range(30), draw_groups([str(i) for i in range(30)], ["s"] * 30, 100, seed)).low

    assert low(1) == low(1) != low(2)


def test_a_macro_mean_weighs_sources_alike():
    resampling = draw_groups(["a", "b"], ["s", "t"], 10, seed=1)
    parts = [ratio([4.0, 0.0], [1.0, 0.0], resampling), ratio([0.0, 20.0], [0.0, 10.0], resampling)]
    assert mean_of(parts).value == 3.0


def test_a_transformed_estimate_keeps_its_draws():
    found = transform(mean([0.0, 2.0], draw_groups(["a", "b"], ["s", "s"], 10, seed=1)), np.exp)
    assert found.value == pytest.approx(np.e)
    assert set(found.resampled.round(6)) <= {1.0, round(np.e, 6), round(np.e**2, 6)}


def test_nothing_to_divide_by_is_refused():
    with pytest.raises(ValueError, match="denominator above 0"):
        ratio([1.0], [0.0], draw_groups(["a"], ["s"], 10, seed=1))
    with pytest.raises(ValueError, match="no items"):
        draw_groups([], [], 10, seed=1)


def test_a_difference_needs_equally_many_resamples():
    a, b = (mean([1.0], draw_groups(["a"], ["s"], n, seed=1)) for n in (5, 6))
    with pytest.raises(ValueError, match="not paired"):
        difference(a, b)
