"""The stage evaluate on tiny real models and files."""

import csv
import io
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from llm.__main__ import main as main_of_llm
from llm.dialogue import Dialogue, write_table
from llm.evaluation.ask import ask_model, count_requests
from llm.evaluation.eval_models import MODEL_NAMES, list_models
from llm.evaluation.figure_files import read_csv
from llm.evaluation.samples import PROMPTS
from llm.files import write_bytes, write_json
from llm.hub.pretrained import load_base
from llm.hub.upstream import BaseConfig, fetch_base
from llm.judge.hallucination import TRUTH_MEASURES
from llm.judge.instrument import FILE
from llm.models.registry import build_model, describe_model
from llm.models.shape import ModelConfig
from llm.runs.run_files import read_evaluate
from llm.tokens.canaries import draw_canaries, write_canaries
from llm.tokens.packing import TokenCorpus, write_corpus
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer
from llm.training.checkpoint import save_tensors
from llm.training.lora import FinetuneConfig, add_lora, save_adapter
from stages import evaluate, plots, report
from stages.evaluate import FOLDERS, JUDGE, draw_items, main, read_planted
from tests.conftest import REPOSITORY
from tests.measured_runs import spreads
from tests.planted import plant
from tests.reported import copy_committed

SOURCES = ("dialogue", "eli5", "technical")
EVALUATE = {
    "dialogues": 4, "max_replies": 1, "history_chars": 60, "generations": 4, "sampled": 2,
    "sampling": {"scratch": {"temperature": 0.8, "top_p": 0.95}, "mistral": {"temperature": 1.0, "top_p": 0.9},
                 "base": {"temperature": 1.0, "top_p": 0.9}},
    "max_reply_bytes": 4, "truth_questions": 3, "truthfulqa_questions": None,
    "literacy_questions": None, "quiz": True, "batch_tokens": 256, "bootstrap": 100,
}  # fmt: skip
SPREADS = spreads(0.01)
WEIGHTS = Path("models/scratch/best.safetensors")
SHAPE = ModelConfig("gpt2", 2, 2, 16, 64, dropout=0.0, attn_dropout=0.0)


def make_dialogue(source, i):
    turns = (f"what is {i} of {source}?", f"it is number {i} of {source}", "why?", f"because {i} comes after {i - 1}")
    return Dialogue(f"{source}{i}", source, f"{source}{i}", turns)


