"""BLEU and chrF++ of two models on the same prompts: resampled like every other figure, and sacrebleu's own test."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.evaluation.text_metrics import bleu_tokenizer
from llm.stats.bootstrap import Estimate, Resampling, make_estimate

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

CORPUS_MEASURES = ("bleu", "chrf")


def _metric(measure: str, references: Sequence[str]) -> "Metric":
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU(tokenize=bleu_tokenizer(references)) if measure == "bleu" else CHRF(word_order=2)


def corpus_estimate(measure: str, texts: Sequence[str], references: Sequence[str], resampling: Resampling) -> Estimate:
    """The score of all texts together, groups of texts resampled: counts are summed before they are made a score."""
    metric = _metric(measure, references)
    counts = np.array(metric._extract_corpus_statistics(texts, [references]), np.float64)  # a row a text
    groups = np.zeros((resampling.weights.shape[1], counts.shape[1]))
    np.add.at(groups, resampling.group, counts)
    resampled = [metric._compute_score_from_stats(row).score for row in resampling.weights @ groups]
    value = metric._compute_score_from_stats(counts.sum(axis=0)).score
    return make_estimate(float(value), np.array(resampled, np.float64))


def paired_p(measure: str, a: Sequence[str], b: Sequence[str], references: Sequence[str], n_resamples: int) -> float:
    """Two-sided p-value of sacrebleu's paired bootstrap test (Koehn 2004); 1 for two equal scores.

    sacrebleu itself gives two systems whose scores are always equal, 0 for instance, the smallest p-value there is.
    """
    from sacrebleu.significance import PairedTest

    _, found = PairedTest(
        [("b", b), ("a", a)], {measure: _metric(measure, references)}, [references], "bs", n_resamples
    )()
    results: Any = next(results for name, results in found.items() if name != "System")
    return 1.0 if results[0].score == results[1].score else float(results[1].p_value)
