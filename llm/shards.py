"""Tensors of several processes on disk, each writing what it holds; any number of processes can read them again."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def save_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Nothing; the folder has a safetensors file from each process, with what it holds of the tensors.

    Every process has to call it at the same time; a tensor that all hold whole is written once.
    """
    from torch.distributed import checkpoint

    logging.getLogger("torch.distributed.checkpoint").setLevel(logging.WARNING)
    checkpoint.save(
        {name: tensor.detach() for name, tensor in tensors.items()},
        storage_writer=checkpoint.HuggingFaceStorageWriter(str(folder), save_distributed=True),
    )


def load_shards(folder: Path) -> dict[str, Tensor]:
    """The whole tensors, put together from the files of `save_shards`, however many processes wrote them."""
    from torch.distributed import checkpoint

    reader = checkpoint.HuggingFaceStorageReader(str(folder))
    found = reader.read_metadata().state_dict_metadata
    tensors = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in found.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        checkpoint.load(tensors, storage_reader=reader, no_dist=True)
    return tensors
