"""The figures of a run computed again from the outputs in its files, without a model."""

from collections.abc import Iterable, Mapping
from typing import Any

from llm.evaluation.ask import Outputs
from llm.evaluation.figure_files import round_figures
from llm.evaluation.items import EvalItems
from llm.evaluation.measure import Figures, MetricInputs, make_metric_inputs, measure
from llm.evaluation.text_metrics import spans_of
from llm.judge.instrument import Judge
from llm.runs.run_files import Settings


def metric_inputs_of(
    outputs: Mapping[str, Outputs], settings: Settings, train_texts: Iterable[str], judge: Judge
) -> MetricInputs:
    """What the metrics of a run need: its models had the same items, a model that cannot reply fewer of them."""
    every = [one.items for one in outputs.values()]
    items = EvalItems(
        examples=max((one.examples for one in every), key=len),
        prompts=max((one.prompts for one in every), key=len),
        quiz=max((one.quiz for one in every), key=len),
        truth=max((one.truth for one in every), key=len),
        truthfulqa=max((one.truthfulqa for one in every), key=len),
        pairs=max((one.pairs for one in every), key=len),
        premises=max((one.premises for one in every), key=len),
    )
    spans = spans_of(train_texts)
    return make_metric_inputs(items, outputs, spans, judge, settings.evaluate, settings.min_groups, settings.data_seed)


def rescore(outputs: Mapping[str, Outputs], inputs: MetricInputs) -> dict[str, Figures]:
    """Every model's figures that follow from outputs in files."""
    return {name: measure(one, inputs) for name, one in outputs.items()}


def mismatches(found: Figures, metrics: Mapping[str, Any], detail: Mapping[str, Any]) -> list[str]:
    """Each figure that a model's files state otherwise, `bpb.all: 1.9, computed again 1.8`; none if all are equal."""
    pairs = (("", found.metrics, metrics), ("detail.", found.detail, detail))
    return [
        line
        for prefix, again, stated in pairs
        for line in _differing(round_figures(again), {section: stated.get(section) for section in again}, prefix)
    ]


def _differing(found: Any, stated: Any, name: str) -> list[str]:
    if isinstance(found, dict) and isinstance(stated, dict):
        keys = sorted({*found, *stated})
        return [line for key in keys for line in _differing(found.get(key), stated.get(key), f"{name}{key}.")]
    return [] if found == stated else [f"{name.rstrip('.')}: {stated}, computed again {found}"]