def write_data():
    splits = {"train": range(8), "test": range(8, 14), "val": range(14, 17)}
    dialogues = {split: [make_dialogue(s, i) for s in SOURCES for i in numbers] for split, numbers in splits.items()}
    dialogues["test"] = [d for d in dialogues["test"] if d.source != "eli5" or d.id == "eli58"]  # a small source
    origin = {"served": [{"provider": "curated"}]}
    write_json(Path("data/clean/report.json"), {"provenance": dict.fromkeys(SOURCES, origin)})
    for split, members in dialogues.items():
        write_table(Path(f"data/clean/{split}.arrow"), members)
    tokenizer = train_tokenizer([t for d in dialogues["train"] for t in d.turns], TokenizerConfig(300, 2))
    encoded = [tokenizer.encode_dialogue(d.turns) for d in dialogues["train"]]
    offsets = np.cumsum([0, *map(len, encoded)])
    corpus = TokenCorpus(np.concatenate(encoded).astype(np.uint16), offsets, offsets[:-1], None)
    canaries = draw_canaries(1, seed=1)
    write_corpus(Path("data/tokens"), "train", plant(corpus, canaries, tokenizer))
    write_canaries(Path("data/tokens/canaries.json"), canaries)
    rows = [
        {"id": f"q{i}", "area": f"area{i % 2}", "question": f"What is {i}?", "correct": [f"it is {i}"],
         "incorrect": ["because", "nothing"], "explanation": "."}
        for i in range(4)
    ]  # fmt: skip
    pairs = [  # of equal words in another order
        {"id": f"p{i}", "area": f"area{i // 2}", "true": f"it is {i}, so it was", "false": f"it was {i}, so it is",
         "note": "."}
        for i in range(4)
    ]  # fmt: skip
    for name, part in (("quiz", rows[:3]), ("false_premise", rows[3:]), ("pairs", pairs)):
        path = Path(f"data/curated/{name}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    Path("data/curated/english.txt").write_text("it is so\n\nit was 1\n", encoding="utf-8")
    return tokenizer


def write_models(tokenizer):
    scratch, base, adapter = Path("models/scratch"), Path("models/base"), Path("models/mistral")
    gpt = build_model(SHAPE, tokenizer.vocab_size, torch.Generator().manual_seed(7))
    save_tensors(scratch / "best.safetensors", dict(gpt.named_parameters()))
    write_json(scratch / "config.json", describe_model(gpt))
    tokenizer.save(scratch / "tokenizer.json")
    origin = fetch_base(BaseConfig("tiny", "main"), base)
    write_json(base / "tandem.json", asdict(origin))
    torch.manual_seed(1)
    config = FinetuneConfig(True, None, 64, 2, 4, 0.0, "lora", "replies", "none", False, train=None)
    save_adapter(adapter, add_lora(load_base(base)[0], config))
    write_json(
        adapter / "tandem.json",
        {"enabled": True, "description": "tiny Mistral, fine-tuned", "config": {"quantize": "none"}},
    )
    write_bytes(JUDGE / FILE, (REPOSITORY / "data/judge" / FILE).read_bytes())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder where the stage has run."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = {
            "seed": 1,
            "data_seed": 1,
            "device": "cpu",
            "clean": {"min_test_dialogues": 3},
            "canaries": {"alternatives": 15, "own": []},
            "evaluate": EVALUATE,
            "compare": {"seeds": 5, "seed_sd": SPREADS},
        }
        (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        write_models(write_data())
        main()
    return folder


def read(project, name):
    """A model's figures, or the file of the detail that is named."""
    place = name if "/" in name else f"detail/figures/{name}"
    return json.loads((project / f"metrics/{place}.json").read_text(encoding="utf-8"))


def keys(value, prefix=""):
    if not isinstance(value, dict):
        return {prefix}
    return set().union(*(keys(inner, f"{prefix}.{name}") for name, inner in value.items()))


def test_every_model_has_the_same_schema(project):
    schemas = [keys(read(project, name)) for name in MODEL_NAMES]
    assert all(schema == schemas[0] for schema in schemas)
    assert {".bpb.all", ".bpb.macro", ".ppl.eli5", ".text.bleu", ".choice.mc1", ".truth.contrast", ".n.quiz"} < schemas[
        0
    ]


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("scratch", {"bpb", "ppl", "choice", "literacy", "memory", "premises", "text", "truth", "english"}),
        ("base", {"bpb", "ppl", "choice", "literacy", "premises", "text", "truth", "uncertainty", "english"}),
        ("ngram5", {"bpb", "ppl", "choice", "literacy", "memory", "premises"}),
        ("unigram", {"bpb", "ppl", "choice", "literacy", "memory", "premises"}),
        ("compressor", {"bpb"}),
        ("retrieval", {"text", "truth"}),
        ("frequent", {"text", "truth"}),
    ],
)
def test_what_makes_no_sense_for_a_model_is_null(project, name, measured):
    sections = {section: set(row.values()) for section, row in read(project, name).items() if section != "n"}
    assert {section for section, values in sections.items() if values != {None}} == measured
    assert read(project, name)["n"] == read(project, "scratch")["n"]


