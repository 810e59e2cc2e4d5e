"""What generated replies look like beside the real ones: computed from texts alone, so they can be computed again.

Words are those of `split_words`: lower case, no punctuation, a character where the script has no spaces. Only BLEU and
chrF++ have sacrebleu's own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llm.corpus.dedup import Hashes, hash_words, ngrams
from llm.corpus.normalise import is_han, is_unspaced, split_words
from llm.judge.overlap import word_ngrams
from llm.stats.bootstrap import Estimate, Resampling, make_estimate

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

CORPUS_MEASURES = ("bleu", "chrf")
DISTINCT_BUDGET = 300  # words: type-token ratios fall with length, so all texts are cut to the same
COPIED_SPAN = 13  # words; the same span as the leak gate's (GPT-3, appendix C)


@dataclass(frozen=True)
class CorpusScore:
    """A score of sacrebleu over all texts together, 0 to 100."""

    estimate: Estimate
    signature: str  # how it was computed


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


def corpus_score(
    measure: str, texts: Sequence[str], references: Sequence[Sequence[str]], resampling: Resampling
) -> CorpusScore:
    """BLEU or chrF++ of all texts, each with one reference or more, groups of texts resampled; 0 for empty texts.

    `bleu` is Papineni et al. 2002 as Post 2018 has it, `chrf` Popović 2017 with character 6-grams and word 2-grams.
    n-grams are counted over the corpus: it is no mean of sentence scores. 0 is right when no 4-gram is shared. The
    signature names the tokenizer.
    """
    metric = _metric(measure, references)
    streams = [[refs[i] if i < len(refs) else None for refs in references] for i in range(max(map(len, references)))]
    counts = np.array(metric._extract_corpus_statistics(texts, streams), np.float64)  # type: ignore[arg-type]
    groups = np.zeros((resampling.weights.shape[1], counts.shape[1]))
    np.add.at(groups, resampling.group, counts)
    resampled = [metric._compute_score_from_stats(row).score for row in resampling.weights @ groups]
    value = metric._compute_score_from_stats(counts.sum(axis=0)).score
    return CorpusScore(make_estimate(float(value), np.array(resampled, np.float64)), str(metric.get_signature()))


def _metric(measure: str, references: Iterable[Sequence[str]]) -> "Metric":
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if measure == "chrf":
        return CHRF(word_order=2)
    return BLEU(tokenize=bleu_tokenizer(text for some in references for text in some))


def others_of(sources: Sequence[str]) -> list[int]:
    """For each item the number of another one, of its own source where there is one: every item is another's once.

    A reply held to another prompt's reference shows what a figure is worth that unrelated text gets as well.

    >>> others_of(["a", "b", "a", "b"])
    [2, 3, 1, 0]
    """
    order = sorted(range(len(sources)), key=lambda i: sources[i])
    following = dict(zip(order, order[1:] + order[:1], strict=True))
    return [following[i] for i in range(len(sources))]


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
    """Hashes of all spans of 13 words in the texts, sorted."""
    return np.unique(ngrams(hash_words(texts), COPIED_SPAN)[0])


def copied(texts: Sequence[str], spans: Hashes) -> list[bool]:
    """Whether each text has a span of 13 words that is one of `spans`, those of the training texts."""
    found, number = ngrams(hash_words(texts), COPIED_SPAN)
    seen = np.searchsorted(spans, found, "right") > np.searchsorted(spans, found)  # np.isin would sort all spans anew
    copies = set(number[seen].tolist())
    return [i in copies for i in range(len(texts))]
