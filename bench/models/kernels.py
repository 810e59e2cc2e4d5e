"""Every kernel of kernel_choice.py's table against torch's own, forward and backward; and the row that follows.

To measure another processor's row on this one, set ATEN_CPU_CAPABILITY=avx2 (or default), ONEDNN_MAX_CPU_ISA=AVX2 (or
SSE41) and MKL_ENABLE_INSTRUCTIONS=AVX2 (or SSE4_2) before.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from statistics import geometric_mean
from typing import Any

import torch
from torch import Tensor

from bench.ours import laptop_shape
from bench.rounds import Contender, Lap, alternate, check_equal
from bench.shapes import SEED, SMALL, Shape
from bench.table import Section, summarise
from llm.machine import this_cpu
from llm.models.attention import attend, document_mask
from llm.models.kernel_choice import TORCHS_OWN, Kernels, use_kernels
from llm.models.layers import Linear, RMSNorm, dropout, gelu_linear, rotate, rotation_table

TURNS = 10  # of each contender in a round
OURS, TORCHS = "ours", "torch's own"
PAYS = 1.1  # how many times as long as ours torch's own has to take in the mean of the shapes, and 1 in each
TOLERANCE = 1e-3  # of a sum of relative means, in fp32

Work = Callable[[], Tensor]


def work(kernel: str, shape: Shape) -> tuple[Work, list[Tensor]]:
    """What computes the kernel's result, and the tensors whose gradients are made."""
    config, B, T = shape.model, shape.batch_size, shape.model.context_length
    C, H = config.n_embd, config.n_head
    draw = torch.Generator().manual_seed(SEED)
    x = torch.randn(B, T, C, generator=draw, requires_grad=True)
    heads = [torch.randn(B, T, H, C // H, generator=draw).transpose(1, 2).requires_grad_() for _ in range(3)]
    if kernel in ("products", "linear"):
        layer = Linear(C, 3 * C, bias=config.architecture == "gpt2")
        return lambda: layer(x), [x, *layer.parameters()]
    if kernel == "gelu_linear":
        wide, layer = torch.randn(B, T, 4 * C, generator=draw, requires_grad=True), Linear(4 * C, C)
        return lambda: gelu_linear(wide, layer), [wide, *layer.parameters()]
    if kernel in ("attention", "attention_dropout"):
        mask = document_mask(torch.arange(B * T).view(B, T) // (T * 2 // 3))
        p = 0.1 if kernel == "attention_dropout" else 0.0
        return lambda: attend(heads[0], heads[1], heads[2], mask, p), heads
    if kernel == "rotation":
        cos, sin = rotation_table(T, C // H)[:, None, None]
        return lambda: rotate(heads[0], cos, sin), heads[:1]
    if kernel == "norm":
        norm = RMSNorm(C)
        return lambda: norm(x), [x, *norm.parameters()]
    return lambda: dropout(x, 0.1, training=True), [x]


def run_kernel(lap: Lap, kernel: str, shape: Shape, kernels: Kernels) -> None:
    """Compute result and gradients again and again."""
    use_kernels(kernels)
    torch.manual_seed(SEED)
    forward, inputs = work(kernel, shape)
    upstream = torch.randn(forward().shape, generator=torch.Generator().manual_seed(SEED))

    def once() -> float:
        y = forward()
        made = (y.detach(), *torch.autograd.grad(y, inputs, upstream))
        return sum(float(t.mean() / t.abs().mean()) for t in made)

    note = None if "dropout" in kernel else once()  # dropped elements differ
    lap(note=note)
    while True:
        for _ in range(repeats(kernel, shape)):
            torch.autograd.grad(forward(), inputs, upstream)
        lap(repeats(kernel, shape))


def repeats(kernel: str, shape: Shape) -> int:
    """How often a turn computes the kernel: the slow ones, and all at a large shape, less often."""
    slow = 1 if kernel in ("rotation", "norm", "dropout") else 4
    return max(1, 4_000_000 // (shape.batch_size * shape.model.context_length * shape.model.n_embd * slow))


def compare(kernel: str, shape: Shape, base: Kernels, rounds: int) -> Section:
    """Seconds of both for a forward and a backward pass."""
    changed: dict[str, Any] = {kernel: True}
    if kernel == "products":
        changed["linear"] = True  # oneDNN's layer has no gradient but by our own
    entered = [
        Contender(name, run_kernel, {"kernel": kernel, "shape": shape, "kernels": kernels}, keeps_memory=True)
        for name, kernels in ((OURS, replace(base, **changed)), (TORCHS, base))
    ]
    run = alternate(entered, rounds * TURNS, lambda ready: check_equal(ready, TOLERANCE), f"{kernel} {shape.name}")
    return summarise(run, "s", {f"{TORCHS} / {OURS}": (TORCHS, OURS)}, {})


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """Every kernel in both shapes; the other ones with the products that this processor multiplies fastest.

    Prints the row of the table.
    """
    cpu, row = this_cpu(), TORCHS_OWN
    for kernel in (field.name for field in fields(Kernels)):
        base, medians = replace(TORCHS_OWN, products=row.products), []
        for shape in (laptop_shape(), SMALL):
            section = compare(kernel, shape, base, rounds)
            (found,) = section["ratios"].values()
            medians.append(found["median"])
            yield f"kernel {kernel}, {shape.name}, {cpu.vendor} {cpu.capability}", section
        changed: dict[str, Any] = {kernel: min(medians) >= 1 and geometric_mean(medians) >= PAYS}
        row = replace(row, **changed)
    row = replace(row, linear=row.linear or row.products)  # oneDNN's layer has no gradient but by our own
    used = ", ".join(f"{name}=True" for name, wanted in asdict(row).items() if wanted)
    print(f"\nthe row of this machine: {(cpu.vendor, cpu.capability)}: Kernels({used})", flush=True)
