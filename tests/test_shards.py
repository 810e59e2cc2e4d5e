import torch

from llm.shards import load_shards, save_shards
from tests.processes import run_processes

TENSORS = {
    "matrix": torch.arange(12.0).view(4, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "step": torch.tensor(7.0),
    "rng": torch.arange(5, dtype=torch.uint8),
}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def save_parts(folder):
    """Nothing; two processes have each saved half of every tensor that has two rows."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    parts = {name: distribute_tensor(t, mesh, [Shard(0)]) if t.dim() else t for name, t in TENSORS.items()}
    save_shards(folder, parts)


def test_parts_saved_by_two_processes_are_put_together_by_one(tmp_path):
    run_processes(2, "tests.test_shards", "save_parts", tmp_path / "two")
    files = [path.name for path in (tmp_path / "two").iterdir()]
    assert len(files) == 2 and all(name.endswith(".safetensors") for name in files)
    assert same(load_shards(tmp_path / "two"), TENSORS)
