"""Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) with five role tokens, lossless for every text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, trainers

from llm.files import write_bytes
from llm.ranges import check_range
from llm.tokens.words import WordTable

USER, ASSISTANT, END, SYSTEM, DOCUMENT = "<|user|>", "<|assistant|>", "<|end|>", "<|system|>", "<|document|>"
ROLES = (USER, ASSISTANT, END, SYSTEM, DOCUMENT)  # the ids 0 to 4
N_BYTES = 256


@dataclass(frozen=True)
class TokenizerConfig:
    """Size of the vocabulary and when a pair is worth an entry."""

    vocab_size: int  # the bytes and the role tokens included
    min_frequency: int

    def __post_init__(self) -> None:
        check_range("vocab_size", self.vocab_size, N_BYTES + len(ROLES), 65_535)  # token files hold 16-bit ids
        check_range("min_frequency", self.min_frequency, 1, 1_000_000)


class Tokenizer:
    """Text to ids and back. A text that spells a role token is encoded as ordinary bytes, never as the role.

    >>> tokenizer = train_tokenizer(["hello hello"], TokenizerConfig(vocab_size=262, min_frequency=2))
    >>> tokenizer.decode(tokenizer.encode("hello <|end|>"))
    'hello <|end|>'
    """

    def __init__(self, bpe: tokenizers.Tokenizer) -> None:
        bpe.encode_special_tokens = True
        self._bpe = bpe
        self.role_ids = tuple(map(self._role_id, ROLES))  # no text holds one, and a reply ends at any
        self.user_id, self.assistant_id, self.end_id, self.system_id, self.document_id = self.role_ids
        roles = (np.uint16(role).tobytes() for role in self.role_ids)
        self._user, self._assistant, self._end, self._system, self._document = roles
        self._opens = np.zeros(self.vocab_size, dtype=bool)  # whether an id opens a turn or a document
        self._opens[[role for role in self.role_ids if role != self.end_id]] = True
        self._words = WordTable(self.encode)

    def _role_id(self, token: str) -> int:
        found = self._bpe.token_to_id(token)
        if found is None:
            raise ValueError(
                f"the tokenizer has no token {token}: it was not made by this version of the stage tokenize, "
                "run `dvc repro`"
            )
        return found

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._bpe.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, no role tokens."""
        return self._bpe.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of each text."""
        return [np.frombuffer(self._words.encode(text), np.uint16).tolist() for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text; role tokens are left out."""
        return self._bpe.decode(list(ids), skip_special_tokens=True)

    def token_bytes(self) -> list[int]:
        """How many bytes of text each id stands for; a role token stands for none."""
        spelled = [self._bpe.id_to_token(i) or "" for i in range(self.vocab_size)]
        return [0 if i in self.role_ids else len(token) for i, token in enumerate(spelled)]  # a letter a byte

    def encode_dialogue(self, turns: Sequence[str], system: str | None = None) -> NDArray[np.uint16]:
        """Ids of a whole dialogue: each turn opened by its role, a reply closed by the end token."""
        parts = [] if system is None else [self._system, self._words.encode(system)]
        for i, turn in enumerate(turns):
            ids = self._words.encode(turn)
            parts += [self._user, ids] if i % 2 == 0 else [self._assistant, ids, self._end]
        return np.frombuffer(b"".join(parts), np.uint16)

    def encode_document(self, text: str) -> NDArray[np.uint16]:
        """Ids of a section of a document, opened by the role of documents and closed by the end token."""
        return np.frombuffer(b"".join([self._document, self._words.encode(text), self._end]), np.uint16)

    def encode_prompt(self, history: Sequence[str], system: str | None = None) -> list[int]:
        """Ids of the turns before a reply, and the role token that opens it; without turns, what opens a document."""
        if not history:
            return [self.document_id]
        return [*self.encode_dialogue(history, system).tolist(), self.assistant_id]

    def turn_starts(self, ids: NDArray[np.uint16] | NDArray[np.uint32]) -> NDArray[np.int64]:
        """Where in the ids a turn or a document starts, ascending."""
        return np.flatnonzero(self._opens[ids])

    def save(self, path: Path) -> None:
        """Write a tokenizer.json that other libraries read too; it appears whole or not at all."""
        write_bytes(path, self._bpe.to_str(pretty=True).encode())


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """A tokenizer whose merges are learned from the texts."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(ROLES),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return Tokenizer(bpe)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer saved at `path`.

    Raises FileNotFoundError when there is none, ValueError for a file that is no tokenizer of this project.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro tokenize` first")
    try:
        bpe = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower one
        raise ValueError(f"{path} is no tokenizer ({error}): run `dvc repro tokenize`, or get it again") from error
    return Tokenizer(bpe)
