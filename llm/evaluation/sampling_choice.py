"""Which sampling a model replies by: of a grid, the one whose replies to held-out prompts are most like the real ones.

Nothing forces a reply to be long or to end: a setting has to bring that about by itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from llm.corpus.normalise import split_words
from llm.evaluation.figure_files import show_number
from llm.evaluation.items import Sampling
from llm.evaluation.text_metrics import distinct
from llm.inference.replies import Reply
from llm.judge.overlap import repeated_ngrams

GRID = tuple(Sampling(temperature, top_p) for temperature in (0.6, 0.8, 1.0) for top_p in (0.8, 0.9, 0.95, 1.0))
# What replies worth reading have; that of distinct-2 is the real replies' own.
ENDED = 0.8  # at least, by themselves
REPEATED = 0.1  # at most, of the 4-grams
LENGTH = 0.6  # at least, of the real replies' median number of words
BUDGET = 1_000  # words at most, over which distinct-2 is taken


@dataclass(frozen=True)
class ReplyFigures:
    """What replies look like, real or generated, of all draws."""

    ended: float  # share that ended by themselves; of real replies that fit under the cap
    repeated: float  # share of the 4-grams that stood before in the same reply
    words: float  # of the median reply
    distinct: float | None  # distinct-2 over the budget; None where there are fewer words


def word_budget(references: Sequence[Reply]) -> int:
    """Words over which distinct-2 of replies and references is taken: at most half of the references'.

    It falls with length, so the budget is one for all; and replies that are shorter than the references reach it too.
    """
    return min(BUDGET, sum(len(split_words(one.text)) for one in references) // 2)


def reply_figures(draws: Sequence[Sequence[Reply]], budget: int) -> ReplyFigures:
    """The figures of replies that were drawn several times to the same prompts."""
    every = [reply for draw in draws for reply in draw]
    return ReplyFigures(
        ended=fmean(reply.ended for reply in every),
        repeated=repeated_ngrams(reply.text for reply in every),
        words=median(len(split_words(reply.text)) for reply in every),
        distinct=mean_distinct([reply.text for reply in every], budget),
    )


def mean_distinct(texts: Sequence[str], budget: int) -> float | None:
    """Distinct-2 of runs of texts of `budget` words, averaged over the runs; None where there is no whole one.

    >>> mean_distinct(["so it goes", "on", "and on and on"], budget=4)  # so it, it goes; and on, on and, and on
    0.8333333333333334
    """
    found: list[float] = []
    run: list[str] = []
    for text in texts:
        run.append(text)
        value = distinct(run, 2, budget)
        if value is not None:
            found.append(value)
            run = []
    return fmean(found) if found else None


def log_ratio(value: float | None, other: float | None) -> float:
    """log(value / other), minus infinity where there is no value or it is 0.

    >>> log_ratio(0.4, 0.8) == -math.log(2)
    True
    """
    return math.log(value / other) if value and other else -math.inf


def misses(found: ReplyFigures, real: ReplyFigures) -> tuple[float, float]:
    """By how much replies miss what is asked of them: of their form, and of their variety (distinct-2).

    Form is to end, to repeat little and to be long enough. Log ratios to the limits, summed; 0 where they meet all.
    """
    form = (
        log_ratio(found.ended, ENDED),
        log_ratio(found.words, LENGTH * real.words),
        -log_ratio(found.repeated, REPEATED),
        -math.inf if found.distinct is None else 0.0,  # too few words in all
    )
    return sum(max(0.0, -margin) for margin in form), max(0.0, -log_ratio(found.distinct, real.distinct))


def distance(found: ReplyFigures, real: ReplyFigures) -> float:
    """How unlike the real replies they are: |log ratio| of what ends, of the median length and of distinct-2, summed.

    Repeated 4-grams are so few in real replies that a ratio to them says nothing.
    """
    pairs = ((found.ended, real.ended), (found.words, real.words), (found.distinct, real.distinct))
    return sum(abs(log_ratio(*pair)) for pair in pairs)


def choose(found: Mapping[Sampling, ReplyFigures], real: ReplyFigures) -> Sampling:
    """The setting most like the real replies of those that meet what is asked; if none does, the nearest to that.

    Form comes first. A weak model that is drawn freely has all the variety of the real replies, but in words that
    nobody would say: blind readers preferred its replies at a lower temperature (docs/parts.md).
    """
    return min(found, key=lambda how: (*misses(found[how], real), distance(found[how], real)))


def choice_table(found: Mapping[Sampling, ReplyFigures], real: ReplyFigures, budget: int) -> str:
    """All settings beside the real replies, as a Markdown table; the chosen one in bold."""
    chosen = choose(found, real)
    heads = (
        "temperature, top-p",
        "ended",
        "repeated 4-grams",
        "median words",
        "of real",
        "distinct-2",
        "form misses by",
        "variety",
    )
    lines = [f"Distinct-2 of {budget:,} words.", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for how, figures in found.items():
        mark = "**" if how == chosen else ""
        lines.append(_row(f"{mark}{how.temperature}, {how.top_p}{mark}", figures, real, misses(figures, real)))
    return "\n".join([*lines, _row("the real replies", real, real, (0.0, 0.0))])


def _row(name: str, figures: ReplyFigures, real: ReplyFigures, missed: tuple[float, float]) -> str:
    share = figures.words / real.words if real.words else None
    cells = (
        (figures.ended, 3), (figures.repeated, 4), (figures.words, 1), (share, 2), (figures.distinct, 3),
        *((value, 3) for value in missed),
    )  # fmt: skip
    return f"| {name} | {' | '.join(show_number(value, digits) for value, digits in cells)} |"
