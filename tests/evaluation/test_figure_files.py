import json
import math

import pytest

from llm.evaluation.figure_files import (
    BPB_COLUMNS,
    CHOICE_COLUMNS,
    bpb_rows,
    choice_rows,
    find_not_finite,
    read_csv,
    round_figures,
    show_number,
    table_bytes,
)

FIGURE = {"value": 1.5, "low": 1.4, "high": 1.6, "n": 94}
SMALL = {"value": 2.0, "low": None, "high": None, "n": 8}
MC1, CHANCE = {"value": 0.3, "low": 0.2, "high": 0.4}, {"value": 0.25, "low": 0.25, "high": 0.25}
HALF = {"value": 0.5, "low": 0.5, "high": 0.5}
TRUE = {"value": 0.6, "low": 0.5, "high": 0.7}
LITERACY = {
    "all": {"accuracy": TRUE, "chance": HALF, "n": 344},
    "what_ai_is": {"accuracy": SMALL, "chance": HALF, "n": 70},
}
QUIZ = {"all": {"mc1": MC1, "chance": CHANCE, "n": 200}, "what_ai_is": {"mc1": MC1, "chance": CHANCE, "n": 40}}
DETAILS = {
    "scratch": {"bpb": {"all": FIGURE, "eli5": SMALL}, "literacy": LITERACY, "choice": QUIZ},
    "compressor": {"bpb": {"all": FIGURE}, "literacy": {}, "choice": {}},
    "frequent": {"name": "says one thing"},
    "mistral": {"enabled": False, "reason": "finetune.enabled is false"},
}


def test_a_row_for_every_source_of_every_model_that_has_bits_per_byte():
    assert table_bytes(BPB_COLUMNS, bpb_rows(DETAILS)).decode().splitlines() == [
        "model,source,value,low,high,n",
        "scratch,all,1.5,1.4,1.6,94",
        "scratch,eli5,2.0,,,8",  # too few groups for an interval
        "compressor,all,1.5,1.4,1.6,94",
    ]


def test_literacy_has_a_row_for_every_area_and_the_quiz_one_each_with_its_chance_and_n():
    assert table_bytes(CHOICE_COLUMNS, choice_rows(DETAILS)).decode().splitlines() == [
        "model,area,accuracy,low,high,chance,n",
        "scratch,all,0.6,0.5,0.7,0.5,344",
        "scratch,what_ai_is,2.0,,,0.5,70",
        "scratch,quiz,0.3,0.2,0.4,0.25,200",
    ]


def test_a_missing_table_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `dvc repro` first"):
        read_csv(tmp_path / "bpb.csv")


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (1.815, 2, "1.82"),  # below the half in binary: 1.81499...
        (1.825, 2, "1.83"),  # above it
        (0.125, 2, "0.13"),  # the half itself, which Python rounds to the even digit
        (-0.125, 2, "-0.13"),
        (1.81449, 3, "1.815"),  # 1.8145 in the files
        (-0.00001, 3, "0.000"),
        (12.0, 1, "12.0"),
        (None, 3, "-"),
        (math.nan, 3, "-"),
    ],
)
def test_halves_are_rounded_one_way_from_what_the_files_hold(value, digits, shown):
    assert show_number(value, digits) == shown


def test_rounding_reaches_every_float_and_leaves_null_for_one_that_is_not_finite():
    assert round_figures({"a": [1.23456, 2], "b": {"c": None, "d": True}}) == {
        "a": [1.2346, 2],
        "b": {"c": None, "d": True},
    }
    json.dumps(round_figures({"a": 0.1}), allow_nan=False)
    values = {"a": math.nan, "b": {"c": [1.0, -math.inf], "d": math.inf}, "e": None, "f": 1}
    assert round_figures(values) == {"a": None, "b": {"c": [1.0, None], "d": None}, "e": None, "f": 1}
    assert find_not_finite(values) == ["a", "b.d"]
