from llm.evaluation.measure import Figures
from llm.runs.rescore import mismatches


def test_equal_figures_have_no_mismatch():
    found = Figures({"bpb": {"all": 1.23456}}, {"bpb": {"all": {"low": 1.0}}})
    metrics, detail = {"bpb": {"all": 1.2346}, "memory": {}}, {"bpb": {"all": {"low": 1.0}}, "name": "GPT"}
    assert mismatches(found, metrics, detail) == []


def test_every_mismatch_is_named_with_both_values():
    found = Figures({"bpb": {"all": 1.5, "eli5": 2.0}}, {"text": {"bleu": {"low": 1.0}}})
    assert mismatches(found, {"bpb": {"all": 1.5001}}, {}) == [
        "bpb.all: 1.5001, computed again 1.5",
        "bpb.eli5: None, computed again 2.0",
        "detail.text: None, computed again {'bleu': {'low': 1.0}}",
    ]