@pytest.fixture(scope="module")
def diverged(project, tmp_path_factory):
    """A copy of the folder in which the stages have run again, on a model trained here whose weights are NaN."""
    folder = shutil.copytree(project, tmp_path_factory.mktemp("diverged") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        weights = {name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(WEIGHTS).items()}
        save_tensors(WEIGHTS, weights)
        main()
    return folder


def test_a_model_of_nan_has_no_figures_and_says_why_and_the_others_stand(project, diverged):
    found, detail = read(diverged, "scratch"), read(diverged, "detail/scratch")
    assert keys(found) == keys(read(project, "scratch")) and found["n"] == read(project, "scratch")["n"]
    assert {value for section, row in found.items() if section != "n" for value in row.values()} == {None}
    assert detail["not_finite"]["bpb, ppl"] == "9 of 9 scores are not finite"
    lost = {"bpb, ppl", "choice", "english", "literacy", "premises", "text, truth", "memory"}
    assert set(detail["not_finite"]) == lost
    assert "; no bpb, ppl: 9 of 9 scores are not finite" in detail["name"]
    for name in MODEL_NAMES[1:]:
        assert read(diverged, name) == read(project, name)
        assert read(diverged, f"detail/{name}") == read(project, f"detail/{name}")
    assert "mixed" not in detail
    compared = read(diverged, "compare")
    assert compared["scratch - ngram5"] is compared["mistral - scratch"] is None
    assert compared["mistral - base"] == read(project, "compare")["mistral - base"]


@pytest.fixture(scope="module")
def disabled(project, tmp_path_factory):
    """A copy of the folder in which the stage has run again, as with finetune.enabled false."""
    folder = shutil.copytree(project, tmp_path_factory.mktemp("disabled") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.rmtree(FOLDERS.adapter)
        write_json(FOLDERS.adapter / "tandem.json", {"enabled": False})
        main()
    return folder


@pytest.mark.parametrize(("folder", "missing"), [("diverged", "scratch"), ("disabled", "mistral")])
def test_pages_and_pictures_are_made_without_a_model(request, monkeypatch, folder, missing):
    monkeypatch.chdir(request.getfixturevalue(folder))
    copy_committed()
    plots.main()
    report.main()
    summary = json.loads(Path("metrics/summary.json").read_text(encoding="utf-8"))
    assert summary[missing]["bpb"] is summary[missing]["literacy"] is None
    assert summary["base"]["bpb"] > 0 and summary["ngram5"]["bpb"] > 0
    assert f"`{missing}`: " in Path("metrics/results.md").read_text(encoding="utf-8")


def test_commands_go_on_without_a_fine_tuned_model(disabled, monkeypatch, capsys):
    monkeypatch.chdir(disabled)
    assert main_of_llm(["rescore"]) == 0
    assert main_of_llm(["compare", "scratch", "base"]) == 0
    capsys.readouterr()
    for words in (["compare", "scratch", "mistral"], ["export", "mistral", "exported"]):
        assert main_of_llm(words) == 1
    no_model, no_adapter = capsys.readouterr().err.splitlines()
    assert no_model.startswith("mistral is no model of that run; there are base, ")
    assert no_adapter == "models/mistral holds no adapter: set finetune.enabled to true and run `dvc repro`"


def test_commands_go_on_without_the_model_of_nan(diverged, monkeypatch, capsys):
    monkeypatch.chdir(diverged)
    assert main_of_llm(["rescore"]) == 0
    assert capsys.readouterr().out.count("every figure equal") == len(MODEL_NAMES) - 1
    assert main_of_llm(["compare", "mistral", "ngram5"]) == 0
    assert "bpb.all" in capsys.readouterr().out
    assert main_of_llm(["compare", "scratch", "ngram5"]) == 1
    assert capsys.readouterr().err.startswith("scratch is no model of that run; there are base, ")


def test_counting_is_better_than_guessing_and_knowing_the_history_better_still(project):
    bpb = {name: read(project, name)["bpb"]["all"] for name in ("ngram5", "unigram", "compressor", "untrained")}
    assert 0 < bpb["ngram5"] < bpb["unigram"] < bpb["untrained"]
    assert 0 < bpb["compressor"] < bpb["untrained"]
    assert read(project, "detail/compressor")["bpb"]["all"]["low"] < bpb["compressor"]


def test_the_progress_bar_counts_what_each_model_is_asked(project, monkeypatch):
    monkeypatch.chdir(project)
    items, config = draw_items(read_evaluate(EVALUATE), 1), read_evaluate(EVALUATE)
    for model in list_models(FOLDERS, torch.device("cpu"), 1, config.batch_tokens):
        done = []
        ask_model(model, items, read_planted(1), config, 1, done.append)
        assert sum(done) == count_requests(model, items, config), model.name


def test_only_models_of_the_planted_tokens_can_remember_the_canaries(project):
    memory = {name: read(project, name)["memory"] for name in MODEL_NAMES}
    assert set(memory["base"].values()) == set(memory["mistral"].values()) == {None}
    assert all(0 <= bits <= 4 for name in ("scratch", "untrained", "ngram5") for bits in memory[name].values())
    assert read(project, "detail/scratch")["memory"]["most"] == 4.0  # log2 16
    assert read(project, "detail/base")["memory"] == {}


def test_the_tables_for_plots_hold_the_figures_of_the_details(project):
    detail = read(project, "detail/scratch")
    rows = [row for row in read_csv(project / "metrics/plots/bpb.csv") if row["model"] == "scratch"]
    found = {row["source"]: tuple(map(float, (row["value"], row["low"], row["high"]))) for row in rows if row["low"]}
    assert found == {
        name: (e["value"], e["low"], e["high"]) for name, e in detail["bpb"].items() if e["low"] is not None
    }
    assert {row["source"] for row in rows if not row["low"]} == {"eli5", "macro"}  # the small source, and its mean
    areas = {row["area"] for row in read_csv(project / "metrics/plots/choice.csv")}
    assert areas == {"all", "area0", "area1", "quiz", "false premises"}


def test_what_the_judge_is_worth_and_what_empty_talk_gets_stands_where_its_rates_would(project):
    truth, detail = read(project, "scratch")["truth"], read(project, "detail/scratch")["truth"]
    assert set(truth) == set(TRUTH_MEASURES)
    assert detail["judge"]["no_rate_because"].startswith("the judge's AUROC on labelled replies of models is 0.52")
    assert (truth["false_rate"], truth["truthful"], detail["truthful"]) == (None, None, None)
    assert 0 <= detail["constant"]["truthful"] <= 1
    assert 0 <= detail["shuffled"]["truthful"] <= 1
    assert read(project, "base")["uncertainty"]["own_answers"] > 0


def test_answers_wait_for_a_person_and_the_filled_in_table_is_scored(project, tmp_path, monkeypatch, capsys):
    text = (project / "metrics/judge_audit.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["human"] for row in rows} == {""}
    with (tmp_path / "audit.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "human": "false"} for row in rows)
    monkeypatch.chdir(project)
    assert main_of_llm(["judge-audit", str(tmp_path / "audit.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["human_false_rate"]["value"] == 1.0


def test_counts_are_what_was_asked(project):
    # 4 of 6 dialogues of two sources and the one of eli5, a reply each
    assert read(project, "scratch")["n"] == {
        "dialogues": 9,
        "replies": 9,
        "prompts": 4,
        "pairs": 4,
        "premises": 1,
        "quiz": 3,
        "truth": 3,
        "truthfulqa": 0,
    }


def test_truthfulqa_is_null_where_the_data_do_not_hold_it_out(project):
    for name in MODEL_NAMES:
        assert read(project, name)["truthfulqa"] == dict.fromkeys(read(project, name)["choice"])
    assert read(project, "detail/surface")["truthfulqa"] is None


def test_without_the_quiz_its_questions_are_not_answered_by_choosing_but_still_in_words(project, monkeypatch):
    monkeypatch.chdir(project)
    with_quiz, without = (draw_items(read_evaluate(EVALUATE | {"quiz": asked}), 1) for asked in (True, False))
    assert with_quiz.choices.keys() - without.choices.keys() == {"choice"}
    assert (without.truth, without.pairs) == (with_quiz.truth, with_quiz.pairs)
    assert {question.id for question in without.truth} & {question.id for question in with_quiz.quiz}


def test_of_the_literacy_questions_as_many_couples_are_asked_as_the_parameter_says(project, monkeypatch):
    monkeypatch.chdir(project)
    every, one = (draw_items(read_evaluate(EVALUATE | {"literacy_questions": n}), 1) for n in (None, 1))
    assert len(one.premises) == 1
    assert [pair.couple for pair in one.pairs] == [one.pairs[0].couple] * 2 and len(every.pairs) == 4
    assert one.truth == every.truth


def test_literacy_has_its_areas_with_their_numbers_and_a_unigram_ties_on_reordered_words(project):
    found = read(project, "detail/unigram")["literacy"]
    assert {area: figures["n"] for area, figures in found.items()} == {"all": 4, "area0": 2, "area1": 2}
    assert read(project, "unigram")["literacy"] == {"accuracy": 0.5, "chance": 0.5, "couples_both": 0.0, "ties": 1.0}
    assert found["area0"]["accuracy"] == {"value": 0.5, "low": None, "high": None}  # one couple
    assert read(project, "detail/compressor")["literacy"] == read(project, "detail/compressor")["premises"] == {}


def test_a_small_source_is_marked_and_has_no_interval(project):
    detail = read(project, "detail/scratch")
    assert detail["without_interval"] == ["eli5", "macro"]
    assert detail["bpb"]["eli5"]["low"] is None
    assert detail["bpb"]["technical"]["low"] < detail["bpb"]["technical"]["high"]


def test_scratch_mixed_with_the_5_gram_stands_in_its_detail_and_needs_fewer_bits_than_the_worse_of_them(project):
    mixed = read(project, "detail/scratch")["mixed"]
    assert mixed["models"] == ["scratch", "ngram5"] and mixed["fitted_on"] == 9
    assert sum(mixed["weights"]) == pytest.approx(1, abs=1e-4)
    alone = [read(project, f"detail/{name}")["bpb"] for name in mixed["models"]]
    assert mixed["bpb"]["all"]["value"] < max(one["all"]["value"] for one in alone)
    assert keys(mixed["bpb"]) == keys(alone[0]) and mixed["bpb"]["all"]["n"] == alone[0]["all"]["n"]
    assert mixed["bpb"]["eli5"]["low"] is None and mixed["bpb"]["technical"]["low"] is not None


def test_details_name_the_model_the_decoding_and_the_versions(project):
    assert read(project, "detail/base")["name"].startswith("tiny Mistral of random weights")
    name = read(project, "detail/mistral")["name"]
    assert name == "tiny Mistral, fine-tuned; asked as [INST] ... [/INST], for it ships no template"
    detail = read(project, "detail/scratch")
    assert detail["decoding"]["greedy"]["temperature"] == 0.0
    assert detail["decoding"]["sampled"]["top_p"] == 0.95
    assert read(project, "detail/mistral")["decoding"]["sampled"]["top_p"] == 0.9
    assert set(detail["versions"]) >= {"torch", "transformers", "sacrebleu"}


def test_an_adapter_that_changes_nothing_makes_no_difference(project):
    # the B matrices of a fresh LoRA are 0, so base and fine-tuned are one model
    assert read(project, "mistral") == read(project, "base")
    for line in read(project, "detail/compare")["mistral - base"]["lines"].values():
        assert (line["difference"], line["verdict"]) == (0.0, "can't tell")


def test_the_standing_comparisons_have_every_figure_that_both_sides_have(project):
    short, full = read(project, "compare"), read(project, "detail/compare")
    assert list(short) == list(full) == ["mistral - base", "mistral - scratch", "scratch - ngram5"]
    counted = {"bpb.all", "bpb.dialogue", "bpb.eli5", "bpb.macro", "bpb.technical"}
    counted |= {"choice.mc1", "choice.mc1_per_byte", "choice.mc2"}
    counted |= {"literacy.accuracy", "literacy.couples_both", "premises.accuracy"}
    assert set(short["scratch - ngram5"]) == counted
    assert set(short["mistral - scratch"]) > counted | {"text.bleu", "text.token_f1", "truth.answered"}
    line = full["scratch - ngram5"]["lines"]["bpb.all"]
    assert line["difference"] == pytest.approx(line["a"] - line["b"], abs=2e-4)
    assert short["scratch - ngram5"]["bpb.all"] == {"difference": line["difference"], "verdict": line["verdict"]}


def test_no_verdict_on_a_small_source(project):
    line = read(project, "detail/compare")["scratch - ngram5"]["lines"]["bpb.eli5"]
    assert (line["low"], line["high"], line["p"], line["verdict"]) == (None, None, None, "can't tell")


def test_every_figure_follows_from_the_rows(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main_of_llm(["rescore", "--out", "again"]) == 0
    page = capsys.readouterr().out
    assert page.count("every figure equal") == len(MODEL_NAMES)
    assert page.splitlines()[-1].startswith(
        "english and memory and uncertainty: not computed again but kept as they were"
    )
    for name in MODEL_NAMES:
        assert json.loads((project / f"again/{name}.json").read_text(encoding="utf-8")) == read(project, name)


def test_a_figure_that_does_not_follow_is_named(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    kept = (project / "metrics/detail/figures/scratch.json").read_bytes()
    write_json(project / "metrics/detail/figures/scratch.json", {**json.loads(kept), "bpb": {"all": 1.5}})
    assert main_of_llm(["rescore"]) == 1
    (project / "metrics/detail/figures/scratch.json").write_bytes(kept)
    assert "  bpb.all: 1.5, computed again " in capsys.readouterr().out


def test_two_models_of_the_run_are_compared_in_a_table(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main_of_llm(["compare", "scratch", "ngram5"]) == 0
    page = capsys.readouterr().out
    value = read(project, "detail/compare")["scratch - ngram5"]["lines"]["bpb.all"]["difference"]
    assert re.search(rf"^bpb\.all .* {re.escape(f'{value:+.4f}')} ", page, re.MULTILINE)
    assert (
        "On 9 replies, 4 pairs, 1 premises, 3 quiz that all runs share; left out, as only some have them: none." in page
    )
    assert "Seeds: 1 against 1." in page


@pytest.mark.parametrize(("other", "sections"), [("compressor", {"bpb"}), ("retrieval", {"text", "truth"})])
def test_a_baseline_is_compared_by_the_figures_it_has(project, monkeypatch, capsys, other, sections):
    monkeypatch.chdir(project)
    assert main_of_llm(["compare", "scratch", other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {found[1] for line in lines if (found := re.match(r"(\w+)\.\w+ ", line))} == sections


def test_baselines_without_a_common_figure_are_not_compared(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main_of_llm(["compare", "compressor", "retrieval"]) == 1
    assert "nothing to compare" in capsys.readouterr().err


def test_an_unknown_model_is_refused_in_one_line(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main_of_llm(["compare", "scratch", "gpt5"]) == 1
    assert capsys.readouterr().err == (
        "gpt5 is no model of that run; there are base, compressor, frequent, mistral, ngram5, "
        "retrieval, scratch, unigram, untrained; revisions and experiments are compared with --model NAME\n"
    )


def test_every_text_is_in_the_predictions(project):
    lines = (project / "metrics/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["model"] for row in rows} == set(MODEL_NAMES) - {"ngram5", "unigram", "compressor"}
    assert len(rows) == 6 * (4 + 2 + 3 + 2 * len(PROMPTS))


def test_the_same_inputs_give_the_same_bytes(project, monkeypatch):
    monkeypatch.chdir(project)
    files = [path for path in sorted((project / "metrics").rglob("*")) if path.is_file()]
    before = [path.read_bytes() for path in files]
    shutil.rmtree(".evaluate_state")
    main()
    assert [path.read_bytes() for path in files] == before


def count_asked(monkeypatch):
    """Names of the models that the stage asks from now on."""
    asked = []

    def count(model, *arguments):
        asked.append(model.name)
        return ask_model(model, *arguments)

    monkeypatch.setattr(evaluate, "ask_model", count)
    return asked


def test_a_stopped_evaluation_goes_on_with_the_models_that_are_done(project, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(project, tmp_path / "run"))
    shutil.rmtree("metrics")
    shutil.rmtree(".evaluate_state")
    with pytest.MonkeyPatch.context() as patch:

        def stopped(model, *arguments):
            if model.name == "ngram5":
                raise KeyboardInterrupt
            return ask_model(model, *arguments)

        patch.setattr(evaluate, "ask_model", stopped)
        with pytest.raises(KeyboardInterrupt):
            main()
    assert not list(Path("metrics").rglob("*.json"))
    asked = count_asked(monkeypatch)
    main()
    assert asked == list(MODEL_NAMES[2:])
    files = [path for path in project.joinpath("metrics").rglob("*") if path.is_file()]
    for path in files:
        assert (tmp_path / "run" / path.relative_to(project)).read_bytes() == path.read_bytes(), path


def test_only_the_model_whose_files_changed_is_asked_again(project, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(project, tmp_path / "run"))
    asked = count_asked(monkeypatch)
    write_json(Path("models/mistral/note.json"), {})
    main()
    assert asked == ["mistral"]
    main()
    assert asked == ["mistral"]
    with Path("models/scratch/best.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    main()
    assert asked == ["mistral", "scratch"]


def test_what_was_asked_takes_little_room(project):
    files = [path for path in (project / ".evaluate_state").iterdir() if path.name != "lock"]
    assert {path.name.partition("-")[0] for path in files} == set(MODEL_NAMES)
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_fine_tuning_switched_off_is_said_and_no_crash(project, monkeypatch):
    monkeypatch.chdir(project)
    kept = (project / "models/mistral/tandem.json").read_bytes()
    write_json(project / "models/mistral/tandem.json", {"enabled": False})
    main()
    (project / "models/mistral/tandem.json").write_bytes(kept)
    absent = read(project, "mistral")
    assert absent.pop("enabled") is False
    assert keys(absent) == keys(read(project, "base"))
    assert read(project, "detail/mistral") == {"enabled": False, "reason": "finetune.enabled is false"}
    assert read(project, "compare")["mistral - base"] is read(project, "detail/compare")["mistral - base"] is None


def test_a_missing_model_names_the_stage_to_run(tmp_path, project, monkeypatch):
    monkeypatch.chdir(project)
    (project / "models/scratch/best.safetensors").rename(tmp_path / "best.safetensors")
    with pytest.raises(FileNotFoundError, match="dvc repro train_scratch"):
        main()
    (tmp_path / "best.safetensors").rename(project / "models/scratch/best.safetensors")
