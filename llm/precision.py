"""In which type of numbers a device computes."""

import torch

HALF_FROM = 7  # CUDA's compute capability, Volta: the first whose tensor cores multiply fp16


def number_type(device_type: str, bf16: bool, capability: int) -> torch.dtype:
    """Type of the products: bf16 where CUDA has it, else fp16 (T4, V100), fp32 on older GPUs and everywhere else.

    `bf16` is whether the GPU itself computes in it, not by emulation. On a CPU bf16 is slower than fp32 (LOG.md).
    """
    if device_type != "cuda":
        return torch.float32
    if bf16:
        return torch.bfloat16
    return torch.float16 if capability >= HALF_FROM else torch.float32


def products_type(device: torch.device) -> torch.dtype:
    """`number_type` of this device."""
    if device.type != "cuda":
        return number_type(device.type, False, 0)
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return number_type(device.type, bf16, torch.cuda.get_device_capability()[0])


def name_of(dtype: torch.dtype) -> str:
    """Short name of a type.  name_of(torch.bfloat16) == 'bf16'"""
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")


def allow_tf32(device: torch.device) -> bool:
    """Let CUDA multiply what stays fp32 by its tensor cores, with 10 bits of the mantissa; whether it now does.

    torch.backends.cuda.matmul.fp32_precision would set the same, but torch.compile may then ask for it by the older
    name, and torch raises where the two were mixed.
    """
    if device.type != "cuda":
        return False
    torch.set_float32_matmul_precision("high")
    return True
