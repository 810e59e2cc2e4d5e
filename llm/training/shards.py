"""Tensors of several processes on disk, each writing what it holds; any number of processes can read them again."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def save_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file for each process into the folder, with what it holds of the tensors.

    Every process has to call it at the same time; a tensor that all hold whole is written once.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    logging.getLogger("torch.distributed.checkpoint").setLevel(logging.WARNING)
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    save({name: tensor.detach() for name, tensor in tensors.items()}, storage_writer=writer)


def load_shards(folder: Path) -> dict[str, Tensor]:
    """The whole tensors, put together from the files of `save_shards`, however many processes wrote them."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    found: dict[str, Any] = reader.read_metadata().state_dict_metadata
    tensors = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in found.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        load(tensors, storage_reader=reader, no_dist=True)
    return tensors
