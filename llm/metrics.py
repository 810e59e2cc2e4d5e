"""What generated replies look like beside the real ones: computed from texts alone, so they can be computed again.

Words are those of `split_words`: lower case, no punctuation. Only BLEU and chrF++ have sacrebleu's own.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llm.dedup import Hashes, hash_words, ngrams
from llm.normalise import repetition, split_words

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

DISTINCT_BUDGET = 300  # words: type-token ratios fall with length, so all texts are cut to the same
COPIED_SPAN = 13  # words; the same span as the leak gate's (GPT-3, appendix C)
MAX_REPETITION = 0.5  # share of a text's words that are one word, or of its 4-grams seen before in it
REPEATED = 4  # words of the n-grams whose repetition is counted


@dataclass(frozen=True)
class CorpusScore:
    """A score of sacrebleu over all texts together, 0 to 100."""

    score: float
    low: float | None  # 95 % interval, texts resampled; None for fewer than two texts, or where a resample scores 0
    high: float | None
    signature: str  # how it was computed; empty when there was nothing to compute


def corpus_bleu(texts: Sequence[str], references: Sequence[Sequence[str]], n_resamples: int) -> CorpusScore:
    """BLEU (Papineni et al. 2002; Post 2018) of all texts, each with one reference or more; 0 for no texts.

    n-grams are counted over the corpus: it is no mean of sentence scores. 0 is right when no 4-gram is shared.
    """
    from sacrebleu.metrics.bleu import BLEU

    return _corpus_score(BLEU(), texts, references, n_resamples)


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


def token_f1(text: str, reference: str) -> float:
    """Harmonic mean of the shares of words that text and reference have in common (Rajpurkar et al. 2016).

    >>> token_f1("The cat sat", "a cat sat down")  # 2 of 3 and 2 of 4 words
    0.5714285714285714
    """
    words, others = Counter(split_words(text)), Counter(split_words(reference))
    shared = (words & others).total()
    return 2 * shared / (words.total() + others.total()) if shared else 0.0


def best_f1(text: str, references: Iterable[str]) -> float:
    """Token F1 with the reference that is most like the text."""
    return max(token_f1(text, reference) for reference in references)


def word_ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Every run of n words."""
    return zip(*(words[i:] for i in range(n)), strict=False)


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


def repeated_ngrams(texts: Iterable[str], n: int = REPEATED) -> float:
    """Share of the n-grams that stood before in the same text (Welleck et al. 2020, seq-rep-4); 0 if there are none."""
    total = kinds = 0
    for text in texts:
        found = list(word_ngrams(split_words(text), n))
        total += len(found)
        kinds += len(set(found))
    return (total - kinds) / total if total else 0.0


def is_degenerate(text: str) -> bool:
    """Whether a text is no reply: it has no word, or says little but the same again."""
    return not split_words(text) or repetition(text) > MAX_REPETITION or repeated_ngrams([text]) > MAX_REPETITION


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
