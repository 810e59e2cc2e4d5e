"""The figures of a run computed again from its rows, without a model."""

from collections.abc import Iterable, Mapping
from typing import Any

from llm.evaluation.evaluate import Figures, Measured, Yardstick, make_yardstick, rounded
from llm.evaluation.scorecard import all_figures
from llm.evaluation.testset import Asked
from llm.evaluation.text_metrics import spans_of
from llm.judge.trees import Judge
from llm.runs.settings import Settings


def run_yardstick(
    runs: Mapping[str, Measured], settings: Settings, train_texts: Iterable[str], judge: Judge
) -> Yardstick:
    """The yardstick of the run: its models were asked the same, a model that cannot reply fewer things."""
    every = [run.asked for run in runs.values()]
    asked = Asked(
        examples=max((one.examples for one in every), key=len),
        prompts=max((one.prompts for one in every), key=len),
        quiz=max((one.quiz for one in every), key=len),
        truth=max((one.truth for one in every), key=len),
        truthfulqa=max((one.truthfulqa for one in every), key=len),
    )
    spans = spans_of(train_texts)
    return make_yardstick(asked, spans, judge, settings.evaluate, settings.min_dialogues, settings.data_seed)


def rescore(runs: Mapping[str, Measured], stick: Yardstick) -> dict[str, Figures]:
    """Every model's figures."""
    return {name: all_figures(Measured(stick.asked, run.likelihoods, run.texts), stick) for name, run in runs.items()}


def mismatches(found: Figures, metrics: Mapping[str, Any], detail: Mapping[str, Any]) -> list[str]:
    """Each figure that a model's files state otherwise, `bpb.all: 1.9, computed again 1.8`; none if all are equal."""
    pairs = (("", found.metrics, metrics), ("detail.", found.detail, detail))
    return [
        line
        for prefix, again, stated in pairs
        for line in _differing(rounded(again), {section: stated.get(section) for section in again}, prefix)
    ]


def _differing(found: Any, stated: Any, name: str) -> list[str]:
    if isinstance(found, dict) and isinstance(stated, dict):
        keys = sorted({*found, *stated})
        return [line for key in keys for line in _differing(found.get(key), stated.get(key), f"{name}{key}.")]
    return [] if found == stated else [f"{name.rstrip('.')}: {stated}, computed again {found}"]
