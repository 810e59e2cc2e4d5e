from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.corpus.split import MAX_TEST_SHARE, SPLITS, join_groups, position, split_units

NO_LINKS = np.empty((0, 2), np.int64)


def split(units, val_share=0.05, test_share=0.05, min_test=1, seed=1):
    return split_units(units, val_share, test_share, min_test, seed)


def test_linked_groups_become_one_named_after_the_first():
    assert join_groups(["c", "b", "a", "d"], np.array([[0, 1], [1, 2]]), 0.1) == ["a", "a", "a", "d"]


def test_without_links_every_group_is_its_own_unit():
    assert join_groups(["x", "y", "x"], NO_LINKS, 0.1) == ["x", "y", "x"]


@pytest.mark.parametrize(("n_links", "joined"), [(1, False), (2, True)])
def test_groups_join_when_links_touch_the_share_of_either(n_links, joined):  # 2 of 20 dialogues are a tenth
    groups = ["film a"] * 30 + ["film b"] * 20
    links = np.array([[i, 30 + i] for i in range(n_links)])
    assert (len(set(join_groups(groups, links, 0.1))) == 1) is joined


def test_one_dialogue_linked_many_times_counts_once():
    groups = ["a"] * 20 + ["b"] * 20
    assert len(set(join_groups(groups, np.array([[0, 20]] * 5), 0.1))) == 2


def test_a_unit_is_never_divided():
    units = [f"u{i % 100}" for i in range(1000)]
    assert all(len(splits) == 1 for splits in by_unit(units).values())


def by_unit(units):
    splits = {}
    for unit, split_name in zip(units, split(units), strict=True):
        splits.setdefault(unit, set()).add(split_name)
    return splits


def test_shares_are_those_asked_for():  # 3 standard deviations of a binomial of 20,000 at .05: 92
    counts = Counter(split([f"u{i}" for i in range(20_000)]))
    assert counts["test"] == pytest.approx(1000, abs=92)
    assert counts["val"] == pytest.approx(1000, abs=92)


def test_another_seed_gives_another_split():
    units = [f"u{i}" for i in range(500)]
    assert split(units, seed=1) != split(units, seed=2)


def test_the_place_of_a_unit_is_pinned():  # `printf "1\nu" | b2sum -l 64`: a change would move all
    assert position("u", 1) == 0xBB3DFE99CDAADC57 / 2**64


@given(st.sets(st.integers(0, 10**6), min_size=400, max_size=500), st.integers(0, 10**6))
def test_a_new_dialogue_moves_no_other(numbers, new):
    units = [f"u{i}" for i in sorted(numbers - {new})]
    more = split([*units, f"u{new}"])
    assert more[:-1] == split(units)


def test_the_test_set_is_raised_to_the_minimum():
    assert Counter(split([f"u{i}" for i in range(200)], min_test=30))["test"] == 30


def test_the_test_set_is_not_raised_beyond_a_fifth():
    assert Counter(split([f"u{i}" for i in range(50)], min_test=30))["test"] == 10


def test_raising_the_test_set_leaves_validation_alone():
    units = [f"u{i}" for i in range(200)]
    few, many = split(units, min_test=1), split(units, min_test=30)
    assert [a for a, b in zip(few, many, strict=True) if a == "val" != b] == []


@pytest.mark.parametrize(("size", "held_out"), [(25, True), (26, False)])
def test_a_unit_larger_than_half_a_test_set_is_trained_on(size, held_out):  # a test set of .05 * 1000 = 50 dialogues
    units = ["large"] * size + [f"u{i}" for i in range(1000 - size)]
    splits = {split(units, seed=seed)[0] for seed in range(100)}
    assert splits == ({"train", "val", "test"} if held_out else {"train"})


@pytest.mark.parametrize("sizes", [(1, 1, 1), (40, 40, 40, 40, 40), (100, 1, 1, 1)])
def test_three_units_fill_every_split(sizes):
    units = [f"u{i}" for i, size in enumerate(sizes) for _ in range(size)]
    assert set(split(units, min_test=30)) == {"train", "val", "test"}


SIZES = [
    (1, 1, 1000), (100, 120, 30), (200, 200, 200), (300,), (150, 150), (10, 10, 10, 10), (50, 10, 10, 10),
    (100, 80, 60, 40), (5, 5, 5, 5, 5), (1000, 5, 5, 5, 5, 5), (1, 1, 1, 1, 1, 1), (250,) * 6, (5,), (3, 2),
]  # fmt: skip


def of_sizes(sizes):
    return [f"u{i}" for i, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize("sizes", SIZES)
def test_few_groups_fill_every_split_and_the_test_set_is_a_fifth_at_most(sizes):
    for seed in range(100):
        counts = Counter(split(of_sizes(sizes), min_test=30, seed=seed))
        assert min(counts[name] for name in SPLITS) >= 1
        assert max(counts["test"], counts["val"]) <= max(1, MAX_TEST_SHARE * sum(sizes))
        assert counts["train"] >= counts["test"]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 100), st.sampled_from([1, 30]))
def test_any_groups_fill_every_split_or_are_refused(sizes, seed, min_test):
    try:
        counts = Counter(split(of_sizes(sizes), min_test=min_test, seed=seed))
    except ValueError:
        assert sum(sizes) < 5
        return
    assert min(counts[name] for name in SPLITS) >= 1
    assert max(counts["test"], counts["val"]) <= max(1, MAX_TEST_SHARE * sum(sizes))


def test_the_largest_of_a_few_groups_is_trained_on():
    for seed in range(100):
        assert set(split(of_sizes((12, 11, 10, 10, 10, 10)), seed=seed)[:12]) == {"train"}


def test_one_group_is_cut_into_a_piece_for_each_split_with_a_gap_between():
    assert split(["book"] * 100, 0.05, 0.1) == ["train"] * 83 + ["gap"] + ["val"] * 5 + ["gap"] + ["test"] * 10


def test_a_source_too_small_to_be_cut_is_refused():
    with pytest.raises(ValueError, match=r"^its 4 dialogues \(or sections\) .* give it 5$"):
        split(["a", "a", "b", "b"])


def test_no_dialogue_needs_no_split():
    assert split([]) == []
