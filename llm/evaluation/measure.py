"""Step 4, measure: the outputs of a model -> its figures, by the same metrics for every model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from llm.corpus.dedup import Hashes
from llm.dialogue import Example
from llm.evaluation.ask import Generations, Likelihoods, Outputs
from llm.evaluation.choice import CHOICE_SECTIONS, choice_estimates, grade
from llm.evaluation.exposure import MEMORY_MEASURES, Planted, memory_figures
from llm.evaluation.items import EvalItems, EvaluateConfig, count_items
from llm.evaluation.mixed import Mixed
from llm.evaluation.perplexity import bits_per_byte, perplexity, resample_examples, small_figures
from llm.evaluation.plain_english import ENGLISH_MEASURES, english_figures
from llm.evaluation.text_metrics import CORPUS_MEASURES, copied, corpus_score, distinct, length_ratio, others_of
from llm.evaluation.uncertainty import UNCERTAINTY_MEASURES, uncertainty_figures
from llm.judge.gate import RateCheck, check_rates, shuffled
from llm.judge.hallucination import TRUTH_MEASURES, truth_figures
from llm.judge.instrument import Judge
from llm.judge.overlap import best_f1, is_degenerate, repeated_ngrams
from llm.stats.bootstrap import Estimate, Resampling, mean

TEXT_MEASURES = (
    *("bleu", "chrf", "copied", "degenerate", "distinct_1", "distinct_2", "ended"),
    *("length_ratio", "repeated_4grams", "token_f1"),
)


@dataclass(frozen=True)
class MetricInputs:
    """What the metrics need besides a model's outputs; one for all models."""

    items: EvalItems
    replies: Resampling  # of the examples, the same draws for all models
    prompts: Resampling | None  # None where the data hold no dialogue
    small: list[str]  # sources of too few groups for an interval, and the means that weigh these
    min_items: int  # groups of a source, or of an area of questions, that has an interval
    train_spans: Hashes  # of 13 words, of the training texts
    judge: Judge
    rates: RateCheck  # whether the judge's rates of this run are shown
    n_resamples: int
    seed: int


def make_metric_inputs(
    items: EvalItems,
    outputs: Mapping[str, Outputs],
    train_spans: Hashes,
    judge: Judge,
    config: EvaluateConfig,
    min_groups: int,
    seed: int,
) -> MetricInputs:
    """Resamples drawn once; a source of fewer than `min_groups` groups is small."""
    answers = {name: one.generations.truth for name, one in outputs.items() if one.generations}
    return MetricInputs(
        items=items,
        replies=resample_examples(items.examples, config.bootstrap, seed),
        prompts=resample_examples(items.prompts, config.bootstrap, seed) if items.prompts else None,
        small=small_figures(items.examples, min_groups),
        min_items=min_groups,
        train_spans=train_spans,
        judge=judge,
        rates=check_rates(judge, items.truth, answers, config.bootstrap, seed),
        n_resamples=config.bootstrap,
        seed=seed,
    )


@dataclass(frozen=True)
class Figures:
    """Figures of a model by section, unrounded: values for metrics/<model>.json, and metrics/detail/<model>.json."""

    metrics: dict[str, Any]
    detail: dict[str, Any]

    def __or__(self, other: "Figures") -> "Figures":
        """The sections of both."""
        return Figures(self.metrics | other.metrics, self.detail | other.detail)


def measure(outputs: Outputs, inputs: MetricInputs) -> Figures:
    """Every figure that follows from outputs as files keep them, so that it can be computed again without the model."""
    figures = Figures(empty_metrics(inputs.items), {})
    if outputs.likelihoods:
        figures |= likelihood_figures(outputs.likelihoods, inputs)
    if outputs.generations:
        figures |= generation_figures(outputs.generations, inputs)
    return figures | Figures({"n": count_items(inputs.items)}, {})


def measure_unkept(outputs: Outputs, planted: Planted, inputs: MetricInputs) -> Figures:
    """The sections `memory`, `uncertainty` and `english`: they follow from scores that no file keeps."""
    memory, memory_detail = memory_figures(planted, outputs.canaries, inputs.n_resamples, inputs.seed)
    unsure, unsure_detail = dict[str, float | None].fromkeys(UNCERTAINTY_MEASURES), dict[str, Any]()
    if outputs.generations and outputs.own_answers is not None:
        questions, answers = inputs.items.truth, outputs.generations.truth
        unsure, unsure_detail = uncertainty_figures(
            questions, answers, outputs.own_answers, inputs.n_resamples, inputs.seed
        )
    english, english_detail = english_figures(inputs.items.english, outputs.english, inputs.n_resamples, inputs.seed)
    return Figures(
        {"memory": memory, "uncertainty": unsure, "english": english},
        {"memory": memory_detail, "uncertainty": unsure_detail, "english": english_detail},
    )


