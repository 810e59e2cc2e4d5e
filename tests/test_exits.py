"""Every place where words of strangers or of models leave the project: shown as text there, whatever they hold."""

import argparse
import csv
import html
import io
import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llm.__main__ import main
from llm.app.chat import Chat, talk
from llm.app.markdown import Section, code_span
from llm.app.model_card import TrainedModel, model_card
from llm.app.parameters import all_parameters
from llm.app.quote import quote
from llm.app.recorded import subtitles
from llm.app.report_html import html_page
from llm.app.script import Chapter, Episode, Line, read_script, script_markdown
from llm.app.speech import Recording, Spoken
from llm.app.streamed_reply import Alternative, Token
from llm.app.terminal import explain
from llm.corpus.questions import Question
from llm.evaluation.data_card import data_card
from llm.evaluation.figure_files import show_text
from llm.evaluation.result_table import own_data_note
from llm.evaluation.samples_page import samples_markdown
from llm.failures import PlainFormatter, describe_error, log_traceback, printable
from llm.hub.modelfile import stop_texts
from llm.inference.replies import Reply
from llm.runs.audit import audit_table, of_cell
from stages.logs import run_stage
from tests.evaluation.test_data_card import served, source
from tests.evaluation.test_samples_page import PAGE
from tests.hostile import HOSTILE, steering
from tests.runs.test_audit import run as answered

ENORMOUS = "<b>\x1b[2J " * 100_000  # 1 MB in one line; 10 MB were tried once, in four minutes
each = pytest.mark.parametrize(
    "text",
    [*HOSTILE.values(), pytest.param(ENORMOUS, marks=pytest.mark.slow)],
    ids=[*HOSTILE.keys(), "1 MB"],
)


def rendered(markdown: str) -> str:
    """The Markdown as a part of the report."""
    return html_page("Report", "", [Section("Part", markdown)], {})


def is_only_text(page: str) -> bool:
    """Whether the page has no markup of a stranger's: no script, no picture, no link elsewhere."""
    body = page.partition("</style>")[2]
    return not any(mark in body for mark in ("<script", "<img", 'href="https', "onerror=alert(2)>"))


@each
def test_a_terminal_shows_a_reply_and_is_not_steered(text: str) -> None:
    assert steering(printable(text)) == []
    alternative = Alternative(1, text, -0.5, False)
    assert steering(explain([Token(1, text, -0.5, (alternative,))])) == []


@each
def test_an_error_is_one_line_however_long_and_odd_the_text_that_it_names(text: str) -> None:
    for error in (ValueError(f"x {text}"), OSError(f"x {text}"), KeyError(text)):
        line = describe_error(error)
        assert steering(line) == [] and "\n" not in line and len(line) < 5000


@each
def test_a_log_on_the_console_and_in_its_file_steers_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail() -> None:
        logging.getLogger("llm.x").warning("read %s", text)
        raise RuntimeError(text)

    with pytest.raises(SystemExit):
        run_stage("clean", fail)
    written = Path("logs/clean.log").read_text(encoding="utf-8")
    assert "Traceback" in written
    assert steering(capsys.readouterr().err) == steering(written) == []


@each
def test_a_traceback_in_the_log_of_commands_steers_nothing(text: str, tmp_path: Path) -> None:
    log_traceback(RuntimeError(text), tmp_path / "llm.log")
    assert steering((tmp_path / "llm.log").read_text(encoding="utf-8")) == []


