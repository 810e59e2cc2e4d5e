"""About how long a stage takes: its work by params.yaml, at the speed that was measured.

Good to a factor of 1.5. The three long stages scale alike with what `measure_speed` finds, from 66 to 200 GFLOP/s.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.speed import step_flop

Params = Mapping[str, Any]  # params.yaml as plain values


@dataclass(frozen=True)
class Timed:
    """What some work took on an otherwise idle machine of REFERENCE_GFLOPS."""

    seconds: float
    work: float  # in what the function that uses it counts

    def of(self, work: float) -> float:
        """Seconds for other work of the kind."""
        return self.seconds * work / self.work


# The calibration: the preset `laptop`, timed in November 2026. What makes a stage faster is entered here.
REFERENCE_GFLOPS = 200.0
TRAIN = Timed(364, work=7.1e13)  # operations
FINETUNE = Timed(102, work=2.5e13)  # operations, as if a third less of them for the frozen weights
SCORING = Timed(42, work=1900 * 134.5e6)  # weighed texts x weights of the model that scores them
REPLYING = Timed(22, work=111 * 40 * 134.5e6)  # tokens x weights
SMALL_MODELS = Timed(22, work=1900 * 2.56e6)  # weighed texts x weights of the scratch model; with all baselines
CLEAN, TOKENIZE = Timed(6, work=2.7e6), Timed(3, work=2.7e6)  # tokens
FIXED_S = {  # imports and files; they hardly depend on the machine
    "check_params": 3,
    "look": 1,
    "download": 2,
    "download_base": 9,
    "clean": 3,
    "tokenize": 3,
    "train_scratch": 5,
    "finetune_mistral": 10,
    "train_judge": 2,
    "evaluate": 10,
    "plots": 3,
    "report": 3,
    "podcast": 3,
}

PROVIDERS = {  # exchanges that each has, and tokens of an exchange
    "cornell": (221_000, 30),
    "chitchat": (96_000, 25),
    "eli5": (325_000, 250),
    "stackexchange": (1_000_000, 400),
    "docs": (500, 160),
    "curated": (780, 160),
    "local": (100_000, 40),  # a guess, as of any data set of the hub
    "hub": (1_000_000, 40),
}
OVER_THE_NETWORK = {"cornell", "eli5", "stackexchange", "hub"}
BASES = {"smollm2-135m": 134.5e6, "tiny": 0.1e6, "mistralai/Mistral-7B-v0.3": 7.25e9}  # weights
BASE_INFO = Path("models/base/tandem.json")
LITERACY_COUPLES, LITERACY_ANSWERS = 172, 1000  # of pairs; their statements and the answers to false premises
QUIZ_ANSWERS = 1200
TRUTHFULQA_QUESTIONS, TRUTHFULQA_ANSWERS = 817, 7  # the last a question's
REPLY_WEIGHT = 3  # a test reply is as long as so many answers
BYTES_A_TOKEN = 6  # of the cap, for each token that is generated: half of the replies end before it
REPLIES_A_DIALOGUE, SHOWN = 4, 10  # where the parameters name no limit; prompts of samples.md


def corpus_tokens(params: Params) -> float:
    """Tokens of all sources, as the first provider of each has them."""
    tokens = 0.0
    for source in params["download"].values():
        found = [PROVIDERS[name] for name in source["providers"][0].split("+")]
        kept = min(1.0, source["limit"] / sum(exchanges for exchanges, _ in found))
        tokens += kept * sum(exchanges * each for exchanges, each in found)
    return tokens


def scratch_weights(params: Params) -> float:
    """Weights of the model trained from scratch, to a few per cent."""
    model = params["model"]
    return 12 * model["n_layer"] * model["n_embd"] ** 2 + params["tokenize"]["vocab_size"] * model["n_embd"]


def base_weights(params: Params) -> float:
    """Weights of the base model. Raises LookupError or OSError for one that was never here."""
    location = params["base"]["location"]
    return BASES[location] if location in BASES else json.loads(BASE_INFO.read_text(encoding="utf-8"))["parameters"]


def run_flop(train: Params, context_length: int, train_tokens: float, weights: float) -> float:
    """Operations of a training run with its validations, each a third of a step's."""
    batch_tokens = train["batch_size"] * context_length
    epoch = max(1.0, train_tokens / batch_tokens)
    steps = train["max_steps"] or train["epochs"] * epoch
    validations = 2 + steps / (train["eval_every"] or epoch)
    val_tokens = min(0.05 * train_tokens, (train["val_rows"] or train_tokens) * context_length)
    return step_flop(weights, steps * batch_tokens + validations * val_tokens / 3)


