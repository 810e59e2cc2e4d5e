import logging
from dataclasses import fields, replace

import pytest
import torch

import llm.models.kernel_choice
from llm.machine import Cpu
from llm.models.kernel_choice import (
    NAMES,
    TABLE,
    TORCHS_OWN,
    Kernels,
    choose_kernels,
    describe_choice,
    kernels_in_use,
    own_kernels,
    tune_cpu,
    use_kernels,
)
from tests.machines.doubles import Machine, pretended, using

PRECISION = torch.backends.mkldnn.matmul


def test_the_choice_follows_the_table_and_nothing_else(machine):
    expected = TABLE.get((machine.vendor, machine.capability), TORCHS_OWN)
    assert choose_kernels(Cpu(machine.vendor, machine.capability)) == kernels_in_use() == expected


def test_the_first_use_looks_the_processor_up(monkeypatch):
    with pretended(Machine("AuthenticAMD", "AVX2")):
        monkeypatch.setattr(llm.models.kernel_choice, "_in_use", None)
        assert kernels_in_use() == TABLE["AuthenticAMD", "AVX2"]


def test_a_processor_that_is_not_in_the_table_uses_torchs_own():
    assert choose_kernels(Cpu("GenuineIntel", "AVX512")) == Kernels(*8 * [False])


def test_products_by_oneDNN_come_with_our_linear_layers():  # oneDNN's layer has no gradient but by ours
    assert all(row.linear for row in TABLE.values() if row.products)


def test_another_device_uses_torchs_own():
    with using(Kernels(*8 * [True])):
        assert own_kernels(torch.ones(1, device="meta")) == TORCHS_OWN
        assert own_kernels(torch.ones(1)) == Kernels(*8 * [True])


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("amx", [True, False])
def test_oneDNN_may_round_to_bf16_only_where_it_does_not(monkeypatch, products, amx):
    monkeypatch.setattr(llm.models.kernel_choice, "has_amx", lambda: amx)
    with using(TORCHS_OWN):
        use_kernels(replace(TORCHS_OWN, products=products))
        assert PRECISION.fp32_precision == ("bf16" if products and not amx else "none")


def test_products_by_oneDNN_are_as_exact_as_before():
    """192 terms of size 1: fp32 errs by about 1e-5, bf16 would by 1e-2."""
    draw = torch.Generator().manual_seed(1)
    a, b = torch.randn(256, 192, generator=draw), torch.randn(192, 320, generator=draw)
    with using(Kernels(products=True)):
        assert (a @ b - a.double() @ b.double()).abs().max() < 1e-4


def test_every_kernel_has_a_name_for_people():
    assert list(NAMES) == [field.name for field in fields(Kernels)]


@pytest.mark.parametrize(
    ("vendor", "capability", "told"),
    [
        ("AuthenticAMD", "AVX512", "AuthenticAMD, AVX512: oneDNN's products, our linear layers, our attention, "),
        ("GenuineIntel", "AVX512", "GenuineIntel, AVX512: not in the table of kernels: torch's own"),
        ("", "DEFAULT", "a processor that names no maker, DEFAULT: not in the table of kernels: torch's own"),
    ],
)
def test_a_line_of_the_log_says_what_was_chosen_and_why(caplog, vendor, capability, told):
    with pretended(Machine(vendor, capability)), caplog.at_level(logging.INFO):
        tune_cpu()
    assert caplog.messages == [describe_choice(Cpu(vendor, capability))]
    assert caplog.messages[0].startswith(told)
    assert caplog.messages[0].endswith("from the table") == ((vendor, capability) in TABLE)