def absent_figures(items: EvalItems, reason: str) -> Figures:
    """Figures of a model that is not there: the schema without a number, and why."""
    measures = {"memory": MEMORY_MEASURES, "uncertainty": UNCERTAINTY_MEASURES, "english": ENGLISH_MEASURES}
    unkept = {section: dict.fromkeys(names) for section, names in measures.items()}
    return Figures({**empty_metrics(items), **unkept, "enabled": False}, {"enabled": False, "reason": reason})


def empty_metrics(items: EvalItems) -> dict[str, Any]:
    """Every name that `measure` gives, and no number."""
    names = ("all", "macro", *sorted({example.source for example in items.examples}))
    rows = {
        "bpb": names,
        "ppl": names,
        **CHOICE_SECTIONS,
        "text": TEXT_MEASURES,
        "truth": TRUTH_MEASURES,
        "n": tuple(count_items(items)),
    }
    return {section: dict.fromkeys(keys) for section, keys in rows.items()}


def likelihood_figures(found: Likelihoods, inputs: MetricInputs) -> Figures:
    """Bits per byte; perplexity of a model that has tokens; what it chose where it was asked."""
    examples, empty = inputs.items.examples, empty_metrics(inputs.items)
    has_tokens = any(score.n_tokens for score in found.replies)
    bpb = bits_per_byte(examples, found.replies, inputs.replies) if found.replies else {}
    ppl = perplexity(examples, found.replies, inputs.replies) if has_tokens else {}
    choices = choice_tables(inputs.items, found, inputs.n_resamples, inputs.seed)
    rows = {"bpb": bpb, "ppl": ppl, **{section: choices.get(section, {}).get("all", {}) for section in CHOICE_SECTIONS}}
    metrics = {
        name: {**empty[name], **{key: estimate.value for key, estimate in row.items()}} for name, row in rows.items()
    }
    every = list(chain(found.replies, *found.answers.values()))
    detail = {
        "bpb": bpb_detail(bpb, inputs),
        "ppl": {name: _with_interval(ppl[name], name not in inputs.small) for name in ppl},
        **{section: _choice_detail(section, choices.get(section, {}), inputs) for section in CHOICE_SECTIONS},
        "without_interval": inputs.small,
        "windows": {
            "replies_in_several": sum(score.n_windows > 1 for score in every),
            "history_tokens_cut": sum(score.n_cut for score in every),
        },
    }
    return Figures(metrics, detail)


def bpb_detail(bpb: Mapping[str, Estimate], inputs: MetricInputs) -> dict[str, dict[str, float | None]]:
    """Bits per byte with interval, number of replies and of their groups, in all and by source."""
    sizes = count_groups(inputs.items.examples)
    return {name: _with_interval(one, name not in inputs.small) | sizes[name] for name, one in bpb.items()}


def mixed_figures(mixed: Mixed, names: Sequence[str], fitted_on: int, inputs: MetricInputs) -> Figures:
    """Bits per byte of a mixture of the models of these names, its weights, and on how many replies they were fitted.

    In the detail alone: it is no model of its own.
    """
    examples = inputs.items.examples
    bpb = bits_per_byte(examples, mixed.loglik(examples), inputs.replies)
    what = {"models": list(names), "weights": list(mixed.weights), "fitted_on": fitted_on}
    return Figures({}, {"mixed": what | {"bpb": bpb_detail(bpb, inputs)}})


def count_groups(examples: Sequence[Example]) -> dict[str, dict[str, int]]:
    """Number of replies and of the groups that they come from, in all, in each source, and again as `macro`."""
    groups: dict[str, list[str]] = {}
    for example in examples:
        groups.setdefault(example.source, []).append(example.group)
    counts = {source: {"n": len(of_each), "groups": len(set(of_each))} for source, of_each in groups.items()}
    whole = {key: sum(count[key] for count in counts.values()) for key in ("n", "groups")}
    return {"all": whole, "macro": whole, **counts}


