import subprocess
import sys

import psutil
import pytest
import torch

from llm.failures import is_out_of_memory
from llm.machine import TOP_PAD_BYTES
from llm.training.free_memory import NO_LIMIT, fitting_rows, free_memory, largest_divisor, peak_growth

MB = 1_000_000
STATUS = "Name:\tpython\nVmSize:\t  400000 kB\nVmData:\t  300000 kB\nVmRSS:\t  200000 kB\n"


@pytest.fixture
def machine(tmp_path):
    """A root folder with 1 GiB of free memory and no cgroup."""

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")

    write("proc/meminfo", "MemTotal:  4194304 kB\nMemFree:  1000 kB\nMemAvailable:  1048576 kB\n")
    write("proc/self/status", STATUS)
    write("proc/self/cgroup", "")
    return tmp_path, write


def test_a_machine_without_limits_has_its_free_memory(machine):
    assert free_memory(machine[0]) == 2**30


def test_where_proc_does_not_tell_nothing_is_known(tmp_path):
    assert free_memory(tmp_path) is None


def test_a_cgroup_of_version_2_limits_and_so_does_the_one_above_it(machine):
    root, write = machine
    write("proc/self/cgroup", "0::/user/job\n")
    write("sys/fs/cgroup/user/memory.max", str(600 * MB))
    write("sys/fs/cgroup/user/memory.current", str(500 * MB))
    write("sys/fs/cgroup/user/memory.stat", f"anon 1\ninactive_file {100 * MB}\n")
    write("sys/fs/cgroup/user/job/memory.max", "max")
    write("sys/fs/cgroup/user/job/memory.current", str(400 * MB))
    assert free_memory(root) == 200 * MB  # 600 - 500 used + 100 of them cached files


def test_a_cgroup_of_version_1_limits(machine):
    root, write = machine
    write("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n")  # not there in a container: its top is
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", str(300 * MB))
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", str(250 * MB))
    write("sys/fs/cgroup/memory/memory.stat", f"cache 9\ntotal_inactive_file {20 * MB}\n")
    assert free_memory(root) == 70 * MB


def test_the_number_that_version_1_writes_for_no_limit_is_none(machine):
    root, write = machine
    write("proc/self/cgroup", "4:memory:/\n")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", "5")
    assert NO_LIMIT < 9223372036854771712
    assert free_memory(root) == 2**30


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_AS"), reason="needs Linux")
@pytest.mark.parametrize(("limit", "used_kb"), [("RLIMIT_AS", 400_000), ("RLIMIT_DATA", 300_000)])
def test_the_limits_of_the_process_count(machine, monkeypatch, limit, used_kb):
    no, limited = psutil.RLIM_INFINITY, getattr(psutil, limit)
    monkeypatch.setattr(psutil.Process, "rlimit", lambda _, which: (500_000 * 1024 if which == limited else no, no))
    assert free_memory(machine[0]) == (500_000 - used_kb) * 1024 - TOP_PAD_BYTES


@pytest.mark.skipif(free_memory() is None, reason="needs Linux's /proc")
def test_the_peak_of_a_piece_of_work_is_seen_again_and_again():
    def work():
        return torch.ones(100 * MB // 4).sum()

    for _ in range(3):  # what the first leaves in the process's store must not hide the second
        assert peak_growth(work) == pytest.approx(100 * MB, rel=0.1)


@pytest.mark.parametrize(("most", "expected"), [(12, 12), (11, 6), (5, 4), (1, 1), (0, 1), (-3, 1), (99, 12)])
def test_the_largest_divisor_of_12(most, expected):
    assert largest_divisor(12, most) == expected


def test_rows_beside_what_is_fixed_fill_at_most_four_fifths():
    assert fitting_rows(32, row=10 * MB, fixed=40 * MB, free=300 * MB) == 16  # (240 - 40) / 10 = 20
    assert fitting_rows(32, row=0, fixed=0, free=1) == 1
    assert fitting_rows(32, row=0, fixed=0, free=40) == 32


def test_torch_tells_that_memory_ran_out():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"))
    for library in ("CUBLAS", "CUDNN", "CUSOLVER", "CUSPARSE"):
        assert is_out_of_memory(RuntimeError(f"CUDA error: {library}_STATUS_ALLOC_FAILED when calling it"))
    assert not is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx`"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_training_is_imported_where_python_has_no_resource_module():
    code = """if True:
        import sys, types
        sys.modules["resource"], sys.modules["psutil"] = None, types.ModuleType("psutil")  # Windows' has no limits
        import llm.training.launch, llm.training.loop
        from llm.training.free_memory import free_memory
        from pathlib import Path
        assert free_memory(Path("/no/such/root")) is None
    """
    subprocess.run([sys.executable, "-c", code], check=True)
