import os
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest

from stages.check_params import Params, check_layout
from stages.params import load, read_params
from stages.preset import PRESETS, render


@pytest.fixture
def params(tmp_path, repository, monkeypatch):
    """A params.yaml of its own: the preset `laptop`, its length counted in steps."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_bytes((repository / "presets/laptop.yaml").read_bytes())
    for line in ("epochs: null", "max_steps: 800"):
        change(path, "train", line)
    return path


def change(path, section, line, key=None):
    """Replace the section's first line of this key, or add the line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"{section}:") if section else -1
    indent = "  " if section else ""
    key = key or line.split(":")[0]
    for i in range(start + 1, len(lines)):
        if lines[i].startswith(f"{indent}{key}:"):
            lines[i] = indent + line
            break
    else:
        lines.insert(start + 1, indent + line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_check(repository):
    return subprocess.run(
        [sys.executable, "-m", "stages.check_params"],
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", ["laptop", "lesson", "coursework", "coursework-best", "coursework-rehearsal", "smoke"])
def test_every_preset_is_valid(name, params, repository):
    params.write_text(render(name, repository / PRESETS), encoding="utf-8")
    load("", Params, params)


def test_the_marker_is_the_same_after_every_valid_change(params, repository, tmp_path):
    written = set()
    for value in ("1.0e-3", "1e-05", "3e-4", "1"):
        change(params, "train", f"lr: {value}")
        started = time.monotonic()
        checked = run_check(repository)
        assert checked.returncode == 0, checked.stderr
        assert time.monotonic() - started < 30  # 5 s on an idle machine of two cores; others may work here too
        written.add((tmp_path / "data/params_checked").read_bytes())
    assert len(written) == 1


def test_a_refusal_is_one_line_and_writes_no_marker(params, repository, tmp_path):
    change(params, "train", "lr: abc")
    checked = run_check(repository)
    assert checked.returncode == 1
    (line,) = checked.stderr.splitlines()
    assert "check_params failed: train.lr is 'abc', a text, allowed: a number;" in line
    assert "; params.yaml still holds this: correct it there; the traceback is in logs/check_params.log" in line
    assert not (tmp_path / "data/params_checked").exists()


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("train", "lr: null", "train.lr is null, allowed: a number"),
        ("train", "lr: true", "train.lr is true, allowed: a number"),
        ("train", "lr: 0", "train.lr is 0.0, allowed: 1e-09 to 10.0"),
        ("train", "lrr: 1", "train.lrr (now 1, a whole number) is not a parameter, did you mean train.lr?"),
        ("train", "epochs: 3", "train.epochs is 3, max_steps is 800, budget_s is None: exactly one must be a number"),
        ("train", "max_steps: null", "train.epochs is None, max_steps is None, budget_s is None: exactly one"),
        ("train", "budget_s: 60", "train.epochs is None, max_steps is 800, budget_s is 60.0: exactly one"),
        ("train", "ema: 1.0", "train.ema is 1.0, allowed: 0.0 to 0.999999"),
        ("train", "micro_batch: 97", " is not a multiple of micro_batch 97"),
        (
            "train",
            "optimizer: adam",
            "train.optimizer is 'adam', a text, allowed: adamw, muon, normuon; did you mean adamw?",
        ),
        ("model", "n_head: 97", " is not a multiple of n_head 97"),
        ("tokenize", "vocab_size: 65536", "tokenize.vocab_size is 65536, allowed: 261 to 65535"),
        ("canaries", "own: 5550199", "canaries.own is of another type (not shown), allowed: a list, each entry a text"),
        ("canaries", "own: [5550199]", "canaries.own[0] is of another type (not shown), allowed: a text"),
        ("canaries", "own: ['7-7']", "canaries.own[0] has 99 variations (other digits, other letters a to z), "),
        ("clean", "val_share: 0.95", "clean.val_share is 0.95, allowed: 0.001 to 0.4"),
        ("", "device: gpu", "device is 'gpu', a text, allowed: auto, cpu, cuda, mps"),
        ("", "seed: -1", "seed is -1, allowed: 0 to "),
        ("", "data_seed: -1", "data_seed is -1, allowed: 0 to "),
        ("", "lr: 1e-4", "lr (now 0.0001, a number) is not a parameter, known: seed, data_seed, device"),
        ("", "trian: {}", "trian (now a section) is not a parameter, did you mean train?"),
        ("evaluate", "max_reply_bytes: 0", "evaluate.max_reply_bytes is 0, allowed: 1 to"),
        ("evaluate", "literacy_questions: 0", "evaluate.literacy_questions is 0, allowed: 1 to "),
        ("evaluate", "truthfulqa_questions: -1", "evaluate.truthfulqa_questions is -1, allowed: 0 to "),
        ("evaluate", "truthfulqa_questions: 60", "evaluate.truthfulqa_questions is 60, clean.truth_data is null: name"),
        ("clean", "truth_data_sha256: abc", "clean.truth_data_sha256 is given, truth_data is null: name"),
        ("finetune", "context_length: 8193", "finetune.context_length 8193 is more than the 8192 positions of"),
    ],
)
def test_a_bad_value_is_refused(section, line, message, params):
    change(params, section, line)
    with pytest.raises(ValueError) as caught:
        load("", Params, params)
    assert message in str(caught.value)


