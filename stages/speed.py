"""How fast this machine trains: measured in a second or two, never assumed."""

import time
from dataclasses import dataclass

LIMIT_S = 1.0  # after which no further step is begun
BATCH_SIZE, VOCAB_SIZE = 8, 4096  # with SHAPE half a training step of the preset `laptop`
SHAPE = {"n_layer": 4, "n_head": 6, "n_embd": 192, "context_length": 128, "dropout": 0.0, "attn_dropout": 0.0}


@dataclass(frozen=True)
class Speed:
    """What the processor does in training, with what else runs beside it."""

    threads: int
    gflops: float  # 10^9 floating-point operations a second, forward and backward, in fp32

    def __str__(self) -> str:
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}, {self.gflops:.0f} GFLOP/s"


def step_flop(n_parameters: float, tokens: float) -> float:
    """Floating-point operations of a step: a multiplication and an addition a weight, forward and twice back."""
    return 6 * n_parameters * tokens


def measure_speed(limit_s: float = LIMIT_S) -> Speed:
    """The speed of the middle one of some small training steps, by the threads and kernels that the stages use."""
    import torch

    from llm.models.kernel_choice import tune_cpu
    from llm.models.llama import Llama
    from llm.models.loss import summed_loss
    from llm.models.registry import n_parameters
    from llm.models.shape import ModelConfig

    tune_cpu()
    generator = torch.Generator().manual_seed(1)
    shape = ModelConfig("llama", **SHAPE)  # type: ignore[arg-type]
    model = Llama(shape, VOCAB_SIZE, generator)
    ids = torch.randint(VOCAB_SIZE, (BATCH_SIZE, shape.context_length + 1), generator=generator)
    started, times = time.perf_counter(), list[float]()
    while len(times) < 2 or time.perf_counter() - started < limit_s:
        before = time.perf_counter()
        summed_loss(model.hidden(ids[:, :-1]), model.head, ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - before)
        if times[0] > limit_s:  # so busy or slow that a second one would take too long
            break
    warm = sorted(times[1:] or times)  # the first one makes room in memory
    flop = step_flop(n_parameters(model), BATCH_SIZE * shape.context_length)
    return Speed(torch.get_num_threads(), flop / warm[len(warm) // 2] / 1e9)
