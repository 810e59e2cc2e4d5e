"""Outputs of models kept beside the run: what was asked before an early end, or a change elsewhere, stays asked.

A file `<model>-<key>.json` a model. The key hashes everything that the outputs follow from, so a file is never out of
date: one of another key is not looked at. Floats stand in it to their last digit.
"""

import hashlib
import json
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from llm.evaluation.ask import Generations, Likelihoods, Outputs, items_for
from llm.evaluation.exposure import Planted
from llm.evaluation.items import EvalItems, EvaluateConfig
from llm.evaluation.scoring import EvalModel, Score
from llm.files import code_hash, file_sha256, hold_lock, lasting_folder, write_bytes
from llm.machine import cpu_line
from llm.models.kernel_choice import kernels_in_use

# The code that computes outputs: all that asking and loading import, but for files, ranges and resampling.
ASKING = (
    *("llm.corpus.dedup", "llm.corpus.normalise", "llm.corpus.questions", "llm.corpus.split", "llm.dialogue"),
    *("llm.evaluation.ask", "llm.evaluation.baselines", "llm.evaluation.choice", "llm.evaluation.eval_models"),
    *("llm.evaluation.exposure", "llm.evaluation.hub_model", "llm.evaluation.items", "llm.evaluation.ngram"),
    *("llm.evaluation.samples", "llm.evaluation.scoring", "llm.evaluation.scratch_model"),
    *("llm.evaluation.uncertainty", "llm.hub.chat", "llm.hub.info", "llm.hub.pretrained", "llm.hub.smollm2"),
    *("llm.inference.decoding", "llm.inference.generate", "llm.inference.hub_cache"),
    *("llm.inference.likelihood", "llm.inference.replies"),
    "llm.machine",
    *("llm.models.attention", "llm.models.gpt", "llm.models.kernel_choice", "llm.models.kernels", "llm.models.layers"),
    *("llm.models.llama", "llm.models.loss", "llm.models.registry", "llm.models.shape"),
    *(
        "llm.tokens.canaries",
        "llm.tokens.packing",
        "llm.tokens.token_files",
        "llm.tokens.tokenizer",
        "llm.tokens.words",
    ),
)
LIBRARIES = ("datasets", "ftfy", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")
VARIABLES = ("ATEN_CPU_CAPABILITY", "MKL_", "ONEDNN_", "DNNL_")  # what chooses among the libraries' kernels
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # of JSON that is cut short, or another's
KEPT = 4  # files of a model: two settings, each before and after a change

logger = logging.getLogger(__name__)


def outputs_root() -> Path:
    """Folder of all kept outputs: `.evaluate_state`, or what TANDEM_EVALUATED names."""
    return lasting_folder(".evaluate_state", "TANDEM_EVALUATED")


def describe_machine(device: torch.device) -> dict[str, object]:
    """What the last bits of a model's outputs depend on besides code and data."""
    processor = cpu_line("model name") or platform.processor()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": (platform.machine(), processor, torch.backends.cpu.get_cpu_capability()),
        "threads": torch.get_num_threads(),
        "kernels": asdict(kernels_in_use()),
        "variables": {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)},
    }


def hash_input(path: Path) -> dict[str, str]:
    """Hexadecimal SHA-256 of a file, or of each file of a folder, by its path."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.as_posix(): file_sha256(file) for file in files if file.is_file()}


def output_key(model: EvalModel, common: str, hashes: Sequence[dict[str, str]]) -> str:
    """Name of the outputs that this model, with the files it is made from, gives when it is asked so."""
    described = json.dumps([common, model.name, model.tasks, model.seed, hashes], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def describe_asking(items: EvalItems, planted: Planted, config: EvaluateConfig, seed: int, device: torch.device) -> str:
    """Hash of what the outputs of all models follow from: the items, how they are asked, the code and the machine."""
    parts = {
        "items": asdict(items),
        "planted": asdict(planted),
        "decoding": asdict(config.greedy(seed)),
        "sampling": asdict(config.sampling),
        "sampled": config.sampled,
        "batch_tokens": config.batch_tokens,
        "seed": seed,
        "code": code_hash(ASKING),
        "versions": {name: version(name) for name in LIBRARIES},
        "machine": describe_machine(device),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _packed(scores: list[Score] | None) -> list[list[Any]] | None:
    return None if scores is None else [list(astuple(score)) for score in scores]


def _unpacked(rows: list[list[Any]] | None) -> list[Score] | None:
    return None if rows is None else [Score(*row) for row in rows]


def outputs_text(outputs: Outputs) -> str:
    """The outputs without their items, as JSON; a likelihood may be infinite."""
    likelihoods = outputs.likelihoods
    return json.dumps(
        {
            "replies": likelihoods and _packed(likelihoods.replies),
            "answers": likelihoods and {section: _packed(scores) for section, scores in likelihoods.answers.items()},
            "generations": outputs.generations and asdict(outputs.generations),
            "canaries": _packed(outputs.canaries),
            "own_answers": _packed(outputs.own_answers),
            "english": _packed(outputs.english),
        }
    )


def read_outputs(text: str, items: EvalItems) -> Outputs:
    """The outputs of a model that was asked these items, from `outputs_text` of them."""
    found = json.loads(text)
    replies, generations = _unpacked(found["replies"]), found["generations"]
    answers = {section: _unpacked(rows) or [] for section, rows in (found["answers"] or {}).items()}
    return Outputs(
        items,
        None if replies is None else Likelihoods(replies, answers),
        None if generations is None else Generations(**generations),
        _unpacked(found["canaries"]),
        _unpacked(found["own_answers"]),
        _unpacked(found["english"]),
    )


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class KeptOutputs:
    """The folder of kept outputs, as this run of the evaluation uses it."""

    folder: Path
    common: str  # of describe_asking
    hashes: dict[Path, dict[str, str]] = field(default_factory=dict)  # of each file and folder, read once a run

    def load(self, model: EvalModel, items: EvalItems) -> Outputs | None:
        """The model's outputs if it was asked the same before; a damaged file is named and passed over."""
        path = self._path(model)
        if not path.is_file():
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["sha256"] != _checksum(kept["outputs"]):
                raise ValueError("its checksum is wrong")
            outputs = read_outputs(kept["outputs"], items_for(model, items))
        except (OSError, *DAMAGE) as error:
            logger.warning("kept outputs %s are damaged (%s): asking %s again", path, error, model.name)
            return None
        os.utime(path)  # the least recently used ones go first
        return outputs

    def save(self, model: EvalModel, outputs: Outputs) -> None:
        """Keep the model's outputs, and of its files the KEPT that were used last. Raises OSError like write_whole."""
        text, path = outputs_text(outputs), self._path(model)
        self.folder.mkdir(parents=True, exist_ok=True)
        # An experiment that runs in a copy of the repository keeps its outputs here too.
        with hold_lock(self.folder / "lock", wait=True):
            for leftover in self.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
                leftover.unlink()
            write_bytes(path, json.dumps({"sha256": _checksum(text), "outputs": text}).encode())
            files = sorted(self.folder.glob(f"{model.name}-*.json"), key=lambda file: file.stat().st_mtime_ns)
            for old in files[:-KEPT]:
                old.unlink()

    def _path(self, model: EvalModel) -> Path:
        for path in model.made_from:
            if path not in self.hashes:
                self.hashes[path] = hash_input(path)
        hashes = [self.hashes[path] for path in model.made_from]
        return self.folder / f"{model.name}-{output_key(model, self.common, hashes)}.json"
