"""A model to talk to: what the terminal and the server need of it, whichever kind it is."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from llm.app.packed_rows import has_room, pack_hub, pack_own
from llm.dialogue import Prompt
from llm.evaluation.hub_model import HubModel, encode_asked, token_bytes
from llm.evaluation.scoring import encoder, fit_prompt
from llm.evaluation.scratch_model import ScratchModel
from llm.hub.chat import document_ids, encode_reply, end_id
from llm.inference.generate import CachedRows, read_rows
from llm.inference.replies import Read, Rows, TokenTexts, prompt_room
from llm.tokens.tokenizer import ROLES


@dataclass(frozen=True)
class About:
    """What a model is called, truthfully, and how large it is."""

    name: str  # by which it is asked for
    title: str
    parameters: int
    context_length: int  # tokens


@dataclass(frozen=True)
class Speaker:
    """A loaded model."""

    about: About
    device: torch.device
    vocab_size: int
    encode: Callable[[Prompt], list[int]]  # of the latest of the prompt that fits in
    stops: Callable[[Prompt], Collection[int]]  # ids that end what follows the prompt
    texts: TokenTexts
    spell: Callable[[int], str]  # the text of an id in the middle of a text; of a special one its name
    read: Read
    pack: Callable[[Sequence[Any]], Any]  # rows read apart -> one batch of them
    is_full: Callable[[Any], bool]  # whether rows have to be packed again before they take another token

    def append(self, held: Rows | None, more: Rows) -> Rows:
        """The rows with more of them below."""
        return more if held is None else self.pack([held, more])

    def with_room(self, rows: Rows) -> Rows:
        """The rows in a cache that takes another token of each."""
        return self.pack([rows]) if self.is_full(rows) else rows


def own_speaker(model: ScratchModel, title: str, parameters: int) -> Speaker:
    """A model trained here; any role token ends its reply, as in the evaluation."""
    gpt, tokenizer = model.gpt, model.tokenizer
    window = gpt.config.context_length
    room = prompt_room(window)

    def read(contexts: list[list[int]], more: int) -> tuple[CachedRows, Any]:
        return read_rows(gpt, gpt.head, contexts, more)

    return Speaker(
        About(model.name, title, parameters, window),
        gpt.head.device,
        tokenizer.vocab_size,
        lambda prompt: fit_prompt(prompt, room, encoder(tokenizer))[-room:],
        lambda _: tokenizer.role_ids,
        TokenTexts(tokenizer.token_bytes(), tokenizer.decode),
        _speller(tokenizer.encode("a"), tokenizer.decode, dict(zip(tokenizer.role_ids, ROLES, strict=True))),
        read,
        pack_own,
        lambda rows: not has_room(rows),
    )


def hub_speaker(model: HubModel, title: str, parameters: int, window: int) -> Speaker:
    """A Hugging Face model, asked in the template of the evaluation."""
    tokenizer = model.asked_by or model.tokenizer
    room = prompt_room(window)
    special = {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    end = {end_id(tokenizer)}
    document_end = {document_ids(tokenizer)[1]}

    def stops(prompt: Prompt) -> Collection[int]:
        return end if prompt.history else end | document_end

    return Speaker(
        About(model.name, title, parameters, window),
        model.model.device,
        model.model.config.vocab_size,
        lambda prompt: fit_prompt(prompt, room, lambda one: encode_asked(tokenizer, one))[-room:],
        stops,
        TokenTexts(token_bytes(tokenizer, model.model.config.vocab_size), model.decode),
        _speller(encode_reply(tokenizer, "a"), model.decode, special),
        model.read,
        pack_hub,
        lambda _: False,
    )


def _speller(
    anchor: list[int], decode: Callable[[Sequence[int]], str], special: dict[int, str]
) -> Callable[[int], str]:
    """The text of one id behind an anchor: some tokenizers drop the space that opens a text."""
    n = len(decode(anchor))

    @cache
    def spell(token: int) -> str:
        return special[token] if token in special else decode([*anchor, token])[n:]

    return spell
