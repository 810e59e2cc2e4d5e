"""What a sweep searches: the content of its space file, and a trial's parameters as DVC is told them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from llm.ranges import check_range
from llm.runs.compare import LOWER_IS_BETTER, measure_of

Scalar = bool | int | float | str
VAL_LOSS = "val_loss"
CURVES = {"scratch": "metrics/train_scratch.csv", "mistral": "metrics/finetune_mistral.csv"}
STAGES = {"scratch": "train_scratch", "mistral": "finetune_mistral"}
TRAIN = {"scratch": "train", "mistral": "finetune.train"}  # the section that says how long it trains


@dataclass(frozen=True)
class Space:
    """The values that each parameter may take, by dotted name, and how they are drawn."""

    log_uniform: dict[str, tuple[float, float]]  # evenly in the logarithm, ends included
    uniform: dict[str, tuple[float, float]]
    integers: dict[str, tuple[int, int]]
    choices: dict[str, tuple[Scalar, ...]]

    def __post_init__(self) -> None:
        names = [name for kind in asdict(self).values() for name in kind]
        if not names:
            raise ValueError("space names no parameter: give one or more under log_uniform, uniform, integers, choices")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"space names {', '.join(twice)} twice: keep one")
        for kind, values in self.ranges():
            for name, (low, high) in values.items():
                if not low < high or (kind == "log_uniform" and low <= 0):
                    above = " above 0" if kind == "log_uniform" else ""
                    raise ValueError(f"space.{kind}.{name} is [{low}, {high}], allowed: low, then high{above}")
        for name, chosen in self.choices.items():
            if len(set(map(repr, chosen))) < max(2, len(chosen)):
                raise ValueError(f"space.choices.{name} is {list(chosen)}, allowed: two or more different values")

    def ranges(self) -> Iterator[tuple[str, Mapping[str, tuple[float, float]]]]:
        """The kinds whose values are a low and a high one."""
        yield from (("log_uniform", self.log_uniform), ("uniform", self.uniform), ("integers", self.integers))

    def corners(self) -> Iterator[dict[str, Scalar]]:
        """Values that together hold both ends of each range and every choice."""
        ends: dict[str, tuple[Scalar, ...]] = {name: two for _, kind in self.ranges() for name, two in kind.items()}
        ends |= self.choices
        for i in range(max(map(len, ends.values()))):
            yield {name: values[min(i, len(values) - 1)] for name, values in ends.items()}


@dataclass(frozen=True)
class SweepConfig:
    """The content of a space file."""

    study: str  # its name, with which those of its experiments begin
    objective: str  # MODEL.val_loss, or a figure of the model such as scratch.bpb.all
    trials: int
    steps: int | None  # exactly one of steps and budget_s is a number, and holds for every trial
    budget_s: float | None
    sampler: Literal["tpe", "random"]
    seed: int  # of the sampler
    pruner: Literal["median", "none"]
    startup: int  # trials that are drawn at random, and whose curves are complete before one is pruned
    spared: int  # evaluations of a trial behind which it may be pruned; the first is made before any step
    fixed: dict[str, Scalar | None]  # other parameters, the same in every trial
    space: Space

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", self.study):
            raise ValueError(f"study is {self.study!r}, allowed: a-z, 0-9 and - between them, two or more")
        if self.model not in CURVES or not self.figure:
            raise ValueError(
                f"objective is {self.objective}, allowed: MODEL.{VAL_LOSS} or MODEL.FIGURE, of scratch or mistral"
            )
        check_range("trials", self.trials, 1, 10**5)
        check_range("seed", self.seed, 0, 2**31)
        check_range("startup", self.startup, 1, 10**5)
        check_range("spared", self.spared, 0, 10**5)
        if (self.steps is None) == (self.budget_s is None):
            told = f"steps is {self.steps}, budget_s is {self.budget_s}"
            raise ValueError(f"{told}: exactly one must be a number, or the trials are not equally long")
        if self.pruner != "none" and not self.lower_is_better:
            raise ValueError(f"pruner is {self.pruner}, but {self.objective} is better the higher: set pruner to none")
        own = {f"{TRAIN[self.model]}.{name}" for name in ("epochs", "max_steps", "budget_s")}
        if taken := sorted(own & {*self.fixed, *next(self.space.corners())}):
            raise ValueError(f"{', '.join(taken)} is set by steps or budget_s: take it out of fixed and space")
        if both := sorted(self.fixed.keys() & next(self.space.corners())):
            raise ValueError(f"{', '.join(both)} stands in fixed and in space: keep one")

    @property
    def model(self) -> str:
        """The model that is searched for."""
        return self.objective.partition(".")[0]

    @property
    def figure(self) -> str:
        """What is measured of the model."""
        return self.objective.partition(".")[2]

    @property
    def target(self) -> str:
        """The stage up to which a trial runs."""
        return STAGES[self.model] if self.figure == VAL_LOSS else "evaluate"

    @property
    def lower_is_better(self) -> bool:
        """Whether the search is for a low value."""
        return self.figure == VAL_LOSS or measure_of(self.figure) in LOWER_IS_BETTER

    def length(self) -> dict[str, Scalar | None]:
        """The parameters that make every trial equally long."""
        section = TRAIN[self.model]
        return {f"{section}.epochs": None, f"{section}.max_steps": self.steps, f"{section}.budget_s": self.budget_s}

    def common(self) -> dict[str, Scalar | None]:
        """The parameters that all trials share."""
        return {**self.length(), **self.fixed}

    def experiment(self, number: int) -> str:
        """Name of a trial's experiment."""
        return f"{self.study}-{number:03d}"


def set_params(values: Mapping[str, Scalar | None]) -> list[str]:
    """The parameters as options of `dvc exp run`.

    >>> set_params({"train.lr": 0.001, "train.epochs": None, "model.architecture": "gpt2"})
    ['--set-param', 'train.lr=0.001', '--set-param', 'train.epochs=null', '--set-param', "model.architecture='gpt2'"]
    """
    return [part for name, value in values.items() for part in ("--set-param", f"{name}={_written(value)}")]


def _written(value: Scalar | None) -> str:
    """A value as Hydra's grammar has it, by which DVC reads `-S`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "'{}'".format(value.replace("\\", "\\\\").replace("'", "\\'")) if isinstance(value, str) else repr(value)


def check_scalars(values: Mapping[str, Any]) -> None:
    """Raise ValueError for a choice or a fixed value that is a list or a section; of a file's plain content."""
    space = values.get("space")
    choices = space.get("choices") if isinstance(space, dict) else None
    lists = [(f"space.choices.{name}", one) for name, one in (choices if isinstance(choices, dict) else {}).items()]
    fixed = values.get("fixed")
    lists += [(f"fixed.{name}", [one]) for name, one in (fixed if isinstance(fixed, dict) else {}).items()]
    for name, one in lists:
        for value in one if isinstance(one, list) else []:
            if isinstance(value, dict | list) or (value is None and not name.startswith("fixed.")):
                raise ValueError(f"{name} holds {value}, allowed: numbers, texts, true and false")
