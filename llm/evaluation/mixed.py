"""Several models of the same tokens as one: the probability of each token is the weighted mean of theirs.

`scratch + ngram5` costs nothing, for both are there: what the network has not learned of frequent runs of tokens the
5-gram has counted. Several training seeds of one recipe are mixed in equal parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm.dialogue import Example
from llm.evaluation.ngram import Floats
from llm.evaluation.scoring import Score, TokenScorer, sum_logprobs

ROUNDS = 100  # of EM at most
CLOSE = 1e-6  # a weight that changes by less has been found

Weights = tuple[float, ...]


@dataclass(frozen=True)
class Mixed:
    """A mixture of models that share their tokenizer."""

    models: tuple[TokenScorer, ...]
    weights: Weights  # one a model, their sum is 1

    def loglik(self, examples: Sequence[Example]) -> list[Score]:
        """Score of each example's reply."""
        found = zip(*(model.token_logprobs(examples) for model in self.models), strict=True)
        return [sum_logprobs([mix(np.stack(logprobs), self.weights)]) for logprobs in found]


def mix(logprobs: Floats, weights: Weights) -> Floats:
    """Log-probabilities (N,) of tokens by the mixture, from those (models, N) by each model.

    >>> np.exp(mix(np.log([[0.5], [0.1]]), (0.75, 0.25)))
    array([0.4])
    """
    return np.logaddexp.reduce(logprobs + np.log(weights)[:, None], axis=0)


def fit_weights(models: Sequence[TokenScorer], examples: Sequence[Example]) -> Weights:
    """The weights by which the tokens of the replies are likeliest, by expectation maximisation from equal ones.

    End tokens are left out, as they are of bits per byte. The likelihood has one maximum: where it begins is no matter.
    """
    found = zip(*(model.token_logprobs(examples) for model in models), strict=True)
    logprobs = np.concatenate([np.stack(parts)[:, :-1] for parts in found], axis=1)  # (models, tokens)
    weights = np.full(len(models), 1 / len(models))
    for _ in range(ROUNDS):
        before = weights
        shares = np.exp(logprobs + np.log(weights)[:, None] - mix(logprobs, tuple(weights)))
        weights = shares.mean(axis=1)
        if np.abs(weights - before).max() < CLOSE:
            break
    return tuple(weights.tolist())
