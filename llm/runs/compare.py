"""Two sides, each a model of one run or of several seeds, on identical items: differences and what they allow to say.

Everything is paired: both sides are measured on the items that all runs share, and resampled together.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llm.evaluation.ask import Outputs
from llm.evaluation.choice import CHOICE_SECTIONS, Grade, grade
from llm.evaluation.eval_models import FIXED, MODEL_NAMES
from llm.evaluation.figure_files import show_number
from llm.evaluation.items import EvalItems
from llm.evaluation.measure import choice_tables
from llm.evaluation.perplexity import bits_per_byte, resample_examples, small_figures
from llm.evaluation.text_metrics import CORPUS_MEASURES, corpus_score
from llm.judge.gate import believed
from llm.judge.hallucination import rate_answers, truth_estimates
from llm.judge.instrument import Judge
from llm.judge.overlap import best_f1, is_degenerate
from llm.ranges import check_range
from llm.runs.common_items import count_shared, drop_repeated, find_common, restrict
from llm.stats.bootstrap import Estimate, difference, mean, mean_of
from llm.stats.verdict import Evidence, Side, bootstrap_p, decide, holm, mcnemar

COMPARED_PAIRS = (("scratch", "ngram5"), ("mistral", "base"), ("mistral", "scratch"))  # compared in every run
CHOICES = ("mc1", "mc1_per_byte")  # right or wrong: tested by McNemar
BLIND = ("accuracy", *CHOICES)  # shares of questions that choosing blindly gets right in `chance` of cases
UNPAIRED = ("chance", "ties")  # of choices: no figure of a model's quality
LONGEST_NAME = 16  # characters of a column's head
DIGITS = 4  # as in files
LOWER_IS_BETTER = ("bpb", "degenerate", "false_rate")
# What a reader looks at first: together held to the 5 % at which every other line stands alone.
HEADLINE = ("bpb.all", "literacy.accuracy", "premises.accuracy", "text.chrf")

# Standard deviation of each figure between training seeds of one configuration, by model, section and figure.
SeedSd = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class CompareConfig:
    """The section `compare`."""

    seeds: int  # training seeds that seed_sd was measured on
    seed_sd: dict[str, dict[str, dict[str, float]]]

    def __post_init__(self) -> None:
        check_range("seeds", self.seeds, 2, 10**6)
        for model, sections in self.seed_sd.items():
            if model not in MODEL_NAMES:
                raise ValueError(f"seed_sd.{model} is of no model, there are {', '.join(MODEL_NAMES)}")
            for section, figures in sections.items():
                for figure, value in figures.items():
                    check_range(f"seed_sd.{model}.{section}.{figure}", value, 1e-9, 100.0)


@dataclass(frozen=True)
class Rules:
    """What a comparison needs to know besides the runs."""

    seed_sd: SeedSd
    n_resamples: int
    seed: int  # of the resamples
    min_groups: int  # of a source with an interval
    judge: Judge | None  # one for all runs; None: what it says is not compared
    sd_seeds: int | None = None  # training seeds that seed_sd was measured on; None: it is known exactly


@dataclass(frozen=True)
class Line:
    """One figure of both sides."""

    n: int  # items that it is measured on
    chance: float | None  # what blind choice gives; None where nothing is chosen
    a: float  # mean over the seeds
    b: float
    difference: float  # a - b
    low: float | None  # 95 % interval over items, paired; None for a small source
    high: float | None
    p: float | None  # over items, two-sided; of a headline figure Holm's, for all of these together
    test: str  # that p is of
    seed_p: float | None  # of the test on the seeds' figures; None for fewer than three seeds
    verdict: str  # on a


@dataclass(frozen=True)
class Comparison:
    """All figures that both sides have, on the items that all runs share."""

    lines: dict[str, Line]  # "bpb.all", "text.bleu", ...
    n_seeds: tuple[int, int]
    shared: dict[str, int]  # items of each kind
    left_out: dict[str, int]  # items that some runs have and others do not


class NothingSharedError(ValueError):
    """The two sides have no figure in common."""


def compare(a: Sequence[Outputs], b: Sequence[Outputs], models: tuple[str, str], rules: Rules) -> Comparison:
    """Side a against side b, runs of the named models, every run a seed; equal runs count as one.

    Raises NothingSharedError when the runs have no figure in common.
    """
    sides = [drop_repeated(runs) for runs in (a, b)]
    shared, left_out = find_common([run for side in sides for run in side])
    kept = [[restrict(run, shared) for run in side] for side in sides]
    replies = [run.generations.truth for side in kept for run in side if run.generations]
    rules = replace(rules, judge=believed(rules.judge, shared.truth, replies, rules.n_resamples, rules.seed))
    figures = [[estimates(run, rules) for run in side] for side in kept]
    names = [name for name in figures[0][0] if all(name in one for side in figures for one in side)]
    if not names:
        raise NothingSharedError(f"nothing to compare: the runs share no item (of some runs alone: {left_out})")
    blurred = {f"bpb.{name}" for name in small_figures(shared.examples, rules.min_groups)}  # too few for an interval
    gaps = {name: difference(*(mean_of([one[name] for one in side]) for side in figures)) for name in names}
    tests = {name: _test(name, kept[0], kept[1], gaps[name], rules) for name in names}
    p_values = {name: p for name, (p, _) in tests.items() if name not in blurred}
    p_values |= holm({name: p for name, p in p_values.items() if name in HEADLINE})
    lines = {}
    for name in names:
        ours, theirs = (_side(name, model, one, rules) for model, one in zip(models, figures, strict=True))
        n, chance = count_of(name, shared), chance_of(name, kept[0][0])
        lines[name] = _line(name, ours, theirs, gaps[name], p_values.get(name), tests[name][1], n, chance)
    return Comparison(lines, (len(sides[0]), len(sides[1])), count_shared(shared), left_out)


def _side(name: str, model: str, figures: Sequence[Mapping[str, Estimate]], rules: Rules) -> Side:
    """A side's figure for each seed, and how much it differs between seeds as far as that was measured."""
    section, _, figure = name.partition(".")
    known = rules.seed_sd.get(model, {}).get(section, {}).get(figure)
    return Side([one[name].value for one in figures], 0.0 if model in FIXED else known, rules.sd_seeds)


