"""TruthfulQA through the stage evaluate: from a csv to figures, and the same figures on the published file."""

import json
import re
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from llm.__main__ import main as main_of_llm
from llm.corpus.questions import draw_questions
from llm.corpus.truthfulqa import read_truthfulqa
from llm.evaluation.ask import ask_likelihoods
from llm.evaluation.baselines import NgramScorer
from llm.evaluation.eval_models import MODEL_NAMES
from llm.evaluation.figure_files import read_csv
from llm.evaluation.items import EvalItems
from llm.evaluation.measure import choice_tables
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scratch_model import ScratchModel
from llm.models.registry import build_model, load_gpt
from llm.runs.output_rows import read_output_rows
from llm.runs.packed import ITEM_TEXTS
from llm.runs.run_files import read_evaluate
from llm.tokens.packing import open_corpus
from llm.tokens.tokenizer import TokenizerConfig, load_tokenizer, train_tokenizer
from stages.evaluate import draw_items, main, read_held_out_truthfulqa
from tests.stages.test_evaluate import EVALUATE, SHAPE, SPREADS, read, write_data, write_models
from tests.truthful_answers import figures, read_table, unigram, write_table

CSV = "data/clean/TruthfulQA.csv"
CONFIG = read_evaluate(EVALUATE)
LONG = replace(SHAPE, context_length=256)  # a question and an answer in one window
LIKELY = {"scratch", "untrained", "ngram5", "unigram", "base", "mistral"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder where the stage has run on data that hold TruthfulQA out."""
    folder = tmp_path_factory.mktemp("project")
    params = {
        "seed": 1, "data_seed": 1, "device": "cpu", "clean": {"min_test_dialogues": 3},
        "canaries": {"alternatives": 15, "own": []}, "evaluate": EVALUATE, "compare": {"seeds": 5, "seed_sd": SPREADS},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        patch.setattr("tests.stages.test_evaluate.SHAPE", LONG)
        write_models(write_data())
        write_table(folder / CSV)
        main()
    return folder


@torch.inference_mode()
def plain_logprob(gpt, tokenizer, question, answer):
    """Sum of the answer's log-probabilities after the question, one token a forward pass."""
    ids, total = list(tokenizer.encode_prompt((question,))), 0.0
    for token in tokenizer.encode(answer):
        logits = gpt.hidden(torch.tensor([ids]))[0, -1] @ gpt.head.T
        total += float(logits.double().log_softmax(-1)[token])
        ids.append(token)
    return total


def test_each_model_that_can_choose_has_the_figures_and_the_others_null(project):
    for name in MODEL_NAMES:
        values = read(project, name)["truthfulqa"]
        assert set(values) == {"mc1", "mc1_per_byte", "mc2", "chance"}
        assert {value is None for value in values.values()} == {name not in LIKELY}, name
        assert read(project, name)["n"]["truthfulqa"] == 4


def test_blind_choice_is_the_mean_over_the_questions(project):
    # of 3, 2, 1 and 4 incorrect answers
    assert read(project, "scratch")["truthfulqa"]["chance"] == round((1 / 4 + 1 / 3 + 1 / 2 + 1 / 5) / 4, 4)


def test_the_unigram_s_figures_follow_from_the_tokens_counts(project):
    tokenizer = load_tokenizer(project / "models/scratch/tokenizer.json")
    logprob = unigram(
        open_corpus(project / "data/tokens", "train").ids.tolist(), tokenizer.vocab_size, tokenizer.encode
    )
    found = figures(read_table(project / CSV), logprob)
    assert read(project, "unigram")["truthfulqa"] == pytest.approx(found, abs=5.1e-5)  # rounded to four digits


def test_the_network_s_figures_follow_from_one_token_at_a_time(project):
    tokenizer = load_tokenizer(project / "models/scratch/tokenizer.json")
    logprob = partial(plain_logprob, load_gpt(project / "models/scratch"), tokenizer)
    found = figures(read_table(project / CSV), logprob)
    assert read(project, "scratch")["truthfulqa"] == pytest.approx(found, abs=5.1e-5)


def test_details_hold_intervals_and_the_categories(project):
    found = read(project, "detail/scratch")["truthfulqa"]
    assert set(found) == {"all", "Myths", "Numbers"}
    every = found["all"]["mc2"]
    assert every["low"] < every["value"] < every["high"]
    assert found["Myths"]["mc2"]["low"] is None  # two questions are too few for an interval
    parts = [found[area]["mc2"]["value"] for area in ("Myths", "Numbers")]
    assert every["value"] == pytest.approx(sum(parts) / 2, abs=1.1e-4)
    assert read(project, "detail/compressor")["truthfulqa"] == {}
    assert 0 <= read(project, "detail/surface")["truthfulqa"]["accuracy"] <= 1


def test_every_answer_has_a_row_and_every_figure_follows_from_the_rows(project, monkeypatch, capsys):
    rows = read_output_rows(project / "metrics/scores.jsonl")
    assert len(rows["scratch"]["truthfulqa_answer"]) == 20  # 10 correct ones and 10 incorrect
    assert [row["id"] for row in rows["scratch"]["truthfulqa_question"]] == [
        question.id for question in draw_questions(read_truthfulqa(project / CSV), None, 1)
    ]
    monkeypatch.chdir(project)
    assert main_of_llm(["rescore", "--out", "again"]) == 0
    assert capsys.readouterr().out.count("every figure equal") == len(MODEL_NAMES)
    for name in MODEL_NAMES:
        again = json.loads((project / f"again/{name}.json").read_text(encoding="utf-8"))
        assert again["truthfulqa"] == read(project, name)["truthfulqa"]


def test_models_are_compared_question_by_question(project, monkeypatch, capsys):
    lines = read(project, "detail/compare")["scratch - ngram5"]["lines"]
    values = [read(project, name)["truthfulqa"] for name in ("scratch", "ngram5")]
    for measure in ("mc1", "mc1_per_byte", "mc2"):
        found = lines[f"truthfulqa.{measure}"]
        assert found["difference"] == pytest.approx(values[0][measure] - values[1][measure], abs=1.1e-4)
    assert (lines["truthfulqa.mc1"]["test"], lines["truthfulqa.mc2"]["test"]) == ("McNemar, exact", "paired bootstrap")
    monkeypatch.chdir(project)
    assert main_of_llm(["compare", "scratch", "base"]) == 0
    page = capsys.readouterr().out
    assert re.search(r"^truthfulqa\.mc1 .* \(McNemar, exact\) ", page, re.MULTILINE)
    assert "3 truth, 4 truthfulqa that all runs share" in page


def test_other_questions_than_those_asked_are_refused(project, tmp_path, monkeypatch, capsys):
    for part in ("data", "models/judge", "metrics"):
        shutil.copytree(project / part, tmp_path / part)
    items = tmp_path / ITEM_TEXTS
    text = items.read_text(encoding="utf-8")
    items.write_text(text.replace("Gold pulls", "Gold draws"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main_of_llm(["rescore"]) == 1
    assert "is another text in the items than the one that was evaluated" in capsys.readouterr().err
    without = [line for line in text.splitlines(keepends=True) if '"truthfulqa/' not in line]
    items.write_text("".join(without), encoding="utf-8")
    assert main_of_llm(["rescore"]) == 1
    assert "the items have no question truthfulqa/" in capsys.readouterr().err


def test_the_plot_s_table_has_a_line_for_each_model_that_chose(project):
    rows = [row for row in read_csv(project / "metrics/plots/choice.csv") if row["area"] == "TruthfulQA"]
    assert {row["model"] for row in rows} == LIKELY
    detail = read(project, "detail/base")["truthfulqa"]["all"]
    (row,) = (row for row in rows if row["model"] == "base")
    assert [float(row[name]) for name in ("accuracy", "low", "high", "chance")] == [
        *(detail["mc1"][name] for name in ("value", "low", "high")),
        detail["chance"]["value"],
    ]


def test_a_part_of_the_questions_is_drawn_the_same_for_all_and_none_for_zero(project, monkeypatch):
    monkeypatch.chdir(project)
    every = draw_items(CONFIG, 1).truthfulqa
    assert draw_items(replace(CONFIG, truthfulqa_questions=2), 1).truthfulqa == every[:2]
    assert draw_items(replace(CONFIG, truthfulqa_questions=0), 1).truthfulqa == []
    assert len(every) == 4


def test_data_that_do_not_hold_it_out_are_not_asked_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_held_out_truthfulqa(None, 1) == []


@pytest.fixture(scope="module")
def published(real_data):
    """The published questions, their rows read apart, and a tokenizer of their words."""
    path = real_data / "truth/TruthfulQA.csv"
    questions, rows = read_truthfulqa(path), list(read_table(path))
    return questions, rows, train_tokenizer([question.question for question in questions], TokenizerConfig(500, 2))


def by_area(model, questions):
    """The figures of a model that is asked these questions, over all and by area."""
    items = EvalItems([], [], [], [], questions)
    table = choice_tables(items, ask_likelihoods(model, items, lambda n: None), 100, 1)["truthfulqa"]
    return {area: {name: one.value for name, one in row.items()} for area, row in table.items()}


def test_all_published_questions_are_graded_as_a_slow_computation_grades_them(published):
    questions, rows, tokenizer = published
    assert len(questions) == len(rows) == 817
    assert sum(len(question.correct) + len(question.incorrect) for question in questions) == 5885
    encoded = [tokenizer.encode(question.question) for question in questions]
    ids, offsets = np.concatenate(encoded), np.cumsum([0, *map(len, encoded)])
    counted = NgramScorer("unigram", train_ngram(ids, offsets, tokenizer.vocab_size, 1), tokenizer)
    found = by_area(counted, questions)
    logprob = unigram(ids.tolist(), tokenizer.vocab_size, tokenizer.encode)
    assert found["all"] == pytest.approx(figures(rows, logprob), abs=1e-9)
    assert found["all"]["chance"] == pytest.approx(0.2260, abs=5e-5)
    areas = {category for category, *_ in rows}
    assert len(areas) == 38
    for area in areas:
        expected = figures([row for row in rows if row[0] == area], logprob)
        assert found.pop(area) == pytest.approx(expected, abs=1e-9), area
    assert set(found) == {"all"}


def test_a_network_on_published_questions_is_graded_as_one_token_at_a_time(published):
    questions, rows, tokenizer = published
    gpt = build_model(LONG, tokenizer.vocab_size, torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.mul_(3)  # or all answers of a length are about as likely
    found = by_area(ScratchModel("untrained", gpt, tokenizer, 2048), questions[::40])
    logprob = partial(plain_logprob, gpt, tokenizer)
    assert found["all"] == pytest.approx(figures(rows[::40], logprob), abs=1e-5)
