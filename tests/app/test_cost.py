"""What a run cost, from what its stages measured."""

import pytest

from llm.app.cost import WATTS, cost_figures, cost_markdown

LINE = {"key": "a", "seconds": 264.0, "peak_bytes": 2 * 2**30, "processor": "AMD EPYC", "gpu": None}
TRAININGS = {"scratch": {"tokens": 5_930_509}, "mistral": {"enabled": False}}


def test_energy_is_time_by_the_assumed_power():
    found = cost_figures({"train_scratch": LINE, "evaluate": {**LINE, "gpu": "H200"}}, TRAININGS, {})
    assert found["energy"]["kwh"] == pytest.approx(264 * (WATTS["cpu"] + WATTS["gpu"]) / 3.6e6, abs=1e-5)


def test_tokens_a_second_are_those_of_the_whole_stage():
    found = cost_figures({"train_scratch": LINE}, TRAININGS, {"train_scratch": 4e13})
    assert found["trainings"]["train_scratch"]["tokens_per_s"] == pytest.approx(5_930_509 / 264, abs=0.1)


def test_a_stage_that_was_not_measured_is_named_and_not_counted():
    text = cost_markdown(cost_figures({"clean": None, "train_scratch": LINE}, TRAININGS, {"train_scratch": 4e13}))
    assert "In all 4.4 minutes, without `clean`, with 2.0 GiB of memory at the peak." in text
    assert "| `clean` | not measured here | - | - |" in text
    assert "4.0 × 10^13 operations" in text


def test_where_nothing_was_measured_the_section_says_so():
    assert cost_markdown(None) == cost_markdown(cost_figures({"clean": None}, TRAININGS, {}))
