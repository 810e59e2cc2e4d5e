"""What a stage that failed says of inputs that were damaged."""

import pytest

from stages.logs import run_stage
from stages.recorded import advise

PIPELINE = """
stages:
  tokenize: {cmd: "-", outs: [data/tokens, data/summary.json]}
  train: {cmd: "-", deps: [data/tokens, code], outs: [models/scratch]}
  read: {foreach: [a], do: {cmd: "-", deps: [data/summary.json], outs: ["data/raw/${item}"]}}
"""
# What DVC wrote of a folder with `ids` (hello) and `tokenizer.json` ({}), and of the file (1).
LOCK = """
schema: '2.0'
stages:
  tokenize:
    cmd: '-'
    outs:
    - {path: data/summary.json, hash: md5, md5: c4ca4238a0b923820dcc509a6f75849b, size: 1}
    - {path: data/tokens, hash: md5, md5: 54e845df1eaf343190715322c0d05b5e.dir, size: 7, nfiles: 2}
"""


@pytest.fixture(autouse=True)
def made(tmp_path, monkeypatch):
    """A folder where one stage has run."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "dvc.yaml": PIPELINE,
        "dvc.lock": LOCK,
        "data/tokens/ids": "hello",
        "data/tokens/tokenizer.json": "{}",
        "data/summary.json": "1",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_inputs_as_they_were_made_are_not_to_blame():
    assert advise("train") == advise("read") == ""


@pytest.mark.parametrize("content", ["hell", "hellO", None])
def test_a_damaged_input_is_named_with_what_to_do(made, content):
    path = made / "data/tokens/ids"
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    assert advise("train") == "; damaged since it was made: data/tokens (run `dvc repro`)"
    assert advise("read") == ""  # it reads another file


def test_the_line_of_a_failed_stage_names_it(made, capsys):
    (made / "data/summary.json").write_text("", encoding="utf-8")

    def fail():
        raise ValueError("Expecting value")

    with pytest.raises(SystemExit):
        run_stage("read", fail)
    assert (
        "read failed: Expecting value; damaged since it was made: data/summary.json (run `dvc repro`)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml"])
@pytest.mark.parametrize("text", ["", "[1", "stages: 1", None])
def test_where_nothing_is_recorded_nothing_is_said(made, name, text):
    (made / "data/summary.json").unlink()
    (made / name).unlink() if text is None else (made / name).write_text(text, encoding="utf-8")
    assert advise("read") == ""
