"""The Chit-Chat Challenge: conversations of students, in the package `chitchat-dataset`."""

import importlib.metadata
import importlib.util
import json
from pathlib import Path

from llm.dialogue import Dialogue, join_speaker_turns
from llm.files import file_sha256
from llm.sources import Corpus
from llm.sources.plaintext import without_layout_tags

PACKAGE = "chitchat-dataset"


def read_chitchat(source: str) -> Corpus:
    """All conversations of two or more turns; each is its own group."""
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the package {PACKAGE} is not installed; run `pip install {PACKAGE}==0.9.0`")
    path = Path(spec.origin).with_name("dataset.json")
    dialogues, counts = parse_conversations(path, source)
    location = f"package {PACKAGE} {importlib.metadata.version(PACKAGE)}"
    return Corpus(dialogues, location, "MIT", file_sha256(path), counts=counts)


def parse_conversations(path: Path, source: str) -> tuple[list[Dialogue], dict[str, int]]:
    """Dialogues of the package's JSON, and what was counted on the way.

    {conversation id: {"messages": [[{"text": ..., "sender": ...}, ...], ...]}}. A turn with nothing in it (12 of them,
    lost emoji by the look of the replies) is left out; the turns around it were no single turn, so they stay two.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    dialogues = []
    counts = {"rows": len(content), "messages": 0, "empty_turns": 0, "conversations_of_one_turn": 0}
    for key, conversation in content.items():
        messages = [(message["sender"], message["text"]) for block in conversation["messages"] for message in block]
        joined = [_without_empty_lines(turn) for turn in join_speaker_turns(messages)]
        turns = tuple(turn for turn in joined if turn)
        counts["messages"] += len(messages)
        counts["empty_turns"] += len(joined) - len(turns)
        if len(turns) < 2:
            counts["conversations_of_one_turn"] += 1
            continue
        dialogues.append(Dialogue(f"chitchat-{key}", source, f"chitchat-{key}", turns))
    return dialogues, counts


def _without_empty_lines(text: str) -> str:
    lines = [line.strip() for line in without_layout_tags(text).split("\n")]
    return "\n".join(line for line in lines if line)
