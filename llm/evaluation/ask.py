"""Step 3, ask: each model is loaded, asked every item, and let go before the next one; what it puts out is kept."""

import gc
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, pairwise
from typing import Any

import torch

from llm.corpus.questions import Question
from llm.dialogue import Example, Prompt
from llm.evaluation.choice import choice_examples
from llm.evaluation.exposure import Planted, ask_memory
from llm.evaluation.items import EvalItems, EvaluateConfig, continued_prompt
from llm.evaluation.scoring import EvalModel, Replier, Score, Scorer
from llm.evaluation.uncertainty import ask_uncertainty
from llm.inference.decoding import Decoding

# Fields of EvalItems by what is scored of them.
ITEMS_OF = {
    "replies": "examples",
    "choice": "quiz",
    "literacy": "pairs",
    "premises": "premises",
    "truthfulqa": "truthfulqa",
}
CHUNK = 128  # examples between two steps of the progress bar

Advance = Callable[[int], object]  # told how many items are done

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Likelihoods:
    """How likely a model finds the texts it is given."""

    replies: list[Score]  # of EvalItems.examples
    answers: dict[str, list[Score]]  # by section, of choice_examples(EvalItems.choices[section]); of what was asked


@dataclass(frozen=True)
class Generations:
    """The texts that a model generates."""

    greedy: list[str]  # to EvalItems.prompts
    sampled: list[str]  # to the first of them
    truth: list[str]  # to EvalItems.truth
    shown: list[str]  # to EvalItems.shown
    continued: list[str] = field(default_factory=list)  # of EvalItems.continued
    # By the name of a list above, whether each of its texts ended by itself, not cut; of a list not named all did.
    ended: dict[str, list[bool]] = field(default_factory=dict)
    shown_sampled: list[str] = field(default_factory=list)  # to EvalItems.shown, by sampling

    def ended_in(self, kind: str) -> list[bool]:
        """Whether each text of a list ended by itself."""
        return self.ended.get(kind, [True] * len(getattr(self, kind)))


@dataclass(frozen=True)
class Outputs:
    """Everything one model put out in one run: what its figures are computed from."""

    items: EvalItems  # that it was asked
    likelihoods: Likelihoods | None  # None of a model that only replies
    generations: Generations | None  # None of a model that cannot reply
    # These stand in no file, so what follows from them cannot be computed again without the model.
    canaries: list[Score] | None = None  # of canary_examples and own_examples; None of a model that never saw them
    own_answers: list[Score] | None = None  # of own_answers(truth, generations.truth)
    english: list[Score] | None = None  # of EvalItems.english; None of a model that is not asked for it


def items_for(model: EvalModel, items: EvalItems) -> EvalItems:
    """The items that this model is asked: no choices where it can make none, no text where it goes on with none."""
    if "continuations" not in model.tasks:
        items = replace(items, continued=[])
    nothing: list[Question] = []
    without = replace(items, quiz=nothing, truthfulqa=nothing, pairs=nothing, premises=nothing)
    return items if "choices" in model.tasks else without


def count_requests(model: EvalModel, items: EvalItems, config: EvaluateConfig) -> int:
    """Number of texts that this model scores and generates: the length of the progress bar."""
    n, asked = 0, items_for(model, items)
    if "replies" in model.tasks:
        n += len(asked.examples) + sum(len(choice_examples(questions)) for questions in asked.choices.values())
    if "generations" in model.tasks:
        n += len(greedy_prompts(asked)) + min(config.sampled, len(items.prompts)) + len(items.shown)
    return n


def greedy_prompts(items: EvalItems) -> list[Prompt]:
    """What greedy decoding goes on from: the test prompts, the questions, and what samples.md shows."""
    questions = [Prompt((question.question,)) for question in items.truth]
    shown = [*(Prompt((text,)) for text in items.shown), *map(continued_prompt, items.continued)]
    return [*(example.prompt for example in items.prompts), *questions, *shown]


def ask_likelihoods(model: Scorer, items: EvalItems, advance: Advance) -> Likelihoods:
    """The model's scores of the test replies and of the answers to choose from."""
    answers = {section: choice_examples(questions) for section, questions in items.choices.items()}
    examples = list(chain(items.examples, *answers.values()))
    scores = iter(_score_in_chunks(model, examples, advance))
    replies = list(islice(scores, len(items.examples)))
    return Likelihoods(replies, {section: list(islice(scores, len(part))) for section, part in answers.items()})


def _score_in_chunks(model: Scorer, examples: Sequence[Example], advance: Advance) -> list[Score]:
    """The score of each example.

    Those with one prompt stay together and share its work; documents have none. In the order of what they take with it,
    so that a chunk has little to pad; the longest come first: memory runs out at once or never.
    """
    shared = [example.prompt.texts or (example.id,) for example in examples]
    chars = {texts: sum(map(len, texts)) for texts in shared}
    for texts, example in zip(shared, examples, strict=True):
        chars[texts] += len(example.reply)
    order = sorted(range(len(examples)), key=lambda i: (-chars[shared[i]], shared[i]))
    scores: dict[int, Score] = {}
    for start in range(0, len(examples), CHUNK):
        chunk = order[start : start + CHUNK]
        scores |= zip(chunk, model.loglik([examples[i] for i in chunk]), strict=True)
        advance(len(chunk))
    return [scores[i] for i in range(len(examples))]