HUB = "hub: {location: a/b, config: null, revision: main, split: train, licence: MIT, columns: COLUMNS}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("limit: 600", "limit: 0", "download.mine.limit is 0, allowed: 1 to 1800000"),
        ("limit: 600", "limits: 600", "download.mine.limits (now 600, a whole number) is not a parameter, did you "),
        ("limit: 600", "limit: x", "download.mine.limit is 'x', a text, allowed: a whole number"),
        ("limit: 600", "", "download.mine.limit is missing, allowed: a whole number"),
        ("a.zip", "7", "download.mine.cornell.location is 7, a whole number, allowed: a text"),
        ("location", "locaton", "did you mean download.mine.cornell.location?"),
        ("sha256: null", "sha256: x", "download.mine.cornell.sha256 is x, allowed: 64 hexadecimal digits"),
        ("cornell: {", "cornel: {", "download.mine.cornel (now a section) is not a parameter, did you mean "),
        ("cornell: {", "eli5: {", "download.mine.eli5.sha256 (now null) is not a parameter, known: "),
        ("providers: [cornell]", "providers: [docs]", "download.mine.docs is missing: who names the provider "),
        ("providers: [cornell]", "providers: [films]", "download.mine.providers is ['films'], allowed: chitchat"),
        ("cornell: {location: a.zip, sha256: null}", HUB.replace("COLUMNS", "[a]"),
         "download.mine.hub.columns is a list, allowed: a section whose entries are each a text or null"),
        ("cornell: {location: a.zip, sha256: null}", HUB.replace("COLUMNS", "{prompt: 1}"),
         "download.mine.hub.columns.prompt is 1, a whole number, allowed: a text"),
        ("  mine:", "  Mine:", "download has the source 'Mine', allowed: names of 1 to 40 lower-case letters"),
    ],
)  # fmt: skip
def test_a_bad_source_is_refused_by_its_name(params, old, new, message):
    source = "  mine:\n    providers: [cornell]\n    fallback: false\n    limit: 600\n"
    source += "    cornell: {location: a.zip, sha256: null}\n"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("\ndownload:\n", f"\ndownload:\n{source}"), encoding="utf-8")
    assert load("", Params, params).download["mine"].limit == 600
    assert old in source
    params.write_text(text.replace("\ndownload:\n", f"\ndownload:\n{source.replace(old, new)}"), encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        load("", Params, params)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", ["{}", "[dialogue]", "null", "dialogue"])
def test_download_holds_a_source_or_more(params, value):
    text = params.read_text(encoding="utf-8")
    start, end = text.index("download:\n"), text.index("\nclean:")
    params.write_text(f"{text[:start]}download: {value}\n{text[end:]}", encoding="utf-8")
    check_layout(read_params(params))
    with pytest.raises(ValueError, match=r"^download is (empty|a list|null|'dialogue'), .*allowed: "):
        load("", Params, params)


def test_the_layout_before_ends_in_one_line_that_says_how_it_is_written_now(params, repository):
    text = params.read_text(encoding="utf-8")
    start, end = text.index("    cornell:\n"), text.index("  eli5: ")
    old = "    cornell_location: a.zip\n    cornell_sha256: null\n"
    params.write_text(text[:start] + old + text[end:], encoding="utf-8")
    checked = run_check(repository)
    (line,) = checked.stderr.splitlines()
    assert "download.dialogue.cornell_location is written download.dialogue.cornell.location now" in line
    assert "python -m stages.preset laptop" in line


@pytest.mark.parametrize("line", ["own: 5550199", "own: [5550199]", "own: ['19']"])
def test_no_message_repeats_a_text_that_shall_be_private(line, params):
    change(params, "canaries", line)
    with pytest.raises(ValueError, match=r"canaries\.own") as caught:
        load("", Params, params)
    message = str(caught.value).replace(str(params), "").replace("1,023", "")
    assert "19" not in message


def test_a_replaced_section_is_refused(params):
    text = params.read_text(encoding="utf-8")
    start, end = text.index("train:\n"), text.index("\nbase:")
    params.write_text(f"{text[:start]}train: fast\n{text[end:]}", encoding="utf-8")
    with pytest.raises(ValueError, match="train is 'fast', a text, allowed: a section with the keys optimizer, lr"):
        load("", Params, params)


def test_a_missing_section_is_refused(params):
    text = params.read_text(encoding="utf-8")
    start, end = text.index("train:\n"), text.index("\nbase:")
    params.write_text(text[:start] + text[end:], encoding="utf-8")
    with pytest.raises(ValueError, match=r"train is missing, allowed: a section with the keys optimizer, lr"):
        load("", Params, params)


def test_nf4_without_cuda_is_refused(params):
    change(params, "", "device: cpu")
    change(params, "finetune", "quantize: nf4")
    with pytest.raises(ValueError, match=r"finetune.quantize nf4 needs CUDA"):
        load("", Params, params)


@pytest.mark.parametrize(
    ("processes", "section", "line", "message"),
    [
        (3, "train", "batch_size: 32", r"train\.batch_size 32 is not a multiple of launch\.processes .*, 3;"),
        (2, "finetune", "quantize: nf4", r"nf4 cannot be spread over processes: set launch\.shard to false"),
        (2, "finetune", "  optimizer: muon", r"muon works on whole matrices: set finetune\.train\.optimizer"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(params, processes, section, line, message):
    change(params, section, line)
    load("", Params)
    change(params, "launch", f"processes: {processes}")
    with pytest.raises(ValueError, match=message):
        load("", Params)


def test_the_whole_file_is_described_by_the_dataclasses_that_the_stages_load():
    sections, found = [("", Params)], {}
    while sections:
        prefix, cls = sections.pop()
        for field in fields(cls):
            hint = get_type_hints(cls)[field.name]
            found[f"{prefix}{field.name}"] = hint
            if is_dataclass(hint):
                sections.append((f"{prefix}{field.name}.", hint))
    from tests.test_shape import configs  # what a stage loads, by section

    assert {name: found[name] for name, _ in configs() if "*" not in name} == {
        name: cls for name, cls in configs() if "*" not in name
    }
