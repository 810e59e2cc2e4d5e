"""`python -m llm chat`: a conversation in the terminal, or one question through a pipe."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from llm.app.catalogue import Listed, find_model, list_models
from llm.app.speaker import Speaker
from llm.app.talk import Token, make_prompt, new_seed, stream_reply
from llm.app.terminal import explain, printable
from llm.files import write_bytes
from llm.inference.decoding import Decoding

HISTORY = Path(".chat_history")  # of what was typed, in the project's folder; git ignores it
HISTORY_LINES = 1000
ASK = "> "
HELP = """\
/help        this list
/reset       begin a new conversation
/compare     the last question, answered by the other models too
/why         how likely each token of the last reply was, and what else might have stood there
/save FILE   write the conversation into a new file
/quit        end; so does Ctrl-C or Ctrl-D here. Ctrl-C while a reply is written ends the reply"""


@dataclass
class Conversation:
    """What was said, by whom, and the tokens of the last reply."""

    messages: list[tuple[str, str]] = field(default_factory=list)  # role, text
    tokens: list[Token] = field(default_factory=list)
    seed: int = 0

    def text(self, name: str) -> str:
        """The conversation as it is saved."""
        return "".join(f"{'you' if role == 'user' else name}: {text}\n\n" for role, text in self.messages)


def run_chat(arguments: argparse.Namespace) -> int:
    """Answer what comes through the pipe, or talk until the end; 0."""
    listed = find_model(arguments.model)
    decoding = make_decoding(arguments, listed)
    if not sys.stdin.isatty():
        answer_pipe(listed.load(), decoding)
        return 0
    print(f"{listed.about.title}\nIt reads the last {listed.about.context_length:,} tokens. /help lists the commands.")
    speaker = listed.load()
    with line_history():
        talk(speaker, decoding, arguments.seed is None)
    return 0


def make_decoding(arguments: argparse.Namespace, listed: Listed) -> Decoding:
    """How tokens are chosen: as the command line says, else as suits the model."""
    own = listed.sampling
    return Decoding(
        arguments.max_bytes,
        own.temperature if arguments.temperature is None else arguments.temperature,
        arguments.top_k,
        own.top_p if arguments.top_p is None else arguments.top_p,
        arguments.repetition_penalty,
        new_seed() if arguments.seed is None else arguments.seed,
    )


def answer_pipe(speaker: Speaker, decoding: Decoding) -> None:
    """Print the reply to all that comes through the pipe, and nothing else. Raises ValueError where nothing comes."""
    question = sys.stdin.read().strip()
    if not question:
        raise ValueError('nothing was asked: echo "What is overfitting?" | python -m llm chat scratch')
    print_reply(speaker, [("user", question)], decoding)


def talk(speaker: Speaker, decoding: Decoding, new_draws: bool) -> None:
    """Ask, answer and obey until the end."""
    conversation = Conversation(seed=decoding.seed)
    for line in typed_lines():
        if line.startswith("/"):
            if line == "/quit":
                return
            try:
                obey(line, speaker, decoding, conversation)
            except (ValueError, OSError) as error:
                print(error)
            continue
        if new_draws:
            conversation.seed = new_seed()
        conversation.messages.append(("user", line))
        how = replace(decoding, seed=conversation.seed)
        text, conversation.tokens = print_reply(speaker, conversation.messages, how)
        conversation.messages.append(("assistant", text))


def typed_lines() -> Iterator[str]:
    """What is typed, line by line, without empty ones, until Ctrl-C or Ctrl-D."""
    while True:
        try:
            line = input(ASK).strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line:
            yield line


def print_reply(speaker: Speaker, messages: list[tuple[str, str]], decoding: Decoding) -> tuple[str, list[Token]]:
    """Print the reply as it comes; its text and tokens, of one that Ctrl-C ended those there are."""
    text, tokens = "", list[Token]()
    with contextlib.suppress(KeyboardInterrupt):
        for token in stream_reply(speaker, make_prompt(messages), decoding):
            tokens.append(token)
            shown = printable(token.text if text else token.text.lstrip())
            text += shown
            print(shown, end="", flush=True)
    print(flush=True)
    return text.strip(), tokens


def obey(line: str, speaker: Speaker, decoding: Decoding, conversation: Conversation) -> None:
    """Do what a line that begins with / asks. Raises ValueError or OSError with a line that says what is wrong."""
    command, _, rest = line.partition(" ")
    done: dict[str, Callable[[], None]] = {
        "/help": lambda: print(HELP),
        "/reset": lambda: reset(conversation),
        "/why": lambda: print(explain(conversation.tokens) or "there is no reply yet"),
        "/compare": lambda: compare(speaker, decoding, conversation),
        "/save": lambda: save(conversation, speaker.about.name, rest.strip()),
    }
    if command not in done:
        raise ValueError(f"there is no {command}: /help lists the commands")
    done[command]()


def reset(conversation: Conversation) -> None:
    """Begin anew."""
    conversation.messages.clear()
    conversation.tokens.clear()
    print("a new conversation")


def compare(speaker: Speaker, decoding: Decoding, conversation: Conversation) -> None:
    """Print what the other models reply to the last question, after the same history."""
    asked = conversation.messages[:-1]
    if not asked:
        raise ValueError("there is no question yet")
    others = [one for one in list_models() if one.about.name != speaker.about.name]
    if not others:
        raise ValueError("there is no other model: run `dvc repro` for all of them")
    for listed in others:
        print(f"{listed.about.name}: {listed.about.title}")
        print_reply(listed.load(), asked, replace(decoding, seed=conversation.seed))


def save(conversation: Conversation, name: str, file: str) -> None:
    """Write the conversation into a new file.

    Raises ValueError without a name, FileExistsError for one that is there.
    """
    if not file:
        raise ValueError("name a file: /save talk.txt")
    if Path(file).exists():
        raise FileExistsError(f"{file} is there already: name another file")
    write_bytes(Path(file), conversation.text(name).encode())
    print(f"written to {file}")


@contextlib.contextmanager
def line_history() -> Iterator[None]:
    """Let arrow keys bring back what was typed, in earlier conversations too; where there is no readline, nothing."""
    try:
        import readline
    except ImportError:  # on Windows
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(HISTORY)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(HISTORY)