def test_the_commands_log_as_the_stages_do(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    main(["judge-audit", "nothing.csv"])
    assert [type(handler.formatter) for handler in root.handlers] == [PlainFormatter]


@each
def test_check_data_prints_columns_and_roles_of_strangers_as_text(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    rows: list[dict[str, Any]] = [{"messages": turns, "id": 1}] * 9
    rows += [{"messages": [{"role": text, "content": "x"}, *turns]}]
    (tmp_path / "own.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (tmp_path / "other.csv").write_text(f'"{text[:99]}",y\n1,2\n', encoding="utf-8", errors="replace")
    for name in ("own.jsonl", "other.csv"):
        main(["check-data", str(tmp_path / name)])
        told = capsys.readouterr()
        assert steering(told.out + told.err) == []


def test_a_file_whose_name_is_no_text_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(f"{tmp_path}/\udcff\x1b[2J.jsonl")
    path.write_text('{"question": "Why?", "answer": "So."}\n' * 9, encoding="utf-8")
    assert main(["check-data", str(path)]) == 0
    assert steering(capsys.readouterr().out) == []


@each
def test_a_command_of_the_chat_that_fails_says_so_as_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(argparse.Namespace(), None)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm.app.chat.typed_lines", lambda: iter([f"/{text}", "/quit"]))
        talk(chat)
    assert steering(capsys.readouterr().out) == []


@each
def test_samples_show_replies_prompts_and_names_as_text(text: str) -> None:
    said = [Reply(text, True)] * len(PAGE.models[0].greedy)
    models = [replace(PAGE.models[0], greedy=said, real_name=text), *PAGE.models[1:]]
    page = samples_markdown(replace(PAGE, prompts=[text, *PAGE.prompts[1:]], models=models))
    assert steering(page) == [] and page.encode()
    assert is_only_text(rendered(page))
    n_lines = samples_markdown(PAGE).count("\n")
    assert page.count("\n") == n_lines


@each
def test_a_text_in_a_cell_stays_in_it_and_is_shown_to_the_letter(text: str) -> None:
    shown = rendered(f"| a | b |\n|---|---|\n| {show_text(text)} | end |\n")
    assert is_only_text(shown)
    cells = shown.count("<td") + shown.count('<th scope="row"')
    assert cells == 2
    if text == HOSTILE["script"]:
        assert html.escape(text) in shown


@each
def test_the_data_card_shows_names_of_files_licences_and_reasons_as_text(text: str) -> None:
    mine = served("local", text, text, rows=100)
    data = {
        "sources": {"own": source(100)},
        "provenance": {"own": {"served": [mine], "failed": [{"provider": "cornell", "reason": text}]}},
        "tokenizer": {"splits": {"train": {"tokens": {"own": 1500, "all": 2000}}}},
        "leaks": {"after_gate": {"train_leaking": 0.0}},
        "held_out_texts": {"quiz": 1},
    }
    page = data_card(data, {"own": 30})
    assert steering(page) == [] and is_only_text(rendered(page))
    assert steering(own_data_note(data["provenance"], ["own"])) == []


@each
def test_a_model_card_shows_what_the_base_model_says_of_itself_as_text(text: str) -> None:
    base = {"name": text, "source": text, "licence": text, "revision": None}
    data = {"provenance": {"own": {"served": [{"provider": "local", "location": text, "licence": text, "used": 1}]}}}
    card = model_card(TrainedModel("mistral", f"{text}, fine-tuned", base, data, None), "whole")
    assert steering(card.text) == [] and card.text.encode()
    assert is_only_text(rendered(card.text))


@each
def test_the_report_shows_parameters_as_text(text: str) -> None:
    page = all_parameters({"download": {"mine": {"location": text}}})
    assert steering(page) == [] and is_only_text(rendered(page)) and code_span(text).count("\n") == 0


@each
def test_a_title_of_the_report_is_text(text: str) -> None:
    page = html_page(text, "", [Section(f"Beside {text}", "", [(text, "x")])], {})
    assert is_only_text(page)


@each
def test_a_quote_of_an_episode_is_a_line_that_nobody_else_speaks(text: str) -> None:
    said = quote(text + " word **Host:** no")
    assert steering(said.text) == []
    episode = Episode("An episode", [Chapter("One", [Line("Pip", said.text)])])
    found = read_script(script_markdown(episode))
    assert found.speakers == ["Pip"] and len(found.chapters[0].lines) == 1


@each
def test_a_subtitle_holds_no_markup_of_a_reply(text: str) -> None:
    said = quote(text + " word").text
    cues = subtitles(Recording(np.zeros(9, np.float32), [Spoken(Line("Pip", said), 0.0, 1.0)], []))
    assert "<script" not in cues and cues.count("-->") == 1


@each
def test_a_spreadsheet_computes_nothing_that_a_model_wrote(text: str) -> None:
    run = answered([f"{text} It is so, yes."] * 60)
    asked = Question("q", "a", text or "?", ("yes",), ("no", text or "n"))
    run = replace(run, items=replace(run.items, truth=[asked]))
    rows = list(csv.DictReader(io.StringIO(audit_table({"base": run}, 1).decode(errors="replace"), newline="")))
    for row in rows:
        assert not any((row[name] or "x")[0] in "=+-@\t\r" for name in ("question", "answer", "correct", "incorrect"))
        assert "\ud83d" in text or of_cell(row["answer"]) == f"{text} It is so, yes.".replace("\r", "\n")


@pytest.mark.parametrize("token", ['"\nADAPTER /etc/passwd', "a\x1b[2J", 'a"b'])
def test_a_token_cannot_write_a_line_into_a_modelfile(token: str) -> None:
    ends: Any = SimpleNamespace(
        network=SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=2)),
        tokenizer=SimpleNamespace(convert_ids_to_tokens=lambda _: token),
    )
    with pytest.raises(ValueError, match="cannot stand in a Modelfile"):
        stop_texts(ends)
