"""A tiny model on tiny data, trained for real, for the tests of the training loop."""

import numpy as np
import torch

from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.training.checkpoint import State
from llm.training.loop import fit
from tests.training.test_schedule import CONFIG

SHAPE = ModelConfig("gpt2", n_layer=2, n_head=2, n_embd=16, context_length=16, dropout=0.1, attn_dropout=0.0)
CPU = torch.device("cpu")


def counting_rows():
    """Sixty dialogues of counting tokens, in rows of 16."""
    generator = np.random.default_rng(1)
    lengths = generator.integers(4, 30, 60)
    ids = np.concatenate([np.arange(n) % 7 + start % 5 for start, n in enumerate(lengths)]).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pack_corpus(TokenCorpus(ids, offsets, offsets[:-1], None), 16, seed=1)


def model(shape=SHAPE):
    """A fresh network; torch's own generator is seeded for its dropout."""
    torch.manual_seed(1)
    return build_model(shape, 12, torch.Generator().manual_seed(1))


def weights(network):
    """Copies of the weights by name."""
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def train(packed, folder, config=CONFIG, shape=SHAPE, network=None):
    """Final weights and progress of a run whose state is in the folder."""
    network = model(shape) if network is None else network
    progress = fit(network, packed, packed, config, 1, CPU, State(folder))
    return weights(network), progress


def take_steps(steps, n):
    """Begin, or resume, the run of `training_steps`, and take n steps."""
    for _ in range(n + 1):
        next(steps)


def content(path):
    """Bytes of a file, or of every file in a folder."""
    return path.read_bytes() if path.is_file() else {file.name: file.read_bytes() for file in path.iterdir()}
