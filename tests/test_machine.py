import ctypes
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llm.machine import (
    KEPT_PRODUCTS,
    PRODUCT_CACHES,
    has_amx,
    keep_freed_memory,
    limit_threads,
    permit_onednn,
    pick_device,
    plain_products,
    this_cpu,
    usable_processors,
)
from llm.models.kernel_choice import tune_cpu


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


GROWTH = """
import ctypes, sys, torch
from llm.models.kernel_choice import tune_cpu
from llm.models.loss import summed_loss

class Mallinfo(ctypes.Structure):
    _fields_ = [(str(i), ctypes.c_size_t) for i in range(10)]

tune_cpu()
libc = ctypes.CDLL("libc.so.6")
libc.mallinfo2.restype = Mallinfo
head = torch.ones(4096, 16, requires_grad=True)

def batch(n):
    if sys.argv[1] == "products":
        return torch.ones(n, 16) @ head.detach().T
    return summed_loss(torch.ones(1, n, 16), head, torch.zeros(1, n, dtype=torch.long)).backward()

used = []
for lengths in (range(2, 1000, 10), range(3, 1000, 3)):
    for n in lengths:
        batch(n)
    used.append(getattr(libc.mallinfo2(), "7"))  # uordblks, bytes in use
print(used[1] - used[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is asked")
@pytest.mark.parametrize("work", ["products", "losses"])
def test_what_is_kept_of_products_does_not_grow_with_the_lengths_that_were_met(work):
    """300 further ones would be 75 MB in torch's cache, as much in oneDNN's."""
    if not hasattr(ctypes.CDLL("libc.so.6"), "mallinfo2"):
        pytest.skip("this C library does not tell what is in use: glibc does from 2.33 on")
    done = subprocess.run([sys.executable, "-c", GROWTH, work], capture_output=True, check=True)
    assert int(done.stdout) < 1_000_000


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


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A root folder of a machine with 64 processors and no limit, and what writes a file into it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")

    write("proc/self/cgroup", "0::/user/job\n")
    return tmp_path, write


@pytest.fixture
def threads(monkeypatch):
    """The numbers of threads that torch is set to; it begins with 64."""
    found = [64]
    monkeypatch.setattr(torch, "get_num_threads", lambda: found[-1])
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return found


@pytest.mark.parametrize(
    ("own", "above", "expected"),
    [
        ("100000 100000\n", "max 100000\n", 1),  # docker run --cpus 1
        ("max 100000\n", "400000 100000\n", 4),  # a limit of the cgroup above
        ("800000 100000\n", "400000 100000\n", 4),
        ("250000 100000\n", "max 100000\n", 2),  # 2.5: the third thread would be stopped half of the time
        ("50000 100000\n", "max 100000\n", 1),
        ("max 100000\n", "max 100000\n", 64),
        ("", "max\n", 64),  # neither says anything that can be read
    ],
)
def test_a_cgroup_of_version_2_limits_the_processors(machine, own, above, expected):
    root, write = machine
    write("sys/fs/cgroup/user/job/cpu.max", own)
    write("sys/fs/cgroup/user/cpu.max", above)
    assert usable_processors(root) == expected


@pytest.mark.parametrize(("quota", "expected"), [("200000\n", 2), ("-1\n", 64)])
def test_a_cgroup_of_version_1_limits_the_processors(machine, quota, expected):
    root, write = machine
    write("proc/self/cgroup", "5:cpuset:/\n4:cpu,cpuacct:/docker/abc\n0::/\n")  # not there in a container: its top is
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota)
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert usable_processors(root) == expected


def test_processors_that_a_process_may_not_run_on_do_not_count(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7})
    assert usable_processors(machine[0]) == 3


def test_where_nothing_is_told_the_machines_processors_count(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_processors(tmp_path) == os.cpu_count()


def test_torch_computes_in_as_many_threads_as_it_may_use(machine, threads, caplog):
    root, write = machine
    write("sys/fs/cgroup/user/job/cpu.max", "100000 100000\n")
    with caplog.at_level(logging.INFO):
        limit_threads(root)
    assert threads == [64, 1] and "1 threads instead of 64" in caplog.text


@pytest.mark.parametrize(("allowed", "variable"), [("100000", "64"), ("9900000", None)])
def test_a_users_own_number_and_a_machine_without_limits_stay(machine, threads, monkeypatch, allowed, variable):
    root, write = machine
    write("sys/fs/cgroup/user/job/cpu.max", f"{allowed} 100000\n")
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    limit_threads(root)
    assert threads == [64]


def test_training_and_evaluation_begin_by_it(threads, monkeypatch):
    """Both call tune_cpu first."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    tune_cpu()
    assert threads[-1] == 1


@pytest.mark.parametrize("cache", PRODUCT_CACHES)
def test_both_caches_are_told_to_remember_few_products_unless_somebody_said_how_many(monkeypatch, cache):
    for said, expected in ((None, str(KEPT_PRODUCTS)), ("7", "7")):
        monkeypatch.setenv(cache, said) if said else monkeypatch.delenv(cache, raising=False)
        with plain_products():  # puts the setting back
            permit_onednn(False)
        assert os.environ[cache] == expected
