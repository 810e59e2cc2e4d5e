"""`python -m llm chat`: a conversation in the terminal, or one question through a pipe."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llm.app.catalogue import Listed, find_model, list_models
from llm.app.speaker import Speaker
from llm.app.streamed_reply import Token, make_prompt, new_seed, stream_reply
from llm.app.terminal import explain
from llm.failures import describe_error, printable
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
class Chat:
    """A conversation with a model, and what else was loaded for it."""

    arguments: argparse.Namespace
    listed: Listed
    speakers: dict[str, Speaker] = field(default_factory=dict)
    messages: list[tuple[str, str]] = field(default_factory=list)  # role, text
    tokens: list[Token] = field(default_factory=list)  # of the last reply
    seed: int = 0  # of the last reply

    def speaker(self, listed: Listed) -> Speaker:
        """The model, loaded once."""
        name = listed.about.name
        if name not in self.speakers:
            self.speakers[name] = listed.load()
        return self.speakers[name]

    def text(self) -> str:
        """The conversation as it is saved."""
        name = self.listed.about.name
        return "".join(f"{'you' if role == 'user' else name}: {text}\n\n" for role, text in self.messages)


def run_chat(arguments: argparse.Namespace) -> int:
    """Answer what comes through the pipe, or talk until the end; 0."""
    chat = Chat(arguments, find_model(arguments.model))
    seed = new_seed() if arguments.seed is None else arguments.seed
    make_decoding(arguments, chat.listed, seed)  # before a model is loaded: it raises ValueError
    if not sys.stdin.isatty():
        answer_pipe(chat, seed)
        return 0
    about = chat.listed.about
    print(printable(f"{about.title}\nIt reads the last {about.context_length:,} tokens. /help lists the commands."))
    chat.speaker(chat.listed)
    with line_history():
        talk(chat)
    return 0


def make_decoding(arguments: argparse.Namespace, listed: Listed, seed: int) -> Decoding:
    """How tokens are chosen: as the command line says, else as suits the model."""
    own = listed.sampling
    return Decoding(
        arguments.max_bytes,
        own.temperature if arguments.temperature is None else arguments.temperature,
        arguments.top_k,
        own.top_p if arguments.top_p is None else arguments.top_p,
        arguments.repetition_penalty,
        seed,
    )


def answer_pipe(chat: Chat, seed: int) -> None:
    """Print the reply to all that comes through the pipe, and nothing else. Raises ValueError where nothing comes."""
    question = sys.stdin.read().strip()
    if not question:
        raise ValueError('nothing was asked: echo "What is overfitting?" | python -m llm chat scratch')
    for text in reply_texts(chat, chat.listed, [("user", question)], seed, []):
        print(text, end="", flush=True)
    print()


def talk(chat: Chat) -> None:
    """Ask, answer and obey until the end."""
    for line in typed_lines():
        if line == "/quit":
            return
        if line.startswith("/"):
            try:
                obey(line, chat)
            except (ValueError, OSError) as error:
                print(describe_error(error))
        else:
            answer(chat, line)


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


def answer(chat: Chat, question: str) -> None:
    """Print the reply to the question, and remember both."""
    chat.seed = new_seed() if chat.arguments.seed is None else chat.arguments.seed
    chat.messages.append(("user", question))
    chat.tokens = []
    text = print_reply(chat, chat.listed, chat.messages, chat.tokens)
    chat.messages.append(("assistant", text))


def print_reply(chat: Chat, listed: Listed, messages: list[tuple[str, str]], tokens: list[Token]) -> str:
    """Print the reply as it comes, and what it is; Ctrl-C ends it. Its tokens are added to `tokens`."""
    shown = ""
    with contextlib.suppress(KeyboardInterrupt):
        for text in reply_texts(chat, listed, messages, chat.seed, tokens):
            shown += text
            print(text, end="", flush=True)
    print(flush=True)
    return shown.strip()


def reply_texts(
    chat: Chat, listed: Listed, messages: list[tuple[str, str]], seed: int, tokens: list[Token]
) -> Iterator[str]:
    """The reply of a model piece by piece, fit for a terminal; its tokens are added to `tokens`."""
    decoding, begun = make_decoding(chat.arguments, listed, seed), False
    for token in stream_reply(chat.speaker(listed), make_prompt(messages), decoding):
        tokens.append(token)
        text = printable(token.text if begun else token.text.lstrip())
        begun = begun or bool(text)
        yield text


def obey(line: str, chat: Chat) -> None:
    """Do what a line that begins with / asks. Raises ValueError or OSError with a line that says what is wrong."""
    command, _, rest = line.partition(" ")
    if command == "/help":
        print(HELP)
    elif command == "/reset":
        chat.messages, chat.tokens = [], []
        print("a new conversation")
    elif command == "/why":
        print(explain(chat.tokens) or "there is no reply yet")
    elif command == "/compare":
        compare(chat)
    elif command == "/save":
        save(chat, rest.strip())
    else:
        raise ValueError(f"there is no {command}: /help lists the commands")


def compare(chat: Chat) -> None:
    """Print what the other models reply to the last question, after the same history. Raises ValueError."""
    asked = chat.messages[:-1]
    if not asked:
        raise ValueError("there is no question yet")
    others = [one for one in list_models() if one.about.name != chat.listed.about.name]
    if not others:
        raise ValueError("there is no other model: run `dvc repro` for all of them")
    for listed in others:
        print(printable(f"{listed.about.name}: {listed.about.title}"))
        print_reply(chat, listed, asked, [])


def save(chat: Chat, file: str) -> None:
    """Write the conversation into a new file.

    Raises ValueError without a name, FileExistsError for one that is there.
    """
    if not file:
        raise ValueError("name a file: /save talk.txt")
    if Path(file).exists():
        raise FileExistsError(f"{file} is there already: name another file")
    write_bytes(Path(file), chat.text().encode())
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