def count_of(name: str, items: EvalItems) -> int:
    """How many of the items a figure is measured on: replies, prompts or questions."""
    section, _, part = name.partition(".")
    if section == "bpb":
        return sum(part in ("all", "macro", example.source) for example in items.examples)
    asked: dict[str, Sequence[object]] = {"text": items.prompts, "truth": items.truth, **items.choices}
    return len(asked[section])


def chance_of(name: str, run: Outputs) -> float | None:
    """What blind choice gives on the questions of that figure; None for a figure that chooses nothing."""
    section, measure = name.partition(".")[0], measure_of(name)
    if name == "literacy.couples_both":
        sizes = Counter(pair.group for pair in run.items.pairs)
        return float(np.mean([0.5 ** sizes[pair.group] for pair in run.items.pairs]))
    if section not in run.items.choices or measure not in BLIND:
        return None
    return float(np.mean([one["chance"] for one in _grades(run, section)]))


def _line(name: str, a: Side, b: Side, gap: Estimate, p: float | None, test: str, n: int, chance: float | None) -> Line:
    verdict, seed_p = decide(Evidence(a, b, measure_of(name) in LOWER_IS_BETTER, p))
    return Line(
        n=n,
        chance=chance,
        a=float(np.mean(a.seeds)),
        b=float(np.mean(b.seeds)),
        difference=gap.value,
        low=None if p is None else gap.low,
        high=None if p is None else gap.high,
        p=p,
        test=test,
        seed_p=seed_p,
        verdict=verdict,
    )


def _test(name: str, a: Sequence[Outputs], b: Sequence[Outputs], gap: Estimate, rules: Rules) -> tuple[float, str]:
    """The p-value over items, and the test it is of: one for pairs of models where there is one."""
    section, measure = name.partition(".")[0], measure_of(name)
    if len(a) == len(b) == 1 and measure in CHOICES:
        right = [[g[measure] == 1 for g in _grades(side[0], section)] for side in (a, b)]
        return mcnemar(*right), "McNemar, exact"
    return bootstrap_p(gap.resampled), "paired bootstrap"


def measure_of(name: str) -> str:
    """What a figure measures: of bits per byte the section, else the part after it.

    >>> measure_of("bpb.eli5"), measure_of("literacy.accuracy")
    ('bpb', 'accuracy')
    """
    section, _, measure = name.partition(".")
    return section if section == "bpb" else measure


def _grades(run: Outputs, section: str) -> list[Grade]:
    assert run.likelihoods
    return grade(section, run.items.choices[section], run.likelihoods.answers[section])


def estimates(run: Outputs, rules: Rules) -> dict[str, Estimate]:
    """Every figure that can be paired; the same items give the same resamples, whatever the model."""
    found = {**_of_likelihoods(run, rules), **_of_generations(run, rules)}
    return {name: one for name, one in found.items() if math.isfinite(one.value)}


def _of_likelihoods(run: Outputs, rules: Rules) -> dict[str, Estimate]:
    items, found = run.items, run.likelihoods
    if found is None:
        return {}
    named: dict[str, Estimate] = {}
    if items.examples:
        resampling = resample_examples(items.examples, rules.n_resamples, rules.seed)
        bpb = bits_per_byte(items.examples, found.replies, resampling)
        named |= {f"bpb.{name}": bpb[name] for name in ("all", "macro", *sorted({e.source for e in items.examples}))}
    for section, table in choice_tables(items, found, rules.n_resamples, rules.seed).items():
        named |= {f"{section}.{name}": table["all"][name] for name in CHOICE_SECTIONS[section] if name not in UNPAIRED}
    return named


