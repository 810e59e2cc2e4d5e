"""Figures for the ear, by the examples of their docstrings and at their edges."""

import doctest
import math

import pytest

from llm.app import ear, quote, recorded, script, speech


@pytest.mark.parametrize("module", [ear, quote, recorded, script, speech], ids=lambda module: module.__name__)
def test_the_examples_hold(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_a_thousand_times_as_likely_is_a_lower_bound():
    assert ear.times(math.log(999)) == "about 1,000 times as likely as"
    assert ear.times(math.log(1500)) == "more than 1,000 times as likely as"


def test_a_description_without_a_number_of_weights_gives_none():
    assert ear.n_parameters("a model of mine") is None
