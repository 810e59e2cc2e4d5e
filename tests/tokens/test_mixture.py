import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.tokens.mixture import appearances, check_mixture, read_times, write_sources


def test_each_dialogue_is_read_as_often_as_its_source_is_to_be(tmp_path):
    write_sources(tmp_path, iter(["dialogue", "dialogue", "eli5", "dialogue", "planted canaries"]))
    assert read_times(tmp_path, {"eli5": 4, "dialogue": 0.5}).tolist() == [0.5, 0.5, 4, 0.5, 1]
    assert read_times(tmp_path, {}).tolist() == [1] * 5


@given(st.lists(st.sampled_from([0.0, 0.25, 0.3, 1.0, 2.5, 4.0]), min_size=1, max_size=30), st.integers(0, 3))
def test_after_any_number_of_epochs_a_dialogue_is_less_than_once_away_from_its_share(times, seed):
    read = np.zeros(len(times))
    for epoch in range(12):
        numbers = appearances(np.array(times), seed, epoch)
        assert (np.diff(numbers) >= 0).all()
        read += np.bincount(numbers, minlength=len(times))
        assert (abs(read - (epoch + 1) * np.array(times)) < 1 + 1e-9).all()


def test_an_epoch_has_its_share_of_a_source_that_is_read_in_part():
    first, second = (appearances(np.full(4000, 0.5), 1, epoch) for epoch in (0, 1))
    assert 1900 < len(first) < 2100
    assert sorted([*first, *second]) == list(range(4000))


def test_who_reads_once_reads_everything_once():
    assert appearances(np.ones(50), 1, 7).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("mixture", "told"),
    [
        ({"eli5": -1.0}, "mixture.eli5"),
        ({"eli5": 1e6}, "mixture.eli5"),
        ({"eli": 2.0}, "mixture.eli: no such source; those of download are dialogue, eli5"),
        ({"eli5": 0.0, "dialogue": 0.0}, "leaves no source"),
    ],
)
def test_a_mixture_that_cannot_be_read_is_refused(mixture, told):
    with pytest.raises(ValueError, match=told):
        check_mixture(mixture, ["dialogue", "eli5"])
    check_mixture({"eli5": 4.0, "dialogue": 0.0}, ["dialogue", "eli5"])
