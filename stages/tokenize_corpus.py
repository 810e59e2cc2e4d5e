"""Stage tokenize: data/clean -> data/tokens, metrics/data.json."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llm.checkpoint import write_json
from llm.data import TokenCorpus, pack_corpus, pack_efficiency, write_corpus
from llm.dialogue import Dialogue, read_table
from llm.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer
from stages.logs import run_stage
from stages.params import load, load_value

CLEAN, OUT, METRICS = Path("data/clean"), Path("data/tokens"), Path("metrics/data.json")
SPLITS = ("train", "val", "test")
BATCH = 256  # dialogues encoded at once: enough for all cores, little memory

logger = logging.getLogger(__name__)


@dataclass
class Encoded:
    """A split's dialogues as token ids, with what was counted on the way."""

    ids: list[np.ndarray] = field(default_factory=list)
    turns: list[np.ndarray] = field(default_factory=list)
    tokens: Counter[str] = field(default_factory=Counter)  # by source, role tokens included
    n_bytes: Counter[str] = field(default_factory=Counter)

    def corpus(self) -> TokenCorpus:
        """The flat arrays."""
        offsets = np.cumsum([0, *(len(ids) for ids in self.ids)], dtype=np.int64)
        starts = [turns + start for turns, start in zip(self.turns, offsets[:-1], strict=True)]
        ids = np.concatenate(self.ids) if self.ids else np.zeros(0, np.uint16)
        return TokenCorpus(ids, offsets, np.concatenate(starts) if starts else np.zeros(0, np.int64), None)


def batches(dialogues: Iterator[Dialogue]) -> Iterator[list[Dialogue]]:
    """The dialogues, `BATCH` at a time."""
    while batch := list(islice(dialogues, BATCH)):
        yield batch


def encode_split(split: str, tokenizer: Tokenizer) -> Encoded:
    """A split's dialogues as tokens."""
    encoded = Encoded()
    for batch in tqdm(batches(read_table(CLEAN / f"{split}.arrow")), desc=f"encode {split}", unit="batch"):
        turns = iter(tokenizer.encode_batch([turn for dialogue in batch for turn in dialogue.turns]))
        for dialogue in batch:
            ids = np.array(tokenizer.join_turns(list(islice(turns, len(dialogue.turns)))), dtype=np.uint16)
            encoded.ids.append(ids)
            encoded.turns.append(np.flatnonzero((ids == tokenizer.user_id) | (ids == tokenizer.assistant_id)))
            encoded.tokens[dialogue.source] += len(ids)
            encoded.n_bytes[dialogue.source] += sum(len(turn.encode()) for turn in dialogue.turns)
    return encoded


def summarise(split: Encoded) -> dict[str, object]:
    """A split's size by source, and how far the tokenizer compresses its text."""
    tokens, n_bytes = sum(split.tokens.values()), sum(split.n_bytes.values())
    per_token = round(n_bytes / tokens, 4) if tokens else None
    return {"tokens": {**split.tokens, "all": tokens}, "dialogues": len(split.ids), "bytes_per_token": per_token}


def account(report: dict[str, object]) -> dict[str, object]:
    """Clean's report without the examples of what was dropped."""
    text = json.dumps(report)
    return json.loads(text, object_hook=lambda entry: {key: v for key, v in entry.items() if key != "examples"})


def main() -> None:
    """Nothing; the stage's outputs are written."""
    config, seed = load("tokenize", TokenizerConfig), load_value("seed", int)
    context_length = load_value("model.context_length", int)
    tokenizer = train_tokenizer((t for d in read_table(CLEAN / "train.arrow") for t in d.turns), config)
    tokenizer.save(OUT / "tokenizer.json")
    splits = {split: encode_split(split, tokenizer) for split in SPLITS}
    for split, encoded in splits.items():
        write_corpus(OUT, split, encoded.corpus())
        logger.info("%s: %s tokens", split, f"{sum(encoded.tokens.values()):,}")
    efficiency = pack_efficiency(pack_corpus(splits["train"].corpus(), context_length, seed))
    report = account(json.loads((CLEAN / "report.json").read_text(encoding="utf-8")))
    packing = {"context_length": context_length, "efficiency": round(efficiency, 4)}
    sizes = {split: summarise(encoded) for split, encoded in splits.items()}
    tokens = {"vocab_size": tokenizer.vocab_size, "packing": packing, "splits": sizes}
    write_json(METRICS, {**report, "tokenizer": tokens})


if __name__ == "__main__":
    run_stage("tokenize", main)
