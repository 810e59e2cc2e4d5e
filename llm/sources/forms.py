"""The forms in which strangers keep conversations, and one row of each as a system turn and turns.

messages      {"messages": [{"role": "user", "content": ...}, ...]}       OpenAI; ShareGPT's conversations, from, value
instruction   {"instruction": ..., "input": ..., "output": ...}           Alpaca; Dolly's context, response
pairs         {"question": ..., "answer": ...}                            two columns
text          {"text": ...}                                               documents
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, TypeVar

from llm.dialogue import join_speaker_turns

FormName = Literal["messages", "instruction", "pairs", "text"]
Row = Mapping[str, Any]
Note = Callable[[str], None]  # is told of each row that is left out
T = TypeVar("T")

FORMS: tuple[FormName, ...] = ("messages", "instruction", "pairs", "text")
EXAMPLES = "messages, conversations, instruction+output, question+answer, prompt+completion, text"
MESSAGE_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
PROMPT_COLUMNS = ("prompt", "question", "query", "input", "instruction", "user", "human")
REPLY_COLUMNS = ("reply", "response", "completion", "answer", "output", "assistant")
SYSTEM_COLUMNS = ("system", "system_prompt")
TEXT_COLUMNS = ("text", "content", "document")
USES = ("prompt", "reply", "messages", "text", "system", "group")  # what a column can be named for
SPEAKERS = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "ipython", "observation", "function_call"), "tool"),
}
# A fifth: a null here and there is ordinary, while with more of them the wrong column or file was named.
MAX_UNFIT_SHARE = 0.2
MIN_ROWS_JUDGED = 100  # before the end of the rows their share is not judged on fewer
# Rows that are whole, only nothing to learn a reply from: they are counted, but speak of no mistake.
WHOLE = ("rows_with_tools", "rows_with_other_media", "rows_of_one_turn")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Form:
    """A form and the columns it is read from."""

    name: FormName
    columns: Mapping[str, str]  # what a column is for, of USES or `input`, to its name in the rows


@dataclass(frozen=True)
class Conversation:
    """What one row says."""

    place: str  # "own.jsonl, line 12"
    row: Row
    system: str | None
    turns: tuple[str, ...]  # one of a document


class UnfitRow(ValueError):
    """A row that gives no dialogue; `rule` is the name under which it is counted."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def recognise(columns: Collection[str], named: Mapping[str, str] | None = None, form: str | None = None) -> Form:
    """The form of rows with these columns; `named` says what columns of other names are for, `form` which one it is.

    Raises ValueError naming the columns there are and the forms that exist.

    >>> recognise(["id", "Question", "Answer"])
    Form(name='pairs', columns={'prompt': 'Question', 'reply': 'Answer'})
    >>> recognise(["q", "a"], {"prompt": "q", "reply": "a"}).name
    'pairs'
    """
    named = named or {}
    _check_named(columns, named, form)
    by_name = {name.strip().casefold(): name for name in columns}
    readers = {"messages": _messages_form, "instruction": _instruction_form, "pairs": _pairs_form, "text": _text_form}
    for name in FORMS if form is None else (form,):
        if found := readers[name](by_name, named):
            system = named.get("system") or _first(by_name, SYSTEM_COLUMNS)
            extra = {"system": system, "group": named.get("group")}
            return Form(name, found | {use: column for use, column in extra.items() if column})  # type: ignore[arg-type]
    wanted = f"the form {form}" if form else f"a form known here ({EXAMPLES})"
    raise ValueError(
        f"the columns {', '.join(sorted(columns)) or '(none)'} are not {wanted}: "
        f"name them by columns, such as {{prompt: {min(columns, default='q')}, reply: ...}}"
    )


def check_uses(named: Iterable[str]) -> None:
    """Raise ValueError for a use that no column can be named for."""
    if unknown := [use for use in named if use not in USES]:
        raise ValueError(f"columns names {unknown[0]}, allowed: {', '.join(USES)}")


