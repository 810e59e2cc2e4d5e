"""Encoding text: the stage tokenize against `datasets.map` around the same tokenizer."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.rounds import Contender, Lap, alternate
from bench.table import Section, summarise
from llm.dialogue import Dialogue, read_dialogues, write_dialogues
from llm.sources.chitchat import read_chitchat
from llm.sources.curated import read_curated
from llm.tokens.tokenizer import TokenizerConfig, load_tokenizer, train_tokenizer

N_BYTES, VOCAB = 20_000_000, 30_000
CURATED = Path(__file__).resolve().parents[2] / "data" / "curated"
OURS, PEER = "ours", "datasets.map"


def read_all() -> list[Dialogue]:
    """The conversations that come with a package and with this repository."""
    curated = [read_curated(CURATED / f"{source}.jsonl", source).dialogues for source in ("eli5", "technical")]
    return [*curated[0], *curated[1], *read_chitchat("dialogue").dialogues]


def size(dialogue: Dialogue) -> int:
    """Bytes of its text."""
    return sum(len(turn.encode()) for turn in dialogue.turns)


def take_bytes(dialogues: list[Dialogue], n_bytes: int) -> list[Dialogue]:
    """Dialogues of `n_bytes` in all, from the beginning again where there are too few."""
    taken: list[Dialogue] = []
    for dialogue in cycle(dialogues):
        if n_bytes <= 0:
            break
        taken.append(dialogue)
        n_bytes -= size(dialogue)
    return taken


def digest(ids: Iterable[Any]) -> str:
    """Hash of all token ids in order."""
    whole = hashlib.sha256()
    for part in ids:
        whole.update(np.asarray(part, np.uint32).tobytes())
    return whole.hexdigest()


def prepare(folder: Path) -> tuple[list[Dialogue], Any]:
    """The dialogues and the tokenizer of a folder."""
    return list(read_dialogues(folder / "text.jsonl")), load_tokenizer(folder / "tokenizer.json")


def encoded(dialogues: list[Dialogue], tokenizer: Any) -> list[NDArray[np.uint16]]:
    """Ids of each dialogue, as the stage encodes them."""
    from stages.tokenize_corpus import encode

    ids: list[NDArray[np.uint16]] = []
    encode(dialogues, tokenizer, lambda some, _: ids.append(some), lambda _: None)
    return ids


def ours(lap: Lap, folder: Path) -> None:
    """Encode as the stage does, again and again, each time by a tokenizer that knows no word yet."""
    dialogues, tokenizer = prepare(folder)
    roles = (tokenizer.user_id, tokenizer.assistant_id, tokenizer.end_id)
    n_bytes, note = sum(map(size, dialogues)), None
    while True:
        ids = encoded(dialogues, load_tokenizer(folder / "tokenizer.json"))
        note = note or digest(some[~np.isin(some, roles)] for some in ids)  # the same text has the same ids
        lap(n_bytes, note)


def theirs(lap: Lap, folder: Path) -> None:
    """Encode the turns through datasets.map again and again, in memory."""
    from datasets import Dataset, disable_progress_bars
    from tokenizers import Tokenizer

    disable_progress_bars()
    dialogues, _ = prepare(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    data = Dataset.from_dict({"text": [turn for dialogue in dialogues for turn in dialogue.turns]})
    n_bytes, note = sum(map(size, dialogues)), None

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        return {"ids": [encoding.ids for encoding in tokenizer.encode_batch(batch["text"])]}

    while True:
        found = data.map(encode, batched=True, remove_columns=["text"], load_from_cache_file=False)
        note = note or digest(found["ids"])
        lap(n_bytes, note)


def check_digests(ready: dict[str, Any]) -> None:
    """Raise ValueError when the ids differ."""
    if len(set(ready.values())) > 1:
        raise ValueError(f"the contenders do not give the same token ids: {ready}")


def compare(n_bytes: int, vocab_size: int, rounds: int) -> Section:
    """Bytes a second of both."""
    dialogues = read_all()
    with TemporaryDirectory() as name:
        folder = Path(name)
        taken = take_bytes(dialogues, n_bytes)
        write_dialogues(folder / "text.jsonl", taken)
        turns = (turn for dialogue in taken[: len(dialogues)] for turn in dialogue.turns)
        train_tokenizer(turns, TokenizerConfig(vocab_size, 2)).save(folder / "tokenizer.json")
        contenders = [
            Contender(OURS, ours, {"folder": folder}, keeps_memory=False),
            Contender(PEER, theirs, {"folder": folder}, keeps_memory=False),
        ]
        run = alternate(contenders, rounds, check_digests, "tokenising")
    facts = {"bytes": sum(map(size, taken)), "data": "curated texts and chitchat, from the beginning again to fill up"}
    return summarise(run, "bytes/s", {"datasets.map / ours": (PEER, OURS)}, facts)


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """20 MB of conversations, a vocabulary of 30,000."""
    yield "tokenising", compare(N_BYTES, VOCAB, rounds)