def _of_generations(run: Outputs, rules: Rules) -> dict[str, Estimate]:
    items, found = run.items, run.generations
    if found is None:
        return {}
    named: dict[str, Estimate | None] = {}
    if items.prompts:
        resampling = resample_examples(items.prompts, rules.n_resamples, rules.seed)
        references = [[example.reply] for example in items.prompts]
        f1 = [best_f1(text, real) for text, real in zip(found.greedy, references, strict=True)]
        named |= {
            f"text.{name}": corpus_score(name, found.greedy, references, resampling).estimate
            for name in CORPUS_MEASURES
        }
        named["text.token_f1"] = mean(f1, resampling)
        named["text.degenerate"] = mean([is_degenerate(text) for text in found.greedy], resampling)
    if items.truth:
        rated = rate_answers(items.truth, found.truth, rules.judge)
        truth = truth_estimates(items.truth, rated, rules.n_resamples, rules.seed)
        named |= {f"truth.{name}": one for name, one in truth.items()}
    return {name: one for name, one in named.items() if one is not None}


def compare_pairs(runs: Mapping[str, Outputs], rules: Rules) -> dict[str, Comparison | None]:
    """The comparisons of COMPARED_PAIRS by name, `scratch - ngram5`; None of two without a figure in common."""
    found: dict[str, Comparison | None] = {}
    for a, b in COMPARED_PAIRS:
        try:
            found[f"{a} - {b}"] = compare([runs[a]], [runs[b]], (a, b), rules) if a in runs and b in runs else None
        except NothingSharedError:  # one of them had no finite score
            found[f"{a} - {b}"] = None
    return found


def in_short(comparison: Comparison | None) -> dict[str, Any] | None:
    """What `dvc metrics diff` shows of a comparison: difference and verdict of each figure."""
    if comparison is None:
        return None
    lines = comparison.lines.items()
    return {name: {"difference": line.difference, "verdict": line.verdict} for name, line in lines}


def table(comparison: Comparison, a: str, b: str) -> str:
    """The comparison for a terminal, a figure a line; sides of long names are called A and B there."""
    names = f"A is {a}\nB is {b}\n\n" if max(len(a), len(b)) > LONGEST_NAME else ""
    a, b = ("A", "B") if names else (a, b)
    head = ("", "n", "chance", a, b, "difference", "95 % interval", "p", f"verdict on {a}")
    rows = [head, *(line_cells(name, line) for name, line in comparison.lines.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counted = ", ".join(f"{n} {kind}" for kind, n in comparison.shared.items() if n)
    missed = ", ".join(f"{n} {kind}" for kind, n in comparison.left_out.items() if n)
    lines += ["", f"On {counted} that all runs share; left out, as only some have them: {missed or 'none'}."]
    seeds = f"Seeds: {comparison.n_seeds[0]} against {comparison.n_seeds[1]}. {_EXPLAINED}"
    return names + "\n".join([*lines, seeds, looked_at(list(comparison.lines))])


_EXPLAINED = (
    "p is over items, of the named test; with three seeds or more\nit is followed by that of the test over seeds."
)


def looked_at(names: Sequence[str]) -> str:
    """How many figures a comparison looked at, and which of them share one level.

    >>> looked_at(["bpb.all", "bpb.eli5", "text.chrf"])
    '3 figures were looked at. Over items bpb.all, text.chrf are held to 5 % together (Holm), each other one by itself.'
    """
    joined = ", ".join(name for name in names if name in HEADLINE)
    held = f"Over items {joined} are held to 5 % together (Holm), each other one by itself" if joined else "Each to 5 %"
    return f"{len(names)} figures were looked at. {held}."


def line_cells(name: str, line: Line) -> tuple[str, ...]:
    """What a table shows of a line: name, n, chance, both sides, difference, interval, p and verdict."""
    low, high, difference = (show_number(value, DIGITS) for value in (line.low, line.high, line.difference))
    interval = "-" if line.low is None or line.high is None else f"{low} to {high}"
    p = "-" if line.p is None else f"{show_number(line.p, DIGITS)} ({line.test})"
    seed_p = "" if line.seed_p is None else f"; {show_number(line.seed_p, DIGITS)} (seeds)"
    sides = show_number(line.a, DIGITS), show_number(line.b, DIGITS)
    signed = difference if difference.startswith("-") else f"+{difference}"
    return name, str(line.n), show_number(line.chance, 2), *sides, signed, interval, p + seed_p, line.verdict
