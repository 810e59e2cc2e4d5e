"""Log-probabilities of reply tokens: only reply positions meet the head, replies to one prompt share its work.

A reply is scored in windows. Replies to one prompt share a row: the prompt stands there once and each reply behind it
sees the prompt and itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llm.models.loss import chunk_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Forward = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]  # ids, positions, additive mask -> hidden (B, T, C)

ROW_TOKENS = 512  # replies to one prompt share a row up to this length: attention over a row grows with its square
PADDING = -1  # branch number of padding


@dataclass(frozen=True)
class Window:
    """Tokens to be predicted one after the other, and what is seen before the first of them."""

    context: tuple[int, ...]
    targets: tuple[int, ...]


def cut_windows(prompt: Sequence[int], targets: Sequence[int], length: int) -> list[Window]:
    """Windows of at most `length` inputs that predict each target once, with all the context there is room for.

    What is too long loses the left of its prompt first, down to half a window. If the reply still does not fit, the
    window slides by half its length. Raises ValueError when there is no prompt to predict from.

    >>> [(w.context, w.targets) for w in cut_windows([1, 2], [3, 4, 5, 6], length=4)]
    [((1, 2), (3, 4, 5)), ((2, 3, 4, 5), (6,))]
    """
    if not prompt:
        raise ValueError("a reply is predicted from its prompt, which has no tokens")
    ids = [*prompt, *targets]
    n = len(ids) - 1  # inputs: the last token is only predicted
    start = max(0, min(len(prompt) - length // 2, n - length))
    first, end = len(prompt), min(n, start + length)
    windows = [Window(tuple(ids[start:first]), tuple(ids[first : end + 1]))]
    while end < n:
        first, end = end + 1, min(n, end + length // 2)
        windows.append(Window(tuple(ids[end - length : first]), tuple(ids[first : end + 1])))
    return windows


def group_by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Numbers of the items, batched with others about as long: longest x batch size <= `batch_tokens`, or one item.

    The longest come first, so that memory runs out at once or never.

    >>> group_by_length([2, 9, 3, 3], batch_tokens=9)
    [[1], [2, 3, 0]]
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


@torch.inference_mode()
def window_logprobs(forward: Forward, head: Tensor, windows: Sequence[Window], batch_tokens: int) -> list[Floats]:
    """Log-probabilities (nats) of each window's targets, in the order of the windows."""
    rows, lengths = _share_contexts(windows)
    logprobs: list[Floats] = [np.empty(0)] * len(windows)
    for batch in group_by_length(lengths, batch_tokens):
        numbers = [number for i in batch for number in rows[i]]
        found = _batch_logprobs(forward, head, [[windows[number] for number in rows[i]] for i in batch])
        for number, values in zip(numbers, found, strict=True):
            logprobs[number] = values
    return logprobs


def _share_contexts(windows: Sequence[Window]) -> tuple[list[list[int]], list[int]]:
    """Rows, each the numbers of windows with one context, and how many inputs each row takes."""
    rows: list[list[int]] = []
    lengths: list[int] = []
    open_row: dict[tuple[int, ...], int] = {}
    for number, window in enumerate(windows):
        n_inputs = len(window.targets) - 1
        at = open_row.get(window.context)
        if at is None or lengths[at] + n_inputs > ROW_TOKENS:
            at = open_row[window.context] = len(rows)
            rows.append([])
            lengths.append(len(window.context))
        rows[at].append(number)
        lengths[at] += n_inputs
    return rows, lengths


@dataclass(frozen=True)
class Layout:
    """Rows as arrays (B, T), and where in B x T each target is predicted from."""

    ids: Ints
    positions: Ints
    branches: Ints  # 0 in the context, 1, 2, ... in the replies
    predictors: list[Ints]  # of each window


def _lay_out(rows: Sequence[Sequence[Window]]) -> Layout:
    T = max(len(row[0].context) + sum(len(window.targets) - 1 for window in row) for row in rows)
    ids, positions = np.zeros((len(rows), T), np.int64), np.zeros((len(rows), T), np.int64)
    branches = np.full((len(rows), T), PADDING)
    predictors: list[Ints] = []
    for b, row in enumerate(rows):
        n = column = len(row[0].context)
        ids[b, :n], positions[b, :n], branches[b, :n] = row[0].context, np.arange(n), 0
        for branch, window in enumerate(row, 1):
            stop = column + len(window.targets) - 1
            ids[b, column:stop], branches[b, column:stop] = window.targets[:-1], branch
            positions[b, column:stop] = np.arange(n, n + stop - column)
            predictors.append(b * T + np.array([n - 1, *range(column, stop)]))
            column = stop
    return Layout(ids, positions, branches, predictors)


def _batch_logprobs(forward: Forward, head: Tensor, rows: Sequence[Sequence[Window]]) -> list[Floats]:
    """Log-probabilities of the targets of every window, row by row."""
    layout, device = _lay_out(rows), head.device
    positions = mask = None  # rows of one reply are plain causal ones, padded on the right where nobody looks
    if any(len(row) > 1 for row in rows):
        positions = torch.from_numpy(layout.positions).to(device)
        mask = _branch_mask(torch.from_numpy(layout.branches).to(device), head.dtype)
    hidden = forward(torch.from_numpy(layout.ids).to(device), positions, mask)
    predictors = torch.from_numpy(np.concatenate(layout.predictors)).to(device)
    targets = torch.tensor([token for row in rows for window in row for token in window.targets], device=device)
    found = _target_logprobs(hidden.flatten(0, 1)[predictors], head, targets)
    logprobs = found.cpu().numpy().astype(np.float64)  # here, since not every device has fp64
    return np.split(logprobs, np.cumsum([len(predictor) for predictor in layout.predictors])[:-1])


def _branch_mask(branches: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask (B, 1, T, T): a token sees, of those before it, its own branch and branch 0."""
    T = branches.size(1)
    key, query = branches[:, None, None, :], branches[:, None, :, None]
    causal = torch.ones(T, T, dtype=torch.bool, device=branches.device).tril()
    seen = causal & ((key == query) | (key == 0))
    return torch.zeros(seen.shape, dtype=dtype, device=branches.device).masked_fill(~seen, -math.inf)


def _target_logprobs(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Log-softmax in fp32 of hidden (N, C) @ head.T, at the targets (N,)."""
    n_rows = chunk_rows(head)
    parts = []
    for start in range(0, len(targets), n_rows):
        part = slice(start, start + n_rows)
        logits = (hidden[part] @ head.T).float()
        parts.append(logits.gather(1, targets[part, None]).squeeze(1) - logits.logsumexp(1))
    return torch.cat(parts)
