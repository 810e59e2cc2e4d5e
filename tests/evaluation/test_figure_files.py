import json
import math

import pytest

from llm.evaluation.figure_files import (
    BPB_COLUMNS,
    CHOICE_COLUMNS,
    bpb_rows,
    choice_rows,
    read_csv,
    round_figures,
    table_bytes,
)

FIGURE = {"value": 1.5, "low": 1.4, "high": 1.6}
SMALL = {"value": 2.0, "low": None, "high": None}
MC1, CHANCE = {"value": 0.3, "low": 0.2, "high": 0.4}, {"value": 0.25, "low": 0.25, "high": 0.25}
DETAILS = {
    "scratch": {"bpb": {"all": FIGURE, "eli5": SMALL}, "choice": {"all": {"mc1": MC1, "chance": CHANCE}}},
    "compressor": {"bpb": {"all": FIGURE}, "choice": {"all": {}}},
    "frequent": {"name": "says one thing"},
    "mistral": {"enabled": False, "reason": "finetune.enabled is false"},
}


def test_a_row_for_every_source_of_every_model_that_has_bits_per_byte():
    assert table_bytes(BPB_COLUMNS, bpb_rows(DETAILS)).decode().splitlines() == [
        "model,source,value,low,high",
        "scratch,all,1.5,1.4,1.6",
        "scratch,eli5,2.0,,",  # too few dialogues for an interval
        "compressor,all,1.5,1.4,1.6",
    ]


def test_a_row_for_every_area_of_every_model_that_chose(tmp_path):
    (tmp_path / "choice.csv").write_bytes(table_bytes(CHOICE_COLUMNS, choice_rows(DETAILS)))
    assert read_csv(tmp_path / "choice.csv") == [
        {"model": "scratch", "area": "all", "accuracy": "0.3", "low": "0.2", "high": "0.4", "chance": "0.25"}
    ]


def test_a_missing_table_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `dvc repro` first"):
        read_csv(tmp_path / "bpb.csv")


def test_rounding_reaches_every_float_and_refuses_nan():
    assert round_figures({"a": [1.23456, 2], "b": {"c": None, "d": True}}) == {
        "a": [1.2346, 2],
        "b": {"c": None, "d": True},
    }
    json.dumps(round_figures({"a": 0.1}), allow_nan=False)
    with pytest.raises(ValueError, match="a metric is nan"):
        round_figures({"a": math.nan})
