import contextlib
import os
import pty
import signal
import subprocess
import sys

import pytest

from llm.__main__ import main, make_parser
from llm.app import chat as chat_module
from llm.app.catalogue import find_model
from llm.app.chat import Chat, talk
from llm.dialogue import Prompt
from tests.app.served import wait_until
from tests.app.test_batch import GREEDY, evaluation_model


@pytest.fixture
def project(models, tmp_path, monkeypatch):
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def type_lines(monkeypatch, *lines):
    """Let these be typed, one after another; an exception is what a key raises."""
    typed = iter(lines)

    def read(prompt):
        line = next(typed, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", read)


def converse(monkeypatch, *lines, options=()):
    """The conversation that came of it."""
    type_lines(monkeypatch, *lines)
    arguments = make_parser().parse_args(["chat", "scratch", *options])
    chat = Chat(arguments, find_model("scratch"))
    talk(chat)
    return chat


def run_piped(repository, project, *words, asked="Why?"):
    return subprocess.run(
        [sys.executable, "-m", "llm", "chat", *words],
        cwd=project, input=asked, capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )  # fmt: skip


def test_a_pipe_gets_the_reply_alone(repository, project, models):
    done = run_piped(repository, project, "scratch", "--temperature", "0", "--max-bytes", "60")
    how = type(GREEDY)(60, 0.0, 0, 1.0, 1.0, 1)
    (expected,) = evaluation_model(models, "scratch").generate([Prompt(("Why?",))], how)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.strip() == chat_module.printable(expected.text).rstrip("\ufffd").rstrip()


def test_a_pipe_without_a_question_is_told_how_to_ask(repository, project):
    done = run_piped(repository, project, asked="\n")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == 'nothing was asked: echo "What is overfitting?" | python -m llm chat scratch\n'


def test_a_model_that_is_missing_says_what_to_run(repository, project):
    done = run_piped(repository, project, "mistral")
    assert done.returncode == 1
    assert done.stderr == "models/mistral/tandem.json is missing: run `dvc repro finetune_mistral` first\n"


@pytest.mark.parametrize(
    ("option", "line"),
    [("--temperature=-1", "temperature is -1"), ("--top-p=2", "top_p is 2"), ("--max-bytes=0", "max_reply_bytes is 0")],
)
def test_a_wrong_option_is_named(project, capsys, option, line):
    assert main(["chat", "scratch", option]) == 1
    assert line in capsys.readouterr().err


def test_the_model_reads_the_whole_conversation(project, monkeypatch, capsys, models):
    chat = converse(monkeypatch, "Why?", "", "So?", options=("--temperature", "0", "--max-bytes", "20"))
    assert [role for role, _ in chat.messages] == ["user", "assistant"] * 2
    history = tuple(text for _, text in chat.messages[:3])
    (expected,) = evaluation_model(models, "scratch").generate([Prompt(history)], type(GREEDY)(20, 0.0, 0, 1.0, 1.0, 1))
    assert chat.messages[3][1] == chat_module.printable(expected.text).rstrip("\ufffd").rstrip()


def test_each_reply_is_drawn_anew_unless_a_seed_is_named(project, monkeypatch, capsys):
    free = [converse(monkeypatch, "Why?", options=("--temperature", "2")).messages[1] for _ in range(4)]
    fixed = [converse(monkeypatch, "Why?", options=("--temperature", "2", "--seed", "3")).messages[1] for _ in "ab"]
    assert len(set(free)) > 1 and len(set(fixed)) == 1


def test_compare_asks_the_other_models_the_same(project, monkeypatch, capsys):
    chat = converse(monkeypatch, "/compare", "Why?", "/compare", options=("--max-bytes", "20"))
    shown = capsys.readouterr().out
    assert shown.startswith("there is no question yet\n")
    assert shown.count("base: tiny Mistral of random weights") == 1
    assert set(chat.speakers) == {"scratch", "base"} and len(chat.messages) == 2


def test_why_explains_the_last_reply(project, monkeypatch, capsys):
    chat = converse(monkeypatch, "/why", "Why?", "/why", options=("--max-bytes", "20", "--temperature", "0"))
    shown = capsys.readouterr().out
    assert shown.startswith("there is no reply yet\n")
    assert shown.count("%") >= 6 * len(chat.tokens) > 0


def test_reset_forgets_and_save_keeps(project, monkeypatch, capsys):
    chat = converse(monkeypatch, "Why?", "/save talk.txt", "/save talk.txt", "/save", "/reset", "/nothing", "/help")
    assert (project / "talk.txt").read_text(encoding="utf-8").startswith("you: Why?\n\nscratch: ")
    assert chat.messages == []
    shown = capsys.readouterr().out
    for line in ("talk.txt is there already", "name a file: /save talk.txt", "there is no /nothing", "/why  "):
        assert line in shown


@pytest.mark.parametrize("last", ["/quit", KeyboardInterrupt(), EOFError()])
def test_the_end_is_a_word_or_a_key(project, monkeypatch, capsys, last):
    assert converse(monkeypatch, last, "Why?").messages == []


def test_ctrl_c_ends_a_reply_and_what_was_said_stays(project, monkeypatch, capsys):
    stream = chat_module.stream_reply

    def interrupted(*arguments):
        tokens = stream(*arguments)
        yield next(tokens)
        raise KeyboardInterrupt

    monkeypatch.setattr(chat_module, "stream_reply", interrupted)
    chat = converse(monkeypatch, "Why?", "So?", options=("--temperature", "0"))
    assert len(chat.tokens) == 1 and len(chat.messages) == 4


def test_a_terminal_gets_title_prompt_and_an_end_by_ctrl_c(repository, project):
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "llm", "chat", "scratch", "--max-bytes", "20", "--temperature", "0"],
        cwd=project, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(repository), "TERM": "dumb"},
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = b""

    def has(n):
        nonlocal shown
        with contextlib.suppress(OSError):
            shown += os.read(ours, 65536)
        return shown.count(b"> ") >= n

    def ended():  # a first Ctrl-C may still meet the reply, which it then ends
        command.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(2)
        return command.poll() is not None

    wait_until(lambda: has(1), 60)
    os.write(ours, b"Why?\n")
    wait_until(lambda: has(2), 60)
    wait_until(ended, 60)
    assert command.returncode == 0
    os.close(ours)
    assert b"trained here from scratch" in shown and b"Traceback" not in shown
    assert (project / ".chat_history").read_text(encoding="utf-8") == "Why?\n"


def test_the_command_line_knows_the_chat(project, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", open(os.devnull, encoding="utf-8"))  # noqa: SIM115
    with sys.stdin:
        assert main(["chat"]) == 1
    assert "nothing was asked" in capsys.readouterr().err
