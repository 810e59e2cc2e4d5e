"""Averaged weights: the exponential moving average of the weights along a run, steadier than the last of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """The average of the trained weights, kept beside them; without weights of its own where `decay` is 0."""

    def __init__(self, trained: Mapping[str, Tensor], decay: float) -> None:
        self.trained, self.decay = trained, decay
        self.mean = {name: p.detach().clone() for name, p in trained.items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Count in the weights after the 1-based `step`.

        The first steps count for more, or the average would remember the untrained weights for 1 / (1 - decay)
        steps: decay is at most (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage.
        """
        if self.mean:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.mean.values()), list(self.trained.values()), 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and their average, bit for bit."""
        for name, mean in self.mean.items():
            weights = self.trained[name].clone()
            self.trained[name].copy_(mean)
            mean.copy_(weights)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """A block in which the model holds the average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