def ask_generations(
    model: Replier, items: EvalItems, n_sampled: int, decoding: Decoding, advance: Advance
) -> Generations:
    """The model's replies to the test prompts, the questions and the prompts of samples.md, and how it goes on."""
    greedy, first = greedy_prompts(items), [example.prompt for example in items.prompts[:n_sampled]]
    drawn = [*first, *(Prompt((text,)) for text in items.shown)]
    rest = iter(model.generate([*greedy, *drawn], decoding, len(greedy)))
    advance(len(greedy) + len(drawn))
    lengths = {"greedy": len(items.prompts), "truth": len(items.truth), "shown": len(items.shown)}
    lengths |= {"continued": len(items.continued), "sampled": len(first), "shown_sampled": len(items.shown)}
    replies = {kind: [*islice(rest, n)] for kind, n in lengths.items()}
    return Generations(
        **{kind: [reply.text for reply in part] for kind, part in replies.items()},
        ended={kind: [reply.ended for reply in part] for kind, part in replies.items()},
    )


def ask_model(
    model: EvalModel, items: EvalItems, planted: Planted, config: EvaluateConfig, seed: int, advance: Advance
) -> Outputs:
    """The outputs of a model that is loaded for it."""
    times, asked = [time.monotonic()], items_for(model, items)
    loaded = model.load()
    times.append(time.monotonic())
    likelihoods = generations = canaries = own_answers = english = None
    if isinstance(loaded, Scorer):
        likelihoods = ask_likelihoods(loaded, asked, advance)
        canaries = ask_memory(loaded, planted) if "canaries" in model.tasks else None
        english = loaded.loglik(items.english) if "english" in model.tasks and items.english else None
    times.append(time.monotonic())
    if isinstance(loaded, Replier) and not (likelihoods and _not_finite(likelihoods)):  # nothing to choose tokens by
        generations = ask_generations(loaded, asked, config.sampled, config.drawn(model.name, seed), advance)
    if isinstance(loaded, Scorer) and generations:
        own_answers = ask_uncertainty(loaded, asked.truth, generations.truth)
    times.append(time.monotonic())
    del loaded
    _free_memory()
    spent = (after - before for before, after in pairwise(times))
    logger.info("%s: loaded in %.1f s, scored in %.1f s, replied in %.1f s", model.name, *spent)
    return Outputs(asked, likelihoods, generations, canaries, own_answers, english)


def _not_finite(found: Likelihoods) -> dict[str, str]:
    """How many of the scores of the replies and of each section are NaN or infinite, `3 of 166`, where any is."""
    parts = {"replies": found.replies, **found.answers}
    counts = {name: sum(map(_is_broken, scores)) for name, scores in parts.items()}
    return {name: f"{n:,} of {len(parts[name]):,}" for name, n in counts.items() if n}


def _is_broken(score: Score) -> bool:
    return not math.isfinite(score.logprob + score.end_logprob)


def keep_finite(outputs: Outputs) -> tuple[Outputs, dict[str, str]]:
    """The outputs as if the model had never been asked what it gave a NaN or an infinity for, and why, by figure.

    A section goes as a whole: over fewer items its figures would not be comparable with another model's.
    """
    lost: dict[str, str] = {}
    items, likelihoods = outputs.items, outputs.likelihoods
    canaries, own, english = outputs.canaries, outputs.own_answers, outputs.english
    if likelihoods and (broken := _not_finite(likelihoods)):
        lost = {"bpb, ppl" if name == "replies" else name: f"{n} scores are not finite" for name, n in broken.items()}
        if outputs.generations is None:
            lost["text, truth"] = "its scores are not finite, so it wrote nothing"
        whole = {section: scores for section, scores in likelihoods.answers.items() if section not in broken}
        likelihoods = Likelihoods([] if "replies" in broken else likelihoods.replies, whole)
        nothing: dict[str, Any] = {ITEMS_OF[name]: [] for name in broken}
        items = replace(items, **nothing)
        likelihoods = likelihoods if likelihoods.replies or likelihoods.answers else None
    if canaries and any(map(_is_broken, canaries)):
        lost["memory"], canaries = "scores of canaries are not finite", None
    if own and any(map(_is_broken, own)):
        lost["uncertainty"], own = "scores of its own answers are not finite", None
    if english and any(map(_is_broken, english)):
        lost["english"], english = "scores of plain English are not finite", None
    kept = replace(outputs, items=items, likelihoods=likelihoods, canaries=canaries, own_answers=own, english=english)
    return kept, lost


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
