"""What generated replies look like beside the real ones: computed from texts alone, so they can be computed again.

Words are those of `split_words`: lower case, no punctuation, a character where the script has no spaces. Only BLEU and
chrF++ have sacrebleu's own.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llm.corpus.dedup import Hashes, hash_words, ngrams
from llm.corpus.normalise import is_han, is_unspaced, split_words
from llm.judge.overlap import word_ngrams

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

DISTINCT_BUDGET = 300  # words: type-token ratios fall with length, so all texts are cut to the same
COPIED_SPAN = 13  # words; the same span as the leak gate's (GPT-3, appendix C)


@dataclass(frozen=True)
class CorpusScore:
    """A score of sacrebleu over all texts together, 0 to 100."""

    score: float
    low: float | None  # 95 % interval, texts resampled; None for fewer than two texts, or where a resample scores 0
    high: float | None
    signature: str  # how it was computed; empty when there was nothing to compute


def bleu_tokenizer(references: Iterable[str]) -> str:
    """Name of sacrebleu's tokenizer for texts like these: its usual one, or one that finds words without spaces.

    Where most words are characters of a script without spaces it is `zh` if nine of ten of those are Chinese, else
    `char`: no tokenizer of Japanese or Thai words comes with sacrebleu alone. By the references, so models share it.
    """
    words = [word for text in references for word in split_words(text)]
    unspaced = [word for word in words if is_unspaced(word)]
    if 2 * len(unspaced) <= len(words):
        return "13a"
    return "zh" if 10 * sum(map(is_han, unspaced)) >= 9 * len(unspaced) else "char"


def corpus_bleu(texts: Sequence[str], references: Sequence[Sequence[str]], n_resamples: int) -> CorpusScore:
    """BLEU (Papineni et al. 2002; Post 2018) of all texts, each with one reference or more; 0 for no texts.

    n-grams are counted over the corpus: it is no mean of sentence scores. 0 is right when no 4-gram is shared. The
    signature names the tokenizer.
    """
    from sacrebleu.metrics.bleu import BLEU

    tokenizer = bleu_tokenizer(text for some in references for text in some)
    return _corpus_score(BLEU(tokenize=tokenizer), texts, references, n_resamples)


def corpus_chrf(texts: Sequence[str], references: Sequence[Sequence[str]], n_resamples: int) -> CorpusScore:
    """chrF++ (Popović 2017: character 6-grams and word 2-grams) of all texts; 0 for no texts."""
    from sacrebleu.metrics.chrf import CHRF

    return _corpus_score(CHRF(word_order=2), texts, references, n_resamples)


def _corpus_score(
    metric: "Metric", texts: Sequence[str], references: Sequence[Sequence[str]], n_resamples: int
) -> CorpusScore:
    if not texts:
        return CorpusScore(0.0, None, None, "")
    most = max(map(len, references))
    streams = [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]
    try:
        result = metric.corpus_score(texts, streams, n_bootstrap=n_resamples if len(texts) > 1 else 1)  # type: ignore[arg-type]
    except TypeError:  # sacrebleu 2.6: a resample that scores 0 is a float, the others float32, and their mean fails
        result = metric.corpus_score(texts, streams)  # type: ignore[arg-type]
        return CorpusScore(float(result.score), None, None, str(metric.get_signature()))
    signature = str(metric.get_signature())
    # The interval's centre and half width stand nowhere else in public; absent when all resamples are 0.
    shown = json.loads(result.format(width=6, signature=signature, is_json=True))
    if "confidence_mean" not in shown:
        bound = 0.0 if len(texts) > 1 else None
        return CorpusScore(result.score, bound, bound, signature)
    centre, half = shown["confidence_mean"], shown["confidence_var"]
    return CorpusScore(result.score, max(0.0, centre - half), min(100.0, centre + half), signature)


def distinct(texts: Iterable[str], n: int, budget: int = DISTINCT_BUDGET) -> float | None:
    """Distinct n-grams among all n-grams of the first `budget` words (Li et al. 2016); None if there are fewer words.

    >>> distinct(["so it goes", "so it is"], 1, budget=6)  # so, it, goes, is of 6
    0.6666666666666666
    """
    found: list[tuple[str, ...]] = []
    left = budget
    for text in texts:
        words = split_words(text)[:left]
        found += word_ngrams(words, n)
        left -= len(words)
    return len(set(found)) / len(found) if found and left == 0 else None


def length_ratio(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """Words of the texts for each word of their references (their mean where there are several)."""
    expected = sum(sum(len(split_words(one)) for one in refs) / len(refs) for refs in references)
    return sum(len(split_words(text)) for text in texts) / expected if expected else None


def spans_of(texts: Iterable[str]) -> Hashes:
    """Hashes of all spans of 13 words in the texts."""
    return np.unique(ngrams(hash_words(texts), COPIED_SPAN)[0])


def copied(texts: Sequence[str], spans: Hashes) -> list[bool]:
    """Whether each text has a span of 13 words that is one of `spans`, those of the training texts."""
    found, number = ngrams(hash_words(texts), COPIED_SPAN)
    copies = set(number[np.isin(found, spans)].tolist())
    return [i in copies for i in range(len(texts))]
