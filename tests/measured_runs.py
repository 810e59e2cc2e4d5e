"""Runs made of numbers, for tests of what is computed from them."""

import numpy as np

from llm.corpus.questions import Question
from llm.dialogue import Example
from llm.evaluation.ask import Generations, Likelihoods, Outputs
from llm.evaluation.items import EvalItems, Sampling, SamplingConfig
from llm.evaluation.scoring import Score
from llm.runs.compare import Rules

TEXT = "what is a token a piece of text and why does a model learn from examples"
N_GROUPS, PER_GROUP, N_QUESTIONS = 40, 3, 40
ALIKE = SamplingConfig(*[Sampling(temperature=0.8, top_p=0.95)] * 3)


FIGURES = {
    "bpb": ("all", "macro", "eli5", "technical"),
    "choice": ("mc1", "mc1_per_byte", "mc2"),
    "literacy": ("accuracy", "couples_both"),
    "premises": ("accuracy",),
    "text": ("bleu", "chrf", "token_f1", "degenerate"),
    "truth": ("answered", "contrast", "nearer_correct"),
    "truthfulqa": ("mc1", "mc1_per_byte", "mc2"),
}


def spreads(seed_sd=1e-9):
    """That standard deviation between seeds for every figure of both trained models; not 0, a fixed model's."""
    of_each = {section: dict.fromkeys(names, seed_sd) for section, names in FIGURES.items()}
    return {"scratch": of_each, "mistral": of_each}


def rules(n_resamples=200, seed_sd=1e-9):
    return Rules(spreads(seed_sd), n_resamples, seed=1, min_groups=2, judge=None)


def make_items(n_groups=N_GROUPS, per_group=PER_GROUP, n_questions=N_QUESTIONS):
    """Replies of 10 to 20 bytes in groups of a few, two sources."""
    examples = [
        Example(f"d{g}-{i}/1", ("eli5", "technical")[g % 2], f"g{g}", (f"why {g}?",), f"{g} {TEXT[g + i : g + i + 30]}")
        for g in range(n_groups)
        for i in range(per_group)
    ]
    quiz = [
        Question(f"q{i}", f"area{i % 2}", f"what is {i}?", (f"it is {i}",), ("no", "never")) for i in range(n_questions)
    ]
    return EvalItems(examples, examples[::per_group], quiz, quiz[:20], [])


ITEMS = make_items()
N_BYTES = np.array([len(example.reply.encode()) for example in ITEMS.examples])


def with_bpb(per_item, right=None, items=ITEMS):
    """A run with these bits per byte on each reply, that answers these questions rightly (default: none)."""
    n_bytes = np.array([len(example.reply.encode()) for example in items.examples])
    nats = -np.asarray(per_item) * np.log(2) * n_bytes
    right = np.zeros(len(items.quiz), bool) if right is None else right
    answers = [Score(-1.0 if best == hit else -2.0, -1.0, 3) for hit in right for best in (True, False, False)]
    return Outputs(
        items, Likelihoods([Score(float(x), -1.0, 5) for x in nats], {"choice": answers} if answers else {}), None
    )


def that_says(greedy, truth=None):
    """A run that replies so, and scores everything alike."""
    likely = with_bpb(np.full(len(N_BYTES), 2.0)).likelihoods
    return Outputs(ITEMS, likely, Generations(greedy, [], truth or ["it is 1"] * len(ITEMS.truth), []))
