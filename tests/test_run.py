import math
import os
from dataclasses import replace

import pytest
import torch

from llm.checkpoint import State
from llm.data import batch_rows
from llm.run import LR_CUT, MAX_ROLLBACKS, MAX_SKIPPED
from llm.train import fit
from tests.test_schedule import CONFIG
from tests.test_train import CPU, content, model, packed, weights  # noqa: F401

STEPS = replace(CONFIG, max_steps=30, eval_every=5)


def poison(network, data, steps, config=STEPS):
    """The network with gradients that are not finite for the batches of these 0-based steps."""
    poisoned = {
        tuple(data.batch([row]).ids.flatten().tolist())
        for step in steps
        for row in batch_rows(len(data), config.batch_size, 1, step)[:1]
    }
    hidden = network.hidden

    def broken(ids, positions=None, documents=None):
        states = hidden(ids, positions, documents)
        bad = network.training and any(tuple(row.tolist()) in poisoned for row in ids)
        return states * math.nan if bad else states

    network.hidden = broken
    return network