def train_seconds(params: Params, slower: float) -> float:
    """Time of train_scratch on a machine that is so many times slower than the reference."""
    train, context_length = params["train"], params["model"]["context_length"]
    if train["budget_s"]:
        return train["budget_s"]
    return slower * TRAIN.of(run_flop(train, context_length, corpus_tokens(params), scratch_weights(params)))


def finetune_seconds(params: Params, slower: float) -> float:
    """Time of finetune_mistral."""
    finetune = params["finetune"]
    train, tokens = finetune["train"], corpus_tokens(params)
    if not finetune["enabled"] or train["budget_s"]:
        return train["budget_s"] or 0.0
    tokens = min(tokens, finetune["train_tokens"] or tokens)
    return slower * FINETUNE.of(run_flop(train, finetune["context_length"], tokens, base_weights(params) * 2 / 3))


def evaluate_seconds(params: Params, slower: float) -> float:
    """Time of evaluate: the base model and the fine-tuned one score and reply; all others together are small."""
    evaluate, dialogues = params["evaluate"], params["evaluate"]["dialogues"] or 10**9
    a_dialogue = evaluate["max_replies"] or REPLIES_A_DIALOGUE
    held_out = corpus_tokens(params) * params["clean"]["test_share"] / 25
    asked = 0 if params["clean"]["truth_data"] is None else evaluate["truthfulqa_questions"]
    literacy = min(1.0, (evaluate["literacy_questions"] or LITERACY_COUPLES) / LITERACY_COUPLES)
    answers = (
        LITERACY_ANSWERS * literacy
        + QUIZ_ANSWERS * evaluate["quiz"]
        + TRUTHFULQA_ANSWERS * (TRUTHFULQA_QUESTIONS if asked is None else asked)
    )
    texts = REPLY_WEIGHT * min(held_out, 3 * dialogues * a_dialogue) + answers
    replies = evaluate["generations"] + evaluate["sampled"] + evaluate["truth_questions"] + 2 * SHOWN
    weights = base_weights(params) * (2 if params["finetune"]["enabled"] else 1)
    tokens = replies * evaluate["max_reply_bytes"] / BYTES_A_TOKEN
    large = SCORING.of(texts * weights) + REPLYING.of(tokens * weights)
    return slower * (large + SMALL_MODELS.of(texts * scratch_weights(params)))


COMPUTING = {"train_scratch": train_seconds, "finetune_mistral": finetune_seconds, "evaluate": evaluate_seconds}


def needs_network(stage: str, params: Params) -> bool:
    """Whether the stage takes as long as its downloads do."""
    if stage == "download_base":
        location = params["base"]["location"]
        return not Path(location).exists() and location not in ("smollm2-135m", "tiny")
    kind, _, source = stage.partition("@")
    return kind == "download" and bool(OVER_THE_NETWORK & set(params["download"][source]["providers"][0].split("+")))


def stage_seconds(stage: str, params: Params, gflops: float) -> float | None:
    """Seconds that the stage takes on this machine, None where nobody can say.

    Raises LookupError or TypeError for parameters that are not those of this pipeline.
    """
    fixed = FIXED_S[stage.partition("@")[0]]
    if needs_network(stage, params):
        return None
    if stage in ("clean", "tokenize"):
        return fixed + (CLEAN if stage == "clean" else TOKENIZE).of(corpus_tokens(params))
    if stage not in COMPUTING:
        return fixed
    try:
        return fixed + COMPUTING[stage](params, REFERENCE_GFLOPS / gflops)
    except OSError:  # a base model of unknown size
        return None
