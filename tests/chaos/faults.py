"""A fault by its number: of which kind it is, what it meets and when. A seed and a number give one fault for ever."""

import random
from dataclasses import dataclass

# Every fifth fault meets the whole DAG from its first stage on, the others a stage whose inputs are made.
WHOLE_EVERY = 5
STAGES = (  # a stage that takes long, and has more to lose, is named several times
    *("download@dialogue", "download@eli5", "download@technical", "download_base", "clean", "tokenize", "train_judge"),
    *("train_scratch",) * 4,
    *("finetune_mistral",) * 4,
    *("evaluate",) * 4,
    *("plots", "report", "podcast"),
)
TRAININGS = ("train_scratch", "finetune_mistral")
RESUMED = (*TRAININGS, "evaluate")  # stages that go on from what they have kept
# In turn, so that each comes about as often as it stands here.
OF_A_STAGE = (
    *("signal", "damaged file", "disk full", "signal", "read-only", "damaged state", "two at once", "signal"),
    *("permissions", "damaged cache", "one of two processes", "clock", "damaged input", "experiments"),
)
OF_THE_WHOLE = ("signal", "damaged file", "disk full", "two at once", "signal", "read-only", "clock", "permissions")
KINDS = tuple(dict.fromkeys((*OF_A_STAGE, *OF_THE_WHOLE)))


@dataclass(frozen=True)
class Fault:
    """One fault, before it is known what comes of it."""

    seed: int
    number: int  # from 0
    kind: str  # of KINDS
    stage: str | None  # None: the whole DAG
    moment: float  # share of the undisturbed time after which it comes, 0 to 1

    @property
    def dice(self) -> random.Random:
        """What the kind draws its details from, always the same."""
        return random.Random(f"{self.seed} {self.number} details")


def draw_fault(seed: int, number: int) -> Fault:
    """The fault of that number."""
    dice = random.Random(f"{seed} {number}")
    n_whole = number // WHOLE_EVERY
    if number % WHOLE_EVERY == WHOLE_EVERY - 1:
        return Fault(seed, number, OF_THE_WHOLE[n_whole % len(OF_THE_WHOLE)], None, dice.random())
    kind = OF_A_STAGE[(number - n_whole) % len(OF_A_STAGE)]
    kept = {"one of two processes": TRAININGS, "damaged state": RESUMED, "experiments": ("train_scratch",)}
    return Fault(seed, number, kind, dice.choice(kept.get(kind, STAGES)), dice.random())