def choice_tables(
    items: EvalItems, found: Likelihoods, n_resamples: int, seed: int
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Of each section that the model was asked the measures over all and in each area."""
    tables = {}
    for section, answers in found.answers.items():
        questions = items.choices[section]
        tables[section] = choice_estimates(section, questions, grade(section, questions, answers), n_resamples, seed)
    return tables


def _choice_detail(
    section: str, table: Mapping[str, Mapping[str, Estimate]], inputs: MetricInputs
) -> dict[str, dict[str, Any]]:
    """The measures and the number of questions by area; of few groups (TruthfulQA has areas of four) no interval."""
    questions = inputs.items.choices.get(section, [])
    sizes = Counter({"all": len(questions)}) + Counter(question.area for question in questions)
    groups = Counter(area for area, _ in {(question.area, question.group) for question in questions})
    detail: dict[str, dict[str, Any]] = {}
    for area, row in table.items():
        interval = area == "all" or groups[area] >= inputs.min_items
        detail[area] = {name: _with_interval(one, interval) for name, one in row.items()} | {"n": sizes[area]}
    return detail


def generation_figures(found: Generations, inputs: MetricInputs) -> Figures:
    """The sections `text` and `truth`: from generated texts alone."""
    text, text_detail = text_figures(found, inputs)
    truth, truth_detail = truth_figures(
        inputs.items.truth, found.truth, inputs.judge, inputs.rates.doubt, inputs.n_resamples, inputs.seed
    )
    controls = {
        "constant": inputs.rates.constant,
        "shuffled": shuffled(inputs.judge, inputs.items.truth, found.truth),
    }
    truth_detail |= {name: control and asdict(control) for name, control in controls.items()}
    return Figures({"text": text, "truth": truth}, {"text": text_detail, "truth": truth_detail})


def text_figures(found: Generations, inputs: MetricInputs) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Values of TEXT_MEASURES, and their detail; None, and no detail, where there was nothing to reply to."""
    if inputs.prompts is None:
        return dict.fromkeys(TEXT_MEASURES), {}
    prompts, texts, references = inputs.items.prompts, found.greedy, [[one.reply] for one in inputs.items.prompts]
    drawn = [*found.sampled, *found.shown_sampled]
    others = [references[other] for other in others_of([example.source for example in prompts])]
    scores = {name: corpus_score(name, texts, references, inputs.prompts) for name in CORPUS_MEASURES}
    unrelated = {name: corpus_score(name, texts, others, inputs.prompts).estimate.value for name in CORPUS_MEASURES}
    unrelated["token_f1"] = sum(map(best_f1, texts, others)) / len(texts)
    means = {
        "copied": mean(copied(texts, inputs.train_spans), inputs.prompts),
        "degenerate": mean([is_degenerate(text) for text in texts], inputs.prompts),
        "ended": mean(found.ended_in("greedy"), inputs.prompts),
        "token_f1": mean([best_f1(t, refs) for t, refs in zip(texts, references, strict=True)], inputs.prompts),
    }
    values = {
        **{name: score.estimate.value for name, score in scores.items()},
        **{name: estimate.value for name, estimate in means.items()},
        "distinct_1": distinct(drawn, 1),
        "distinct_2": distinct(drawn, 2),
        "length_ratio": length_ratio(texts, references),
        "repeated_4grams": repeated_ngrams(texts),
    }
    estimates = {name: score.estimate for name, score in scores.items()} | means
    several = inputs.prompts.weights.shape[1] > 1  # of one group every resample is the same
    detail: dict[str, dict[str, Any]] = {name: dict(_with_interval(one, several)) for name, one in estimates.items()}
    for name, value in unrelated.items():
        detail[name]["unrelated"] = value
    for name, score in scores.items():
        detail[name]["signature"] = score.signature
    lengths = count_groups(prompts)["all"] | {"cut": found.ended_in("greedy").count(False)}
    return values, detail | {"lengths": lengths, "drawn": drawn_figures(found)}


def drawn_figures(found: Generations) -> dict[str, float | None]:
    """Of the replies that were drawn: how many, which share ended by itself, and which of their 4-grams repeat.

    Those to the prompts of samples.md are among them: few, so a sign of health and no figure to compare.
    """
    texts = [*found.sampled, *found.shown_sampled]
    ended = [*found.ended_in("sampled"), *found.ended_in("shown_sampled")]
    share = sum(ended) / len(texts) if texts else None
    return {"n": len(texts), "ended": share, "repeated_4grams": repeated_ngrams(texts) if texts else None}


def _with_interval(estimate: Estimate, interval: bool) -> dict[str, float | None]:
    low, high = (estimate.low, estimate.high) if interval else (None, None)
    return {"value": estimate.value, "low": low, "high": high}
