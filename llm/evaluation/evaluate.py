"""One model's figures on the test set: every metric from the same two calls."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from llm.corpus.dedup import Hashes
from llm.evaluation.choice import MEASURES, choice_estimates, choice_examples, grade
from llm.evaluation.perplexity import bits_per_byte, perplexity, resample_examples
from llm.evaluation.scoring import Replier, Score, Scorer
from llm.evaluation.testset import Asked, EvaluateConfig, small_sources
from llm.evaluation.text_metrics import CorpusScore, copied, corpus_bleu, corpus_chrf, distinct, length_ratio
from llm.judge.checks import check_judge
from llm.judge.overlap import best_f1, is_degenerate, repeated_ngrams
from llm.judge.trees import Judge
from llm.stats.bootstrap import Estimate, Resampling, mean

CHOICE_SECTIONS = ("choice", "truthfulqa")  # the quiz's, and TruthfulQA's
CHUNK = 128  # examples between two moves of the progress bar
TEXT_MEASURES = (
    *("bleu", "chrf", "copied", "degenerate", "distinct_1", "distinct_2"),
    *("length_ratio", "repeated_4grams", "token_f1"),
)

Advance = Callable[[int], object]  # told how many items are done


@dataclass(frozen=True)
class Likelihoods:
    """What a model finds likely."""

    replies: list[Score]  # of Asked.examples
    answers: dict[str, list[Score]]  # by section, of choice_examples(Asked.choices[section]); of what was asked


@dataclass(frozen=True)
class Texts:
    """What a model says."""

    greedy: list[str]  # to Asked.prompts
    sampled: list[str]  # to the first of them
    truth: list[str]  # to Asked.truth
    shown: list[str]  # to the prompts of samples.md


@dataclass(frozen=True)
class Measured:
    """What one model did in one run."""

    asked: Asked
    likelihoods: Likelihoods | None  # None of a model that only replies
    texts: Texts | None  # None of a model that cannot reply


def n_likelihoods(asked: Asked) -> int:
    """How many replies and answers a model scores."""
    return len(asked.examples) + sum(len(choice_examples(questions)) for questions in asked.choices.values())


def n_texts(asked: Asked, config: EvaluateConfig, n_shown: int) -> int:
    """How many texts a model says."""
    return len(asked.prompts) + min(config.sampled, len(asked.prompts)) + len(asked.truth) + n_shown


def ask_likelihoods(model: Scorer, asked: Asked, advance: Advance) -> Likelihoods:
    """The model's scores of the test replies and of the answers to choose from."""
    answers = {section: choice_examples(questions) for section, questions in asked.choices.items()}
    items = list(chain(asked.examples, *answers.values()))
    # Items with one history stay together and share its work; the longest come first: memory runs out at once or never.
    order = sorted(range(len(items)), key=lambda i: (-sum(map(len, items[i].history)), items[i].history))
    scores: dict[int, Score] = {}
    for start in range(0, len(items), CHUNK):
        chunk = order[start : start + CHUNK]
        scores |= zip(chunk, model.loglik([items[i] for i in chunk]), strict=True)
        advance(len(chunk))
    ordered = (scores[i] for i in range(len(items)))
    replies = list(islice(ordered, len(asked.examples)))
    return Likelihoods(replies, {section: list(islice(ordered, len(part))) for section, part in answers.items()})


def ask_texts(
    model: Replier, asked: Asked, shown: Sequence[str], config: EvaluateConfig, seed: int, advance: Advance
) -> Texts:
    """The model's replies to the test prompts, the questions and the prompts `shown` in samples.md."""
    prompts = [example.history for example in asked.prompts]
    truth = [(question.question,) for question in asked.truth]
    # One call: many prompts at once is what makes generation fast.
    greedy = model.generate([*prompts, *truth, *((prompt,) for prompt in shown)], config.greedy(seed))
    advance(len(greedy))
    sampled = model.generate(prompts[: config.sampled], config.sampling(seed)) if config.sampled else []
    advance(len(sampled))
    n, m = len(prompts), len(prompts) + len(truth)
    return Texts(greedy[:n], sampled, greedy[n:m], greedy[m:])


@dataclass(frozen=True)
class Yardstick:
    """What all models are measured against."""

    asked: Asked
    replies: Resampling  # of the examples, the same draws for all models
    prompts: Resampling
    small: list[str]  # sources of too few test dialogues for an interval
    min_items: int  # of a source or of a questions' area with an interval
    train_spans: Hashes  # of 13 words, of the training texts
    judge: Judge
    on_references: dict[str, Any] | None  # how the judge does on these very questions
    n_resamples: int
    seed: int


def make_yardstick(
    asked: Asked, train_spans: Hashes, judge: Judge, config: EvaluateConfig, min_dialogues: int, seed: int
) -> Yardstick:
    """Resamples drawn once; a source with fewer than `min_dialogues` scored dialogues is small."""
    return Yardstick(
        asked=asked,
        replies=resample_examples(asked.examples, config.bootstrap, seed),
        prompts=resample_examples(asked.prompts, config.bootstrap, seed),
        small=small_sources(asked.examples, min_dialogues),
        min_items=min_dialogues,
        train_spans=train_spans,
        judge=judge,
        on_references=check_judge(judge, asked.quiz + asked.truth, config.bootstrap, seed),
        n_resamples=config.bootstrap,
        seed=seed,
    )


@dataclass(frozen=True)
class Figures:
    """A model's figures as they stand in files: metrics/<model>.json and metrics/detail/<model>.json."""

    metrics: dict[str, Any]
    detail: dict[str, Any]


