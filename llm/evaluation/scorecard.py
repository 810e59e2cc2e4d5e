"""A model's figures as they stand in files: it is loaded, asked everything, and let go before the next one."""

import gc
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import torch

from llm.evaluation.evaluate import (
    TEXT_MEASURES,
    Advance,
    Figures,
    Measured,
    Texts,
    Yardstick,
    ask_likelihoods,
    ask_texts,
    count_items,
    empty_metrics,
    likelihood_figures,
    n_likelihoods,
    n_texts,
    text_figures,
)
from llm.evaluation.exposure import MEMORY_MEASURES, Planted, ask_memory, memory_figures
from llm.evaluation.lineup import Entrant
from llm.evaluation.samples import PROMPTS
from llm.evaluation.scoring import Replier, Score, Scorer
from llm.evaluation.testset import Asked, EvaluateConfig
from llm.evaluation.uncertainty import UNCERTAINTY_MEASURES, ask_uncertainty, uncertainty_figures
from llm.judge.hallucination import TRUTH_MEASURES, truth_figures

LIBRARIES = ("numpy", "sacrebleu", "tokenizers", "torch", "transformers")  # that compute the figures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Card:
    """Everything known about one model; unrounded."""

    metrics: dict[str, Any]  # the one schema of metrics/<model>.json
    detail: dict[str, Any]
    measured: Measured | None  # what the figures are computed from; None when the model is not there


def fill_card(entrant: Entrant, stick: Yardstick, planted: Planted, config: EvaluateConfig, advance: Advance) -> Card:
    """The card of a model that is loaded for it."""
    started, asked = time.monotonic(), asked_of(entrant, stick.asked)
    model = entrant.load()
    loaded = time.monotonic()
    likelihoods = remembered = None
    if isinstance(model, Scorer):
        likelihoods = ask_likelihoods(model, asked, advance)
        remembered = ask_memory(model, planted) if "canaries" in entrant.tasks else None
    scored = time.monotonic()
    texts = ask_texts(model, asked, PROMPTS, config, stick.seed, advance) if isinstance(model, Replier) else None
    own = None
    if texts and isinstance(model, Scorer):
        own = ask_uncertainty(model, asked.truth, texts.truth)
    replied = time.monotonic()
    del model
    _free_memory()
    measured = Measured(asked, likelihoods, texts)
    figures = all_figures(measured, stick)
    _log(entrant.name, figures.metrics["bpb"]["all"], [started, loaded, scored, replied])
    circumstances = _circumstances(entrant.real_name, config, stick.seed)
    memory, memory_detail = memory_figures(planted, remembered, stick.n_resamples, stick.seed)
    unsure, unsure_detail = _uncertainty(texts, own, stick)
    return Card(
        metrics={**figures.metrics, "memory": memory, "uncertainty": unsure},
        detail={**circumstances, **figures.detail, "memory": memory_detail, "uncertainty": unsure_detail},
        measured=measured,
    )


def all_figures(measured: Measured, stick: Yardstick) -> Figures:
    """A model's metrics file and its detail, without a model: from what it found likely and what it said."""
    metrics, detail = empty_metrics(stick.asked), {}
    if measured.likelihoods:
        likely = likelihood_figures(measured.likelihoods, stick)
        metrics, detail = metrics | likely.metrics, likely.detail
    said, said_detail = _said(measured.texts, stick)
    return Figures({**metrics, **said, "n": count_items(stick.asked)}, {**detail, **said_detail})


def asked_of(entrant: Entrant, asked: Asked) -> Asked:
    """What this model is asked."""
    return asked if "quiz" in entrant.tasks else replace(asked, quiz=[], truthfulqa=[])


def n_items(entrant: Entrant, asked: Asked, config: EvaluateConfig) -> int:
    """How many replies and answers this model scores and how many texts it says."""
    scored = n_likelihoods(asked_of(entrant, asked)) if "replies" in entrant.tasks else 0
    return scored + (n_texts(asked, config, len(PROMPTS)) if "texts" in entrant.tasks else 0)


def absent_card(asked: Asked, reason: str) -> Card:
    """The card of a model that is not there: the schema without a number, and why."""
    apart = {"memory": dict.fromkeys(MEMORY_MEASURES), "uncertainty": dict.fromkeys(UNCERTAINTY_MEASURES)}
    metrics = {**empty_metrics(asked), **_no_texts(), **apart, "enabled": False}
    return Card(metrics, {"enabled": False, "reason": reason}, None)


def _said(texts: Texts | None, stick: Yardstick) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sections `text` and `truth`, and their detail."""
    if texts is None:
        return _no_texts(), {}
    text, text_detail = text_figures(texts, stick)
    truth, truth_detail = truth_figures(
        stick.asked.truth, texts.truth, stick.judge, stick.on_references, stick.n_resamples, stick.seed
    )
    return {"text": text, "truth": truth}, {"text": text_detail, "truth": truth_detail}


def _uncertainty(
    texts: Texts | None, own: Sequence[Score] | None, stick: Yardstick
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """The section `uncertainty` and its detail; no number for a model that does not both reply and score."""
    if texts is None or own is None:
        return dict.fromkeys(UNCERTAINTY_MEASURES), {}
    return uncertainty_figures(stick.asked.truth, texts.truth, own, stick.n_resamples, stick.seed)


def _no_texts() -> dict[str, Any]:
    return {"text": dict.fromkeys(TEXT_MEASURES), "truth": dict.fromkeys(TRUTH_MEASURES)}


def _circumstances(real_name: str, config: EvaluateConfig, seed: int) -> dict[str, Any]:
    """What a figure depends on besides the model."""
    return {
        "name": real_name,
        "decoding": {"greedy": asdict(config.greedy(seed)), "sampled": asdict(config.sampling(seed))},
        "versions": {name: version(name).partition("+")[0] for name in LIBRARIES},
    }


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _log(name: str, bpb: float | None, times: Sequence[float]) -> None:
    loading, scoring, replying = (after - before for before, after in pairwise(times))
    logger.info(
        "%s: %s (loaded in %.1f s, scored in %.1f s, replied in %.1f s)",
        *(name, "replies only" if bpb is None else f"{bpb:.4f} bits per byte", loading, scoring, replying),
    )
