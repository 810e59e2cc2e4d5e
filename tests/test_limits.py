import logging
import os

import pytest
import torch

from llm.limits import limit_threads, usable_processors
from llm.models.kernel_choice import tune_cpu


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