def likelihood_figures(found: Likelihoods, stick: Yardstick) -> Figures:
    """Bits per byte; perplexity of a model that has tokens; multiple choice of one that was asked."""
    examples, empty = stick.asked.examples, empty_metrics(stick.asked)
    bpb = bits_per_byte(examples, found.replies, stick.replies)
    has_tokens = any(score.n_tokens for score in found.replies)
    ppl = perplexity(examples, found.replies, stick.replies) if has_tokens else {}
    choices = choice_tables(stick.asked, found, stick.n_resamples, stick.seed)
    every = list(chain(found.replies, *found.answers.values()))
    detail = {
        "bpb": {name: _with_interval(bpb[name], not _is_small(name, stick)) for name in bpb},
        "ppl": {name: _with_interval(ppl[name], not _is_small(name, stick)) for name in ppl},
        **{section: _choice_detail(section, choices.get(section, {}), stick) for section in CHOICE_SECTIONS},
        "small_sources": stick.small,
        "windows": {
            "replies_in_several": sum(score.n_windows > 1 for score in every),
            "history_tokens_cut": sum(score.n_cut for score in every),
        },
    }
    rows = {"bpb": bpb, "ppl": ppl, **{section: choices.get(section, {}).get("all", {}) for section in CHOICE_SECTIONS}}
    metrics = {
        name: {**empty[name], **{key: estimate.value for key, estimate in row.items()}} for name, row in rows.items()
    }
    return Figures(metrics, detail)


def choice_tables(
    asked: Asked, found: Likelihoods, n_resamples: int, seed: int
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Of each section that the model was asked the measures over all and in each area."""
    tables = {}
    for section, answers in found.answers.items():
        questions = asked.choices[section]
        # The quiz was written area by area, so these are its strata. TruthfulQA's categories came as they came: held
        # fixed, a part of it with a question or two of each would get intervals half as wide as they are.
        strata = [question.area if section == "choice" else "" for question in questions]
        tables[section] = choice_estimates(questions, grade(questions, answers), strata, n_resamples, seed)
    return tables


def _choice_detail(
    section: str, table: Mapping[str, Mapping[str, Estimate]], stick: Yardstick
) -> dict[str, dict[str, Any]]:
    """The measures by area; those of a few questions (TruthfulQA has areas of four) without an interval."""
    sizes = Counter(question.area for question in stick.asked.choices.get(section, []))
    return {
        area: {name: _with_interval(one, area == "all" or sizes[area] >= stick.min_items) for name, one in row.items()}
        for area, row in table.items()
    }


def text_figures(found: Texts, stick: Yardstick) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Values of TEXT_MEASURES, and their detail; from texts alone."""
    texts, references = found.greedy, [[example.reply] for example in stick.asked.prompts]
    bleu = corpus_bleu(texts, references, stick.n_resamples)
    chrf = corpus_chrf(texts, references, stick.n_resamples)
    means = {
        "copied": mean(copied(texts, stick.train_spans), stick.prompts),
        "degenerate": mean([is_degenerate(text) for text in texts], stick.prompts),
        "token_f1": mean([best_f1(t, refs) for t, refs in zip(texts, references, strict=True)], stick.prompts),
    }
    values = {
        "bleu": bleu.score,
        "chrf": chrf.score,
        **{name: estimate.value for name, estimate in means.items()},
        "distinct_1": distinct(found.sampled, 1),
        "distinct_2": distinct(found.sampled, 2),
        "length_ratio": length_ratio(texts, references),
        "repeated_4grams": repeated_ngrams(texts),
    }
    intervals = {name: _with_interval(estimate, True) for name, estimate in means.items()}
    return values, {"bleu": _corpus_detail(bleu), "chrf": _corpus_detail(chrf), **intervals}


def _corpus_detail(score: CorpusScore) -> dict[str, Any]:
    return {"value": score.score, "low": score.low, "high": score.high, "signature": score.signature}


def _is_small(name: str, stick: Yardstick) -> bool:
    """Whether a figure has no interval: a small source, and the macro mean that weighs it like the others."""
    return name in stick.small or (name == "macro" and bool(stick.small))


def _with_interval(estimate: Estimate, interval: bool) -> dict[str, float | None]:
    low, high = (estimate.low, estimate.high) if interval else (None, None)
    return {"value": estimate.value, "low": low, "high": high}


def count_items(asked: Asked) -> dict[str, int]:
    """How much was asked of every model."""
    return {
        "dialogues": len({(example.source, example.id.rpartition("/")[0]) for example in asked.examples}),
        "replies": len(asked.examples),
        "prompts": len(asked.prompts),
        "quiz": len(asked.quiz),
        "truth": len(asked.truth),
        "truthfulqa": len(asked.truthfulqa),
    }


def empty_metrics(asked: Asked) -> dict[str, Any]:
    """The likelihood figures and counts of a model that is not there: every name, no number."""
    names = ("all", "macro", *sorted({example.source for example in asked.examples}))
    rows = {"bpb": names, "ppl": names, **dict.fromkeys(CHOICE_SECTIONS, MEASURES), "n": tuple(count_items(asked))}
    return {section: dict.fromkeys(keys) for section, keys in rows.items()}


def rounded(value: Any) -> Any:
    """The value with every float at 4 decimals, inside dicts and lists too.

    Raises ValueError for one that is not finite: a metrics file holds no NaN.
    """
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a metric is {value}: the model's weights or its scores are not finite")
    return round(value, 4) if isinstance(value, float) else value
