import json
import multiprocessing
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llm.files import write_json
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.training import micro_batch
from llm.training.checkpoint import State
from llm.training.free_memory import free_memory
from llm.training.loop import fit
from llm.training.micro_batch import MicroBatch
from tests.tiny_runs import CPU, counting_rows, train
from tests.training.test_schedule import CONFIG

MB = 1_000_000
WIDE = ModelConfig("gpt2", n_layer=4, n_head=4, n_embd=128, context_length=256, dropout=0.0, attn_dropout=0.0)
LIMITED = replace(CONFIG, batch_size=16, micro_batch=None, max_steps=3, eval_every=3, val_rows=16)
linux = pytest.mark.skipif(free_memory() is None, reason="needs Linux's /proc and its limits")


def out_of_memory():
    """Ask for more memory than there is."""
    torch.empty(2**60, dtype=torch.uint8)


def test_work_that_does_not_fit_is_done_again_with_half_the_rows():
    weight, tried = torch.nn.Parameter(torch.ones(2)), []
    rows = MicroBatch(None, 12, [weight], CPU)
    torch.manual_seed(3)

    def work(size):
        tried.append((size, torch.rand(1).item(), weight.grad))
        weight.grad = torch.ones(2)  # half a step's gradient is there when memory runs out
        if size > 3:
            out_of_memory()
        return size

    assert rows.within_memory(work) == 3
    assert [size for size, _, _ in tried] == [12, 6, 3]
    assert len({number for _, number, _ in tried}) == 1  # the random state was restored
    assert all(gradient is None for _, _, gradient in tried)


def test_a_configured_number_that_does_not_fit_is_an_error_with_advice():
    with pytest.raises(OSError, match="micro_batch 12: set it to 6, or to null"):
        MicroBatch(12, 12, [], CPU).within_memory(lambda _: out_of_memory())


def test_a_single_row_that_does_not_fit_is_an_error_with_advice():
    with pytest.raises(OSError, match="one row at a time: lower context_length"):
        MicroBatch(None, 4, [], CPU).within_memory(lambda _: out_of_memory())


def test_another_error_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        MicroBatch(None, 4, [], CPU).within_memory(lambda _: torch.ones(2, 3) @ torch.ones(2, 3))


@linux
@pytest.mark.parametrize(("free", "expected"), [(10_000 * MB, 12), (600 * MB, 4), (10 * MB, 1)])
def test_the_rows_are_predicted_from_one_row_and_the_free_memory(monkeypatch, free, expected):
    monkeypatch.setattr(micro_batch, "free_memory", lambda: free)
    rows = MicroBatch(None, 12, [], CPU)
    rows.find(lambda: torch.ones(100 * MB // 4).sum())  # a row takes 100 MB: .8 * 600 MB hold four
    assert rows.rows == expected


def test_the_number_found_leads_to_the_run_configured_with_it(tmp_path):
    packed = counting_rows()
    found, run = train(packed, tmp_path / "found", replace(CONFIG, micro_batch=None))
    assert run.micro_batch == CONFIG.batch_size
    configured, _ = train(packed, tmp_path / "fixed", replace(CONFIG, micro_batch=CONFIG.batch_size))
    assert all(torch.equal(found[name], configured[name]) for name in found)


def limited_run(folder: Path, left: int | None, at_step: int) -> None:
    """Train in a process that may take `left` bytes more, from the start or from a step on; write what was reached."""
    torch.set_num_threads(1)
    ids = np.random.default_rng(1).integers(0, 512, 40_000).astype(np.uint16)
    offsets = np.arange(0, len(ids) + 1, 100)
    packed = pack_corpus(TokenCorpus(ids, offsets, offsets[:-1], None), 256, seed=1)
    model = build_model(WIDE, 512, torch.Generator().manual_seed(1))
    hidden, passes = model.hidden, []

    def limit():
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        used = int(status["VmData"].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + left, resource.RLIM_INFINITY))

    def counted(*args, **kwargs):
        passes.append(len(args[0]))
        if left is not None and at_step and passes.count(16) == at_step:
            limit()
        return hidden(*args, **kwargs)

    model.hidden = counted
    if left is not None and not at_step:
        limit()
    run = fit(model, packed, packed, LIMITED, 1, CPU, State(folder))
    write_json(folder / "told.json", {"rows": run.micro_batch, "loss": run.best_loss, "step": run.step})


def told(folder, left, at_step=0):
    """What a run in a process of its own reached under a limit."""
    folder.mkdir()
    process = multiprocessing.get_context("spawn").Process(target=limited_run, args=(folder, left, at_step))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    return json.loads((folder / "told.json").read_text())


@linux
def test_a_run_under_a_memory_limit_ends_with_a_smaller_micro_batch(tmp_path):
    free = told(tmp_path / "free", None)
    assert free["rows"] == 16
    limited = told(tmp_path / "limited", 430 * MB)
    assert 1 <= limited["rows"] < 16 and limited["step"] == 3
    assert limited["loss"] == pytest.approx(free["loss"], abs=1e-6)
    squeezed = told(tmp_path / "squeezed", 180 * MB, at_step=1)  # after the prediction: the allocator fails
    assert 1 <= squeezed["rows"] < 16 and squeezed["step"] == 3
    assert squeezed["loss"] == pytest.approx(free["loss"], abs=1e-6)
