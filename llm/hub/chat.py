"""Dialogues and documents as a pretrained model reads them: in its chat template, or as plain text."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Sets `turns` and, where one stands before them, `system`; messages in another order are refused.
SPLIT_MESSAGES = (
    "{% set system = messages[0]['content'] if messages and messages[0]['role'] == 'system' else none %}"
    "{% set turns = messages if system is none else messages[1:] %}{% for message in turns %}"
    "{% if message['role'] != ('assistant' if loop.index0 % 2 else 'user') %}{{ raise_exception("
    "'turns alternate between user and assistant, the user first, and one system message may stand before them: '"
    " ~ 'message ' ~ (loop.index + (0 if system is none else 1)) ~ ' is of the role ' ~ message['role']) }}"
    "{% endif %}{% endfor %}"
)
# For a model without a template of its own: the form of Mistral's instruction models (Jiang et al. 2023, section 4),
# which know no role for the system message and read it at the beginning of the first turn.
FALLBACK_TEMPLATE = (
    SPLIT_MESSAGES + "{{ bos_token or '' }}{% for message in turns %}{% if message['role'] == 'user' %}"
    "[INST] {% if loop.first and system is not none %}{{ system + '\n\n' }}{% endif %}{{ message['content'] }} [/INST]"
    "{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
DOCUMENT_SEPARATOR = "<|endoftext|>"  # of pretraining, where bos and eos are those of chats: SmolLM2, Qwen, Phi
MARK = "\x00{}\x00"  # stands for a turn while the template is rendered; no cleaned text has this character
RENDER_S = 20.0  # seconds that a template may take for a dialogue, which takes it milliseconds


@dataclass(frozen=True)
class EncodedDialogue:
    """Token ids of a dialogue in the chat template, ending with the end token of its last reply; or of a document."""

    ids: list[int]
    starts: list[int]  # where each turn starts, its role marker included
    supervised: list[bool]  # of each id: a reply's text or its end token; all of a document but what opens it
    ends: list[int]  # just behind each reply's end token: a dialogue may be cut there, a document anywhere


def _template_pieces(
    tokenizer: "PreTrainedTokenizerBase", n_turns: int, ask: bool, system: bool = False
) -> list[list[int]]:
    """Ids of what the template writes before, between and behind `n_turns` turns; `ask` opens a reply behind them.

    With `system` its text is the first that they stand around. Raises ValueError when the template does not keep every
    text once and in order.
    """
    template = tokenizer.chat_template or FALLBACK_TEMPLATE
    return [list(piece) for piece in _rendered_pieces(tokenizer, template, n_turns, ask, system)]


@lru_cache(maxsize=1024)
def _rendered_pieces(
    tokenizer: "PreTrainedTokenizerBase", template: str, n_turns: int, ask: bool, system: bool
) -> tuple[tuple[int, ...], ...]:
    """`_template_pieces`, rendered once for all dialogues of as many turns: of short ones it takes most of the time."""
    pieces = render_pieces(tokenizer, template, n_turns, ask, system)
    return tuple(map(tuple, tokenizer(pieces, add_special_tokens=False)["input_ids"]))


def render_pieces(
    tokenizer: "PreTrainedTokenizerBase", template: str, n_turns: int, ask: bool, system: bool
) -> list[str]:
    """What the template writes before, between and behind the system message, where `system`, and `n_turns` turns.

    Raises ValueError when the template does not keep every text once and in order, or takes too long.
    """
    roles = [*["system"] * system, *(("user", "assistant")[i % 2] for i in range(n_turns))]
    messages = [{"role": role, "content": MARK.format(i)} for i, role in enumerate(roles)]

    def render() -> str:
        return str(
            tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=ask)
        )

    try:
        text = _within(RENDER_S, render)
    except TimeoutError:
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} had not ended after {RENDER_S:g} s: choose another model"
        ) from None
    pieces = []
    for i, role in enumerate(roles):
        piece, found, text = text.partition(MARK.format(i))
        if not found or MARK[0] in piece:
            what = "the system message" if role == "system" else f"turn {i - system} of {n_turns}"
            raise ValueError(f"the chat template of {tokenizer.name_or_path} leaves out {what}, or its place")
        pieces.append(piece)
    return [*pieces, text]


def _within(seconds: float, work: Callable[[], str]) -> str:
    """What the work gives. Raises TimeoutError when it takes longer: it goes on then, and ends with the process."""
    result: Future[str] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # raised again for who waits
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result(seconds)


def takes_system(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the chat template keeps a system message where it stands, before the first turn.

    Some refuse one, some leave it out; the template of Mistral 7B Instruct v0.3 writes it into the last turn, so that
    it wanders as the dialogue goes on.
    """
    return _takes_system(tokenizer, tokenizer.chat_template or FALLBACK_TEMPLATE)


