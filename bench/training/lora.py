"""Useful tokens a second of a LoRA fine-tune: our packed rows against transformers.Trainer with peft and padding."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bench.base import BASE, ROOT, open_base
from bench.ours import CPU, LAPTOP, NO_END, start_training
from bench.peers import run_trainer
from bench.rounds import Contender, Lap, alternate, check_equal
from bench.shapes import SEED
from bench.table import Section, summarise
from llm.dialogue import Dialogue, read_dialogues, read_table, write_dialogues
from llm.hub.chat import EncodedDialogue, encode_dialogue
from llm.hub.info import read_info
from llm.hub.pretrained import load_base, load_tokenizer
from llm.sources.curated import read_curated
from llm.tokens.packing import pack_corpus
from llm.training.lora import FinetuneConfig, PackedModel, add_lora, select
from llm.training.step import validation_loss
from stages.params import load

TRAIN = ROOT / "data" / "clean" / "train.arrow"
N_DIALOGUES = 400
TINY_ROW = 1024  # tokens; those of the tiny model are bytes
OURS, PEER = "ours", "transformers.Trainer + peft"
TUNED = PEER + " + allocator"


@dataclass(frozen=True)
class Job:
    """The model, the dialogues and the settings of the fine-tune that is timed."""

    base: Path
    dialogues: Path  # JSON lines
    config: FinetuneConfig
    peer_batch: int  # dialogues a step of the peer: as many as a step of ours holds


def read_some(n: int) -> tuple[list[Dialogue], str]:
    """About `n` training dialogues, the sources in equal parts, and what they are."""
    if TRAIN.is_file():
        found, origin = list(read_table(TRAIN)), "data/clean"
    else:
        parts = [read_curated(ROOT / f"data/curated/{name}.jsonl", name) for name in ("eli5", "technical")]
        found, origin = [dialogue for part in parts for dialogue in part.dialogues], "data/curated"
    sources = sorted({dialogue.source for dialogue in found})
    generator = np.random.default_rng(SEED)
    chosen = []
    for source in sources:
        members = [dialogue for dialogue in found if dialogue.source == source]
        picked = generator.permutation(len(members))[: n // len(sources)]
        chosen += [members[i] for i in picked]
    return chosen, origin


def cut_to_fit(dialogue: Dialogue, tokenizer: Any, limit: int) -> Dialogue | None:
    """The dialogue up to the last reply that ends within `limit` tokens; None when the first one does not."""
    ends = encode_dialogue(tokenizer, dialogue.turns).ends
    n = sum(end <= limit for end in ends)
    return replace(dialogue, turns=dialogue.turns[: 2 * n]) if n else None


def one_loss(model: PackedModel, dialogue: Dialogue, tokenizer: Any, length: int) -> float:
    """Mean loss of one dialogue's replies."""
    corpus = select([dialogue], tokenizer, None, SEED).corpus
    return validation_loss(model, pack_corpus(corpus, length, SEED), None, 1, CPU)


def ours(lap: Lap, job: Job) -> None:
    """Take steps of our loop on packed rows."""
    network, tokenizer = load_base(job.base)
    dialogues = list(read_dialogues(job.dialogues))
    torch.manual_seed(SEED)
    model = PackedModel(add_lora(network, job.config))
    packed = pack_corpus(select(dialogues, tokenizer, None, SEED).corpus, job.config.context_length, SEED)
    note = one_loss(model, dialogues[0], tokenizer, job.config.context_length)
    with TemporaryDirectory() as folder:
        trainer, steps = start_training(model, packed, job.config.train, Path(folder))
        lap(note=note)
        while True:
            before = trainer.progress.tokens
            next(steps)
            lap(trainer.progress.tokens - before)


def labelled(encoded: EncodedDialogue) -> dict[str, list[int]]:
    """A row for Trainer, only replies with labels."""
    labels = [i if learned else -100 for i, learned in zip(encoded.ids, encoded.supervised, strict=True)]
    return {"input_ids": encoded.ids, "labels": labels}


def count_learned(batch: dict[str, torch.Tensor]) -> int:
    """Tokens with a label; the first of a row is never predicted."""
    return int((batch["labels"][:, 1:] >= 0).sum())


def theirs(lap: Lap, job: Job) -> None:
    """Take steps of Trainer on batches padded to their longest."""
    from transformers import DataCollatorForSeq2Seq

    network, tokenizer = load_base(job.base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(SEED)
    model = add_lora(network, job.config)
    rows = [labelled(encode_dialogue(tokenizer, d.turns)) for d in read_dialogues(job.dialogues)]
    with torch.no_grad():
        loss = float(model(**{name: torch.tensor([ids]) for name, ids in rows[0].items()}).loss)
    run_trainer(lap, model, rows, job.peer_batch, DataCollatorForSeq2Seq(tokenizer), count_learned, loss)


def make_job(folder: Path, base: Path, config: FinetuneConfig, n_dialogues: int) -> tuple[Job, dict[str, Any]]:
    """The dialogues, cut so that both ways see all of them, and what the figures refer to."""
    tokenizer = load_tokenizer(base)
    chosen, origin = read_some(n_dialogues)
    cut = [cut_to_fit(dialogue, tokenizer, config.context_length) for dialogue in chosen]
    dialogues = [dialogue for dialogue in cut if dialogue is not None]
    write_dialogues(folder / "dialogues.jsonl", dialogues)
    selection = select(dialogues, tokenizer, None, SEED)
    rows = len(pack_corpus(selection.corpus, config.context_length, SEED))
    peer_batch = max(1, round(len(dialogues) / rows * config.train.batch_size))
    facts = {
        "base": read_info(base)["name"],
        "data": origin,
        "dialogues": len(dialogues),
        "tokens a dialogue": len(selection.corpus.ids) / len(dialogues),
        "dialogues a step": peer_batch,
    }
    return Job(base, folder / "dialogues.jsonl", config, peer_batch), facts


def compare(base: Path, config: FinetuneConfig, n_dialogues: int, rounds: int) -> Section:
    """Useful tokens a second of both."""
    with TemporaryDirectory() as folder:
        job, facts = make_job(Path(folder), base, config, n_dialogues)
        contenders = [
            Contender(OURS, ours, {"job": job}, keeps_memory=True, multiplies_fast=True),
            Contender(PEER, theirs, {"job": job}, keeps_memory=False),
            Contender(TUNED, theirs, {"job": job}, keeps_memory=True),
        ]
        run = alternate(contenders, rounds, lambda ready: check_equal(ready, 1e-4), "LoRA fine-tune")
    return summarise(run, "tokens/s", {f"{name} / ours": (name, OURS) for name in (PEER, TUNED)}, facts)


def laptop_config(context_length: int | None = None) -> FinetuneConfig:
    """The laptop's fine-tune without an end, in rows of another length when one is given."""
    config = load("finetune", FinetuneConfig, LAPTOP)
    endless = replace(config.train, epochs=None, max_steps=NO_END)
    return replace(config, train=endless, context_length=context_length or config.context_length)


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """The base model of the last run where there is one."""
    with open_base() as base:
        config = laptop_config(None if base == BASE else TINY_ROW)
        yield "LoRA fine-tune", compare(base, config, N_DIALOGUES, rounds)
