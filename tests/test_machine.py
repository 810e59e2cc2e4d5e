import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llm.machine import has_amx, keep_freed_memory, pick_device, plain_products, this_cpu


def test_auto_takes_the_cpu_where_there_is_nothing_else():
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has an accelerator")
    assert pick_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "tpu"])
def test_a_device_that_is_not_there_is_refused_with_advice(name):
    if name == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match=f"device {name} is not available here: set `device: auto`"):
        pick_device(name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator setting is glibc's")
def test_freed_memory_is_not_faulted_in_again():
    """64 MB are 16,384 pages of 4 KB each time; kept, they fault while the heap finds its size, then no more."""
    code = (
        "import resource, sys, torch\n"
        "from llm.machine import keep_freed_memory\n"
        "if sys.argv[1] == 'kept': assert keep_freed_memory()\n"
        "for _ in range(30): torch.ones(16 * 1024 * 1024)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): torch.ones(16 * 1024 * 1024)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", code, mode], capture_output=True, check=True).stdout)
        for mode in ("kept", "stock")
    }
    pages = 64 * 1024 * 1024 // resource.getpagesize()
    assert faults["stock"] >= 10 * pages
    assert faults["kept"] <= 2 * pages


def test_the_setting_says_whether_it_took(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_amx_is_seen_by_the_processors_flags(monkeypatch):
    for flags, there in (("fpu avx512f amx_bf16 amx_tile", True), ("fpu avx512_bf16", False)):
        monkeypatch.setattr(Path, "read_text", lambda *_, flags=flags, **__: f"processor\t: 0\nflags\t\t: {flags}\n")
        assert has_amx() is there


def test_where_the_system_tells_nothing_the_processor_has_no_maker(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(Path, "read_text", missing)
    assert this_cpu().vendor == "" and not has_amx()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the maker stands in /proc/cpuinfo")
def test_the_double_of_another_maker_reaches_processes_of_their_own(repository):
    """CI runs the DAG with it."""
    code = "from llm.machine import this_cpu; print(this_cpu().vendor)"
    double = {"PYTHONPATH": str(repository / "tests/machines/other_vendor")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, env=os.environ | double, capture_output=True, text=True
    )
    assert done.stdout.strip() == this_cpu().vendor.replace("AuthenticAMD", "GenuineIntel"), done.stderr


def test_plain_products_give_the_setting_back_also_after_an_error():
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        with pytest.raises(ValueError), plain_products():
            assert torch.backends.mkldnn.matmul.fp32_precision == "none"
            raise ValueError
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
