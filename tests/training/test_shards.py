import pytest
import torch
import torch.distributed as dist

from llm.training.shards import load_shards, save_shards

TENSORS = {
    "matrix": torch.arange(12.0).view(4, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "step": torch.tensor(7.0),
    "rng": torch.arange(5, dtype=torch.uint8),
}


def same(one, other):
    """Whether two sets of tensors are equal, names and types included."""
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


@pytest.fixture
def process_group_of_one():
    """A process group without a second process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group_of_one")
def test_tensors_come_back_as_they_were_saved(tmp_path):
    """What two processes save and one or four read is in test_distributed.py."""
    save_shards(tmp_path, TENSORS)
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".safetensors"
    assert same(load_shards(tmp_path), TENSORS)
