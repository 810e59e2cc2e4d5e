import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llm.dialogue import Prompt
from llm.evaluation import kept_outputs
from llm.evaluation.ask import Generations, Likelihoods, Outputs
from llm.evaluation.eval_models import TRAINED
from llm.evaluation.exposure import OwnText, Planted
from llm.evaluation.items import EvaluateConfig, Sampling
from llm.evaluation.kept_outputs import KEPT, KeptOutputs, describe_asking
from llm.evaluation.scoring import EvalModel, Score
from llm.tokens.canaries import Canary
from tests.evaluation.test_ask import CONFIG, ITEMS
from tests.test_shape import import_closure

PLANTED = Planted([Canary("12 34", 4)], ["56 78"])
SCORES = [Score(-1 / 3, -0.1, 4), Score(-float("inf"), -1e-300, 7, 2, 5)]
OUTPUTS = Outputs(
    ITEMS,
    Likelihoods(SCORES, {"choice": SCORES[:1]}),
    Generations(["a\nb", ""], ["c"], ["é"], ["d"], ["and"]),
    SCORES,
    SCORES[1:],
    SCORES[:1],
)
BESIDE_THE_OUTPUTS = {f"llm/{name}.py" for name in ("__init__", "files", "ranges", "stats/bootstrap", "tokens/mixture")}


def common(items=ITEMS, planted=PLANTED, config=CONFIG, seed=1):
    return describe_asking(items, planted, config, seed, torch.device("cpu"))


@pytest.fixture
def model(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.safetensors").write_bytes(b"weights")
    return EvalModel("scratch", "tiny", TRAINED, lambda: None, (tmp_path / "weights",))


def kept(folder, asking=None):
    return KeptOutputs(folder / "kept", asking or common())


def test_what_is_kept_comes_back_to_the_last_digit(model, tmp_path):
    kept(tmp_path).save(model, OUTPUTS)
    assert kept(tmp_path).load(model, ITEMS) == OUTPUTS
    silent = replace(OUTPUTS, likelihoods=None, canaries=None, own_answers=None, english=None)
    kept(tmp_path).save(model, silent)
    assert kept(tmp_path).load(model, ITEMS) == silent


def test_other_weights_are_another_model(model, tmp_path):
    kept(tmp_path).save(model, OUTPUTS)
    (tmp_path / "weights/model.safetensors").write_bytes(b"weightz")  # of the same size
    assert kept(tmp_path).load(model, ITEMS) is None


def test_a_file_more_is_another_model(model, tmp_path):
    kept(tmp_path).save(model, OUTPUTS)
    (tmp_path / "weights/generation_config.json").write_text("{}", encoding="utf-8")
    assert kept(tmp_path).load(model, ITEMS) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"items": replace(ITEMS, examples=[replace(ITEMS.examples[0], reply="no."), *ITEMS.examples[1:]])},
        {"items": replace(ITEMS, quiz=ITEMS.quiz[:-1])},
        {"items": replace(ITEMS, shown=("Well?",))},
        {"items": replace(ITEMS, examples=[replace(ITEMS.examples[0], system="Be kind"), *ITEMS.examples[1:]])},
        {"items": replace(ITEMS, continued=ITEMS.examples[:1])},
        {"planted": replace(PLANTED, own=[OwnText("1", 0, Prompt(("",)), ["2"])])},
        {"planted": replace(PLANTED, alternatives=["56 79"])},
        {"config": replace(CONFIG, max_reply_bytes=CONFIG.max_reply_bytes + 1)},
        {"config": replace(CONFIG, sampling=replace(CONFIG.sampling, base=Sampling(0.8, 0.5)))},
        {"config": replace(CONFIG, sampled=CONFIG.sampled - 1)},
        {"config": replace(CONFIG, batch_tokens=CONFIG.batch_tokens + 1)},
        {"seed": 3},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_another_question_is_asked_anew(asked):
    assert common(**asked) != common()


