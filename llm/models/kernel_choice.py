"""Which kernels of our own a processor uses instead of torch's: read from a table, never found by timing.

So a run's numbers depend on the machine's make, not on what else it was doing when the run began. `python -m bench
kernels` measures the row of the machine at hand.
"""

import logging
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from llm.machine import Cpu, has_amx, keep_freed_memory, limit_threads, permit_onednn, this_cpu

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kernels:
    """What is computed by our own kernel (llm/models/kernels.py) or by oneDNN; by torch's own where it is False."""

    products: bool = False  # linear layers and matrix products in fp32 by oneDNN instead of MKL
    linear: bool = False  # a weight's gradient by the taller of two products
    attention: bool = False  # piecewise, without dropout
    attention_dropout: bool = False  # piecewise, with dropout
    gelu_linear: bool = False  # GELU and the layer behind it, without keeping GELU's result
    rotation: bool = False
    norm: bool = False  # RMSNorm
    dropout: bool = False


NAMES = {  # in the log
    "products": "oneDNN's products",
    "linear": "our linear layers",
    "attention": "our attention",
    "attention_dropout": "our attention with dropout",
    "gelu_linear": "our GELU",
    "rotation": "our rotation",
    "norm": "our RMSNorm",
    "dropout": "our dropout",
}
TORCHS_OWN = Kernels()
# By maker and by what torch.backends.cpu.get_cpu_capability() says. Figures: how many times as long as ours torch's own
# takes, forward and backward, medians of 10 to 20 turns, laptop / SMALL of bench/models/kernels.py; torch 2.13.
TABLE = {
    # 2 cores of a Zen 5: products 2.0 / 2.1, attention 4.0 / 2.1, with dropout 1.7 / 2.2, rotation 1.7 / 1.9, norm
    # 1.1 / 1.5, dropout 2.1 / 2.3. Linear 1.06 / 1.08: oneDNN's layer has no gradient but by ours. GELU .91 / 1.06:
    # what it saves is memory.
    ("AuthenticAMD", "AVX512"): Kernels(*8 * [True]),
    # The same cores held to AVX2: attention with dropout 1.7 / 2.0, rotation 1.5 / 2.0, norm 1.6 / 1.6, dropout 1.8 /
    # 2.4; not products .97 / 1.01, linear .97 / .99, attention .90 / 1.07, GELU 1.09 / 1.09. An EPYC without AVX-512
    # agrees: attention .78 / .82, GELU 1.05, linear .98, dropout 2.1, norm 1.8, rotation 1.3.
    ("AuthenticAMD", "AVX2"): Kernels(attention_dropout=True, rotation=True, norm=True, dropout=True),
    # The same cores held to SSE4: GELU 2.0 / 1.9, norm 1.6 / 1.6, dropout 1.7 / 2.1, attention with dropout 1.3 / 1.3;
    # not products .7 / .7, linear .96 / 1.01, attention .8 / .9, rotation 1.3 / .9.
    ("AuthenticAMD", "DEFAULT"): Kernels(attention_dropout=True, gelu_linear=True, norm=True, dropout=True),
}

_in_use: Kernels | None = None


def choose_kernels(cpu: Cpu) -> Kernels:
    """The table's row for this processor; torch's own for one that is not in the table."""
    return TABLE.get((cpu.vendor, cpu.capability), TORCHS_OWN)


def use_kernels(kernels: Kernels) -> None:
    """Use these from now on, in the whole process.

    Where the processor has AMX, oneDNN would round the factors of a product to bf16: there torch keeps the products.
    """
    global _in_use
    _in_use = kernels
    permit_onednn(kernels.products and not has_amx())


def kernels_in_use() -> Kernels:
    """Those that were last set; before, those of the processor's row."""
    global _in_use
    if _in_use is None:
        _in_use = choose_kernels(this_cpu())
    return _in_use


def on_cpu(x: Tensor) -> bool:
    """Whether x is computed on by the processor: there nothing waits for a device, and memory is the bottleneck."""
    return x.device.type == "cpu"


def own_kernels(x: Tensor) -> Kernels:
    """What is used on x. Ours are made for a CPU (CUDA has fused ones), and torch.compile cannot look into them."""
    if torch.compiler.is_compiling() or not on_cpu(x):
        return TORCHS_OWN
    return kernels_in_use()


def tune_cpu() -> None:
    """Let this process allocate and multiply as fast as its processor allows, and say how."""
    keep_freed_memory()
    limit_threads()
    cpu = this_cpu()
    use_kernels(choose_kernels(cpu))
    logger.info("%s", describe_choice(cpu))


def describe_choice(cpu: Cpu) -> str:
    """What is used on this processor and why.

    >>> describe_choice(Cpu("AuthenticAMD", "AVX2"))
    'AuthenticAMD, AVX2: our attention with dropout, our rotation, our RMSNorm, our dropout; from the table'
    >>> describe_choice(Cpu("GenuineIntel", "AVX512"))
    "GenuineIntel, AVX512: not in the table of kernels: torch's own"
    """
    name = f"{cpu.vendor or 'a processor that names no maker'}, {cpu.capability}"
    if (cpu.vendor, cpu.capability) not in TABLE:
        return f"{name}: not in the table of kernels: torch's own"
    return f"{name}: {name_kernels(choose_kernels(cpu))}; from the table"


def name_kernels(kernels: Kernels) -> str:
    """Those that are not torch's own, for people."""
    return ", ".join(NAMES[f.name] for f in fields(kernels) if getattr(kernels, f.name)) or "torch's own"
