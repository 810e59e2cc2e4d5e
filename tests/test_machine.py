import os
import resource
import subprocess
import sys

import pytest
import torch

from llm.machine import fast_products, keep_freed_memory, pick_device, plain_products


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


def test_fast_products_are_as_exact_as_before():
    """192 terms of size 1: fp32 errs by about 1e-5, bf16 would by 1e-2."""
    draw = torch.Generator().manual_seed(1)
    a, b = torch.randn(256, 192, generator=draw), torch.randn(192, 320, generator=draw)
    before = torch.backends.mkldnn.matmul.fp32_precision
    try:
        if not fast_products():
            pytest.skip("not an AMD processor with AVX-512: MKL keeps the products")
        assert (a @ b - a.double() @ b.double()).abs().max() < 1e-4
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the maker stands in /proc/cpuinfo")
def test_the_double_of_another_maker_reaches_processes_of_their_own(repository):
    """CI runs the DAG with it."""
    code = "from llm.machine import _vendor, onednn_is_faster; print(_vendor(), onednn_is_faster())"
    double = {"PYTHONPATH": str(repository / "tests/machines/other_vendor")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, env=os.environ | double, capture_output=True, text=True
    )
    *maker, faster = done.stdout.split()  # none on a processor that names no maker
    assert maker != ["AuthenticAMD"] and faster == "False", done.stderr


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