def test_what_the_figures_alone_depend_on_asks_nothing_anew():
    assert isinstance(CONFIG, EvaluateConfig)
    assert common(config=replace(CONFIG, bootstrap=CONFIG.bootstrap + 1)) == common()


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(kept_outputs, "version", lambda name: "0"),
        lambda patch: patch.setattr(torch, "get_num_threads", lambda: 77),
        lambda patch: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX3"),
        lambda patch: patch.setenv("MKL_ENABLE_INSTRUCTIONS", "SSE4_2"),
    ],
    ids=["libraries", "threads", "processor", "kernels"],
)
def test_other_libraries_or_kernels_ask_anew(monkeypatch, change):
    before = common()
    change(monkeypatch)
    assert common() != before


def test_code_that_computes_something_else_asks_anew_and_a_comment_does_not(monkeypatch, tmp_path):
    before, source = common(), Path(kept_outputs.__file__).parent.parent / "inference/decoding.py"
    changed, text = tmp_path / "llm_changed.py", source.read_text(encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    names = [{"llm.inference.decoding": "llm_changed"}.get(name, name) for name in kept_outputs.ASKING]
    monkeypatch.setattr(kept_outputs, "ASKING", names)
    changed.write_text(text + "# a comment\n", encoding="utf-8")
    assert common() == before
    changed.write_text(text.replace("logits.argmax(1)", "logits.argmin(1)"), encoding="utf-8")
    assert common() != before


def test_all_code_that_asks_and_loads_is_part_of_the_key():
    code = {path for name in ("ask", "eval_models") for path in import_closure(f"llm.evaluation.{name}")}
    assert code - BESIDE_THE_OUTPUTS == {name.replace(".", "/") + ".py" for name in kept_outputs.ASKING}


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"sha256": "0", "outputs": "{}"}', b'{"sha256": "0", "outputs": 1}', b"[" * 100_000],
    ids=["empty", "cut short", "a list", "other checksum", "no text", "deep"],
)
def test_a_damaged_file_is_named_and_passed_over(model, tmp_path, caplog, damage):
    kept(tmp_path).save(model, OUTPUTS)
    (path,) = (tmp_path / "kept").glob("*.json")
    path.write_bytes(damage)
    assert kept(tmp_path).load(model, ITEMS) is None
    assert f"kept outputs {path} are damaged" in caplog.text
    kept(tmp_path).save(model, OUTPUTS)
    assert kept(tmp_path).load(model, ITEMS) == OUTPUTS


def test_one_changed_digit_is_damage(model, tmp_path):
    kept(tmp_path).save(model, OUTPUTS)
    (path,) = (tmp_path / "kept").glob("*.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.333", "0.334"), encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) and kept(tmp_path).load(model, ITEMS) is None


def test_what_a_killed_process_left_half_written_is_removed(model, tmp_path):
    half = tmp_path / "kept/.scratch-0123.json.tmp"
    half.parent.mkdir()
    half.write_bytes(b"half")
    kept(tmp_path).save(model, OUTPUTS)
    assert not half.exists()


def test_only_the_last_files_of_a_model_are_kept(model, tmp_path):
    other = replace(model, name="untrained")
    kept(tmp_path).save(other, OUTPUTS)
    for asking in ("1", "2", "3"):
        kept(tmp_path, asking).save(model, OUTPUTS)
    for number, path in enumerate(sorted((tmp_path / "kept").glob("scratch-*.json"), key=lambda p: p.stat().st_mtime)):
        os.utime(path, (number, number))
    assert kept(tmp_path, "1").load(model, ITEMS) == OUTPUTS  # used: no longer the oldest
    for asking in ("4", "5"):
        kept(tmp_path, asking).save(model, OUTPUTS)
    assert len(list((tmp_path / "kept").glob("scratch-*.json"))) == KEPT
    assert [kept(tmp_path, asking).load(model, ITEMS) is None for asking in "12345"] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert kept(tmp_path).load(other, ITEMS) == OUTPUTS