def dialogue_of(row: Row, form: Form, counts: Counter[str]) -> tuple[str | None, tuple[str, ...]]:
    """System turn and turns of one row, the user's first; of a document its text alone. What is mended is counted.

    Raises UnfitRow.

    >>> dialogue_of({"q": "Two and two?", "a": 4}, Form("pairs", {"prompt": "q", "reply": "a"}), Counter())
    (None, ('Two and two?', '4'))
    """
    columns = form.columns
    if form.name == "messages":
        system, turns = _turns_of_messages(row.get(columns["messages"]), counts)
    elif form.name == "text":
        system, turns = None, (_needed(row, columns["text"]),)
    else:
        prompt = _needed(row, columns["prompt"])
        if "input" in columns and (more := _text(row.get(columns["input"]), columns["input"])):
            prompt += f"\n\n{more}"
        system, turns = None, (prompt, _needed(row, columns["reply"]))
    if "system" in columns and form.name != "text":
        system = _text(row.get(columns["system"]), columns["system"]) or system
    return system, turns


def conversations(
    rows: Iterable[tuple[str, Row]], form: Form, counts: Counter[str], note: Note | None = None
) -> Iterator[Conversation]:
    """What the rows, each with its place, say; unfit ones are counted under their rule, noted and left out.

    Raises ValueError naming the first unfit row when more than MAX_UNFIT_SHARE of them are.
    """
    for place, row, (system, turns) in fit_rows(rows, lambda row: dialogue_of(row, form, counts), counts, note):
        yield Conversation(place, row, system, turns)


def fit_rows(
    rows: Iterable[tuple[str, Row]], read: Callable[[Row], T], counts: Counter[str], note: Note | None = None
) -> Iterator[tuple[str, Row, T]]:
    """Place, row and what `read` makes of it, of each row for which it does not raise UnfitRow; those are counted.

    Raises ValueError naming the first unfit row when more than MAX_UNFIT_SHARE of them are.
    """
    n_rows, unfit, first = 0, 0, ""
    for place, row in rows:
        n_rows += 1
        counts["rows"] += 1
        try:
            item = read(row)
        except UnfitRow as error:
            counts[error.rule] += 1
            if note:
                note(f"{place}: {error}")
            if error.rule not in WHOLE:
                unfit, first = unfit + 1, first or f"{place}: {error}"
                if n_rows >= MIN_ROWS_JUDGED:
                    _check_share(unfit, n_rows, first)
            continue
        yield place, row, item
    _check_share(unfit, n_rows, first)


