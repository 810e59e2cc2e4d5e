import pytest
import torch

from llm.training.average import Average


def test_the_average_of_a_line_of_weights_is_their_weighted_mean():
    trained = {"w": torch.tensor([0.0])}
    average = Average(trained, 0.3)
    for step, value in ((1, 1.0), (2, 2.0)):  # decay: min(.3, 2/11), min(.3, 3/12)
        trained["w"].fill_(value)
        average.update(step)
    first = (1 - 2 / 11) * 1.0
    assert average.mean["w"].item() == pytest.approx(0.25 * first + 0.75 * 2.0)


def test_a_block_with_the_average_leaves_both_as_they_were():
    trained = {"w": torch.tensor([0.1, 0.2])}
    average = Average(trained, 0.5)
    average.mean["w"].fill_(0.3)
    with average.in_model():
        assert torch.equal(trained["w"], torch.full((2,), 0.3))
    assert torch.equal(trained["w"], torch.tensor([0.1, 0.2]))
    assert torch.equal(average.mean["w"], torch.full((2,), 0.3))


def test_decay_0_keeps_no_average():
    average = Average({"w": torch.ones(2)}, 0.0)
    average.update(1)
    assert average.mean == {}
