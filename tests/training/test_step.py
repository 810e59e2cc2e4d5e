import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import llm.training.step
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.training.step import add_gradients, clip_gradients, optimizer_step, validation_loss
from tests.training.test_precision import Network

SHAPE = ModelConfig("gpt2", n_layer=2, n_head=2, n_embd=16, context_length=16, dropout=0.0, attn_dropout=0.0)
CPU = torch.device("cpu")
PLAIN = torch.amp.GradScaler("cpu", enabled=False)


@pytest.fixture
def packed():
    """Forty dialogues of counting tokens, in rows of 16, a third of the tokens not learned."""
    lengths = np.random.default_rng(1).integers(4, 30, 40)
    ids = np.concatenate([np.arange(n) % 7 + start % 5 for start, n in enumerate(lengths)]).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pack_corpus(TokenCorpus(ids, offsets, offsets[:-1], np.arange(len(ids)) % 3 > 0), 16, seed=1)


def model():
    """A fresh network."""
    return build_model(SHAPE, 12, torch.Generator().manual_seed(1))


def test_the_loss_is_the_mean_over_supervised_tokens(packed):
    network = model().eval()
    total, n = 0.0, 0
    for row in range(len(packed)):
        batch = packed.batch([row])
        logits = network.hidden(batch.ids, batch.positions, batch.documents) @ network.head.T
        losses = torch.nn.functional.cross_entropy(logits[0], batch.targets[0], ignore_index=-1, reduction="none")
        total, n = total + losses.sum().item(), n + int((batch.targets >= 0).sum())
    assert validation_loss(network, packed, None, 3, CPU) == pytest.approx(total / n, rel=1e-5)


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 6])
def test_every_split_of_a_batch_gives_the_gradient_of_the_whole(packed, micro_batch):
    rows = [5, 3, 8, 0, 11, 2, 9, 1, 7, 4, 6, 10]
    results = []
    for size in (12, micro_batch):
        network = model().double()
        losses = add_gradients(network, [packed.batch(rows[i : i + size]) for i in range(0, 12, size)], CPU, PLAIN)
        results.append((sum(map(float, losses.sums)), losses.n_tokens, [p.grad for p in network.parameters()]))
    (whole, n_whole, gradients), (split, n_split, split_gradients) = results
    assert n_whole == n_split
    assert split == pytest.approx(whole, rel=1e-12)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(gradients, split_gradients, strict=True))


@pytest.mark.parametrize(("max_norm", "clipped"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])])
def test_gradients_are_scaled_down_to_the_largest_norm_allowed(max_norm, clipped):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.full((1,), gradient)
    assert clip_gradients(parameters, max_norm) == 5.0  # of 3 and 4
    assert [p.grad.item() for p in parameters] == pytest.approx(clipped, rel=1e-5)


def test_an_optimizer_step_goes_by_its_rate_and_drops_the_gradients():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([parameter], lr=99.0)
    parameter.grad = torch.tensor([2.0])
    optimizer_step([optimizer], lr=0.25)
    assert parameter.item() == 0.5 and parameter.grad is None  # 1 - 0.25 * 2


class Recorded(TorchDispatchMode):
    """A block that notes which operations run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function.overloadpacket).removeprefix("aten."))
        return function(*args, **(kwargs or {}))


WAITS = {"_local_scalar_dense", "nonzero", "item", "equal", "is_nonzero"}  # for a GPU to have come so far


def test_nothing_waits_for_the_device_between_the_first_forward_and_the_last_backward(packed, monkeypatch):
    monkeypatch.setattr(llm.training.step, "summed_loss", lambda hidden, weight, targets: (hidden @ weight.T).sum())
    batches = [packed.batch([i, i + 1]) for i in (0, 2, 4)]
    with Recorded() as recorded:
        add_gradients(Network(), batches, CPU, PLAIN)
    names = recorded.names
    first, last = names.index("embedding"), len(names) - names[::-1].index("embedding_dense_backward")
    assert names.count("embedding") == 3 and WAITS.isdisjoint(names[first:last])


def test_a_validation_waits_only_for_what_it_counts_before_a_batch_goes_to_the_device(packed, monkeypatch):
    monkeypatch.setattr(llm.training.step, "summed_loss", lambda hidden, weight, targets: (hidden @ weight.T).sum())
    with Recorded() as recorded:
        validation_loss(Network(), packed, 6, 2, CPU)
    assert sum(name in WAITS for name in recorded.names) == 3  # the targets of three batches