def plain_text(value: object) -> str | None:
    """A cell's value as text, "" where there is none; None when it is a list, an object or bytes.

    >>> plain_text(" 4 "), plain_text(4), plain_text(False), plain_text(float("nan")), plain_text({})
    ('4', '4', 'false', '', None)
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):  # a lone surrogate, which JSON can spell, cannot be written again
        return _SURROGATE.sub("\ufffd", value).strip()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value) if isinstance(value, int | float | Decimal) else None


def _check_share(unfit: int, rows: int, first: str) -> None:
    if unfit > MAX_UNFIT_SHARE * rows:
        raise ValueError(
            f"{unfit:,} of {rows:,} rows cannot be read, more than {MAX_UNFIT_SHARE:.0%}; the first is {first}"
        )


def _check_named(columns: Collection[str], named: Mapping[str, str], form: str | None) -> None:
    if form is not None and form not in FORMS:
        raise ValueError(f"form is {form}, allowed: {', '.join(FORMS)}, or null to recognise it")
    check_uses(named)
    for use, column in named.items():
        if column not in columns:
            raise ValueError(f"there is no column {column} for {use}, only {', '.join(sorted(columns))}")
    if ("prompt" in named) != ("reply" in named):
        raise ValueError("columns names one of prompt and reply; name both")


def _messages_form(by_name: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str] | None:
    if "prompt" in named or "text" in named:
        return None
    column = named.get("messages") or _first(by_name, MESSAGE_COLUMNS)
    return {"messages": column} if column else None


def _instruction_form(by_name: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str] | None:
    reply, more = _first(by_name, ("output", "response")), _first(by_name, ("input", "context"))
    if "prompt" in named or "text" in named or "instruction" not in by_name or not reply:
        return None
    return {"prompt": by_name["instruction"], "reply": reply} | ({"input": more} if more else {})


def _pairs_form(by_name: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str] | None:
    if "text" in named:
        return None
    prompt = named.get("prompt") or _first(by_name, PROMPT_COLUMNS)
    reply = named.get("reply") or _first(by_name, REPLY_COLUMNS)
    return {"prompt": prompt, "reply": reply} if prompt and reply else None


def _text_form(by_name: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str] | None:
    column = named.get("text") or _first(by_name, TEXT_COLUMNS)
    return {"text": column} if column else None


def _first(by_name: Mapping[str, str], known: Iterable[str]) -> str | None:
    return next((by_name[name] for name in known if name in by_name), None)


def _needed(row: Row, column: str) -> str:
    text = _text(row.get(column), column)
    if not text:
        raise UnfitRow("rows_without_text", f"its {column} is empty")
    return text


def _text(value: object, column: str) -> str:
    text = plain_text(value)
    if text is None:
        kind = {dict: "an object", list: "a list"}.get(type(value), type(value).__name__)  # type: ignore[call-overload]
        raise UnfitRow("rows_of_other_types", f"its {column} is {kind}, not a text")
    return text


def _turns_of_messages(messages: object, counts: Counter[str]) -> tuple[str | None, tuple[str, ...]]:
    if messages is None or messages == []:
        raise UnfitRow("rows_without_text", "it has no messages")
    if not isinstance(messages, list | tuple):
        raise UnfitRow("rows_of_other_types", "its messages are no list")
    spoken = [_message(message, i) for i, message in enumerate(messages)]
    if any(speaker == "tool" for speaker, _ in spoken):  # what follows answers words that the turns do not hold
        raise UnfitRow("rows_with_tools", "it calls tools")
    counts["empty_messages"] += sum(not text for _, text in spoken)
    spoken = [(speaker, text) for speaker, text in spoken if text]
    n_system = next((i for i, (speaker, _) in enumerate(spoken) if speaker != "system"), len(spoken))
    system = "\n".join(text for _, text in spoken[:n_system]) or None
    spoken = spoken[n_system:]
    if any(speaker == "system" for speaker, _ in spoken):
        raise UnfitRow("rows_with_late_system", "a system message stands after the first turn")
    while spoken and spoken[0][0] == "assistant":  # an answer to nothing
        counts["assistant_messages_before_the_user"] += 1
        spoken.pop(0)
    turns = join_speaker_turns(spoken)
    if not turns:
        raise UnfitRow("rows_without_text", "no message of it has a text, or only the assistant speaks")
    if len(turns) < 2:
        raise UnfitRow("rows_of_one_turn", "nothing in it answers the user")
    return system, turns


def _message(message: object, position: int) -> tuple[str, str]:
    """Speaker and text of a message; texts without a speaker alternate, the user first."""
    if isinstance(message, str):
        return ("assistant" if position % 2 else "user"), _text(message, "message")
    if not isinstance(message, Mapping):
        raise UnfitRow("rows_of_other_types", f"message {position + 1} is neither an object nor a text")
    role = message.get("role", message.get("from"))
    speaker = SPEAKERS.get(str(role).strip().casefold())
    if speaker is None:
        raise UnfitRow("rows_of_other_roles", f"message {position + 1} has the role {role}, not user or assistant")
    if message.get("tool_calls") or message.get("function_call"):
        return "tool", ""
    value = message.get("content", message.get("value"))
    if isinstance(value, list):
        parts = [_part(part, position) for part in value]
        return speaker, "\n".join(part for part in parts if part)
    return speaker, _text(value, f"message {position + 1}")


def _part(part: object, position: int) -> str:
    if isinstance(part, Mapping) and part.get("type", "text") in ("text", "input_text", "output_text"):
        return _text(part.get("text"), f"message {position + 1}")
    if isinstance(part, str):
        return _text(part, f"message {position + 1}")
    raise UnfitRow("rows_with_other_media", f"message {position + 1} holds more than text")