@lru_cache(maxsize=16)
def _takes_system(tokenizer: "PreTrainedTokenizerBase", template: str) -> bool:
    from jinja2 import TemplateError

    try:
        _rendered_pieces(tokenizer, template, 3, True, True)
    except (TemplateError, ValueError):
        return False
    return True


def _lay_out(
    tokenizer: "PreTrainedTokenizerBase", turns: Sequence[str], system: str | None, ask: bool
) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of each text and of the pieces around them; of a system turn and the first one where they are one text."""
    if system is not None and not takes_system(tokenizer):
        turns, system = [f"{system}\n\n{turns[0]}", *turns[1:]], None
    texts = [*turns] if system is None else [system, *turns]
    return _encode_texts(tokenizer, texts), _template_pieces(tokenizer, len(turns), ask, system is not None)


def _encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text; one that spells a special token is ordinary text."""
    return tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", history: Sequence[str], system: str | None = None) -> list[int]:
    """Ids of the turns before a reply and of the marker that opens it; without turns, of what opens a document.

    Each turn is tokenised by itself, so that a reply's tokens do not depend on what stands before it.
    """
    if not history:
        return [document_ids(tokenizer)[0]]
    texts, pieces = _lay_out(tokenizer, history, system, ask=True)
    ids = pieces[0]
    for text, piece in zip(texts, pieces[1:], strict=True):
        ids = ids + text + piece
    return ids


def encode_reply(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids of a reply's text alone, the end token not included."""
    return _encode_texts(tokenizer, [text])[0]


def end_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The id with which the template closes a reply.

    Raises ValueError when that is not a special token: the end of a reply could not be told from its text.
    """
    return _special_end(tokenizer, tokenizer.chat_template or FALLBACK_TEMPLATE)


@lru_cache(maxsize=16)
def _special_end(tokenizer: "PreTrainedTokenizerBase", template: str) -> int:
    """`end_id`, looked up once: transformers makes a table of all added tokens each time."""
    added = tokenizer.added_tokens_decoder
    closing = _rendered_pieces(tokenizer, template, 2, False, False)[-1][:1]
    special = [i for i in closing if i in added and added[i].special]
    if not special:
        raise ValueError(f"the chat template of {tokenizer.name_or_path} closes a reply with no special token")
    return special[0]


def document_ids(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, int]:
    """The ids that open and close a document: the separator of the model's pretraining, else its bos and eos.

    Raises ValueError where the model has none of them.
    """
    return _document_ids(tokenizer)


@lru_cache(maxsize=16)
def _document_ids(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, int]:
    special = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    if (separator := special.get(DOCUMENT_SEPARATOR)) is not None:
        return separator, separator
    close = tokenizer.eos_token_id
    if not isinstance(close, int):
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no token that ends a document")
    return close if tokenizer.bos_token_id is None else tokenizer.bos_token_id, close


def encode_document(tokenizer: "PreTrainedTokenizerBase", text: str) -> EncodedDialogue:
    """The section of a document as plain text: before it the ids are those of `encode_prompt`, all of it is learned."""
    opening, close = document_ids(tokenizer)
    ids = [opening, *encode_reply(tokenizer, text), close]
    return EncodedDialogue(ids, [0], [False, *[True] * (len(ids) - 1)], list(range(2, len(ids) + 1)))


def encode_dialogue(
    tokenizer: "PreTrainedTokenizerBase", turns: Sequence[str], system: str | None = None
) -> EncodedDialogue:
    """The dialogue up to its last reply; before every reply the ids are those of `encode_prompt`."""
    turns = turns[: len(turns) // 2 * 2]
    end = end_id(tokenizer)
    texts, pieces = _lay_out(tokenizer, turns, system, ask=False)
    ids: list[int] = []
    if len(texts) > len(turns):  # the system turn belongs to the turn that it stands before
        ids = pieces.pop(0) + texts.pop(0)
    supervised, starts, ends = [False] * len(ids), [], []
    for i, (piece, text) in enumerate(zip(pieces, texts, strict=False)):
        closes_reply = i > 0 and i % 2 == 0
        starts.append(len(ids) + closes_reply if i else 0)
        ids += piece + text
        supervised += [closes_reply and j == 0 for j in range(len(piece))] + [i % 2 == 1] * len(text)
        if i % 2 == 1:
            ends.append(len(ids) + 1)
    return EncodedDialogue([*ids, end], starts, [*supervised, True], ends)
