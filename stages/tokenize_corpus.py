"""Stage tokenize: data/clean -> data/tokens, data/summary.json."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from llm.dialogue import Dialogue, read_table
from llm.files import write_json
from llm.tokens.canaries import CANARIES, REPEATS, draw_canaries, encode_canaries, write_canaries
from llm.tokens.mixture import write_sources
from llm.tokens.packing import Append, grow_corpus, pack_corpus, pack_efficiency
from llm.tokens.token_files import read_corpus
from llm.tokens.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer
from stages.logs import Made, run_stage
from stages.params import load

CLEAN, OUT, SUMMARY = Path("data/clean"), Path("data/tokens"), Path("data/summary.json")
SPLITS = ("train", "val", "test")

logger = logging.getLogger(__name__)


def encode_one(dialogue: Dialogue, tokenizer: Tokenizer) -> NDArray[np.uint16]:
    """Ids of a dialogue or of a section of a document."""
    if dialogue.kind == "document":
        return tokenizer.encode_document(dialogue.turns[0])
    return tokenizer.encode_dialogue(dialogue.turns, dialogue.system)


def encode(
    dialogues: Iterable[Dialogue], tokenizer: Tokenizer, append: Append, advance: Callable[[int], object]
) -> tuple[dict[str, Any], list[str]]:
    """Append the dialogues as tokens; their sizes, and the source of each."""
    tokens, n_bytes, sources = Counter[str](), 0, list[str]()
    for dialogue in dialogues:
        ids = encode_one(dialogue, tokenizer)
        append(ids, tokenizer.turn_starts(ids))
        tokens[dialogue.source] += len(ids)
        n_bytes += sum(len(text.encode()) for text in dialogue.texts)
        sources.append(dialogue.source)
        advance(1)
    per_token = round(n_bytes / max(1, tokens.total()), 4)  # role tokens count
    sizes = {**tokens, "all": tokens.total()}
    return {"tokens": sizes, "dialogues": len(sources), "bytes_per_token": per_token}, sources


def read_report() -> dict[str, Any]:
    """Clean's report without the ids of what was dropped."""
    text = (CLEAN / "report.json").read_text(encoding="utf-8")
    return json.loads(text, object_hook=lambda part: {key: part[key] for key in part if key != "examples"})


def count_dialogues(report: dict[str, Any]) -> dict[str, int]:
    """Dialogues of each split; ValueError for a split without any, on which nothing could be trained or measured."""
    counts = {split: sum(s["splits"][split]["dialogues"] for s in report["sources"].values()) for split in SPLITS}
    if empty := [split for split, count in counts.items() if not count]:
        raise ValueError(f"no dialogues for {', '.join(empty)}: raise clean.val_share, clean.test_share or a limit")
    return counts


def plant_canaries(append: Append, tokenizer: Tokenizer, seed: int) -> dict[str, Any]:
    """Append canaries to the training tokens; what that added."""
    canaries = draw_canaries(load("canaries.each", int), seed)
    write_canaries(OUT / "canaries.json", canaries)
    planted = encode_canaries(canaries, tokenizer)
    for ids in planted:
        append(ids, tokenizer.turn_starts(ids))
    return {
        "different": {str(n): sum(canary.repeats == n for canary in canaries) for n in REPEATS},
        "dialogues": len(planted),
        "tokens": sum(map(len, planted)),
    }


def main() -> Made:
    """Train the tokenizer, and write it, the tokens of each split and the figures of the data."""
    config, seed = load("tokenize", TokenizerConfig), load("data_seed", int)
    context_length = load("model.context_length", int)
    report = read_report()
    counts = count_dialogues(report)
    tokenizer = train_tokenizer((text for d in read_table(CLEAN / "train.arrow") for text in d.texts), config)
    logger.info("%s of %s vocabulary entries", f"{tokenizer.vocab_size:,}", f"{config.vocab_size:,}")
    tokenizer.save(OUT / "tokenizer.json")
    figures: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "splits": {}}
    with tqdm(total=sum(counts.values()), unit="dialogue", desc="tokenize", mininterval=1.0) as bar:
        for split in SPLITS:
            with grow_corpus(OUT, split) as append:
                dialogues = read_table(CLEAN / f"{split}.arrow")
                figures["splits"][split], sources = encode(dialogues, tokenizer, append, bar.update)
                if split == "train":
                    figures["canaries"] = planted = plant_canaries(append, tokenizer, seed)
                    write_sources(OUT, sources + [CANARIES] * planted["dialogues"])
    efficiency = pack_efficiency(pack_corpus(read_corpus(OUT, "train"), context_length, seed))
    figures["packing"] = {"context_length": context_length, "efficiency": round(efficiency, 4)}
    write_json(SUMMARY, {**report, "tokenizer": figures})
    return Made([SUMMARY])


if __name__ == "__main__":
    run_stage("tokenize", main)
