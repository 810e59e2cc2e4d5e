"""The stages evaluate and report on data with system turns and documents, and on documents alone: tiny real models."""

import json
import re
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from llm.__main__ import main as main_of_llm
from llm.corpus.questions import read_questions
from llm.dialogue import Dialogue, write_table
from llm.evaluation.eval_models import MODEL_NAMES
from llm.evaluation.measure import TEXT_MEASURES
from llm.evaluation.samples import CONTINUED, OWN, PROMPTS
from llm.files import write_json
from llm.tokens.canaries import draw_canaries, write_canaries
from llm.tokens.packing import TokenCorpus, write_corpus
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer
from stages import evaluate, report
from stages.tokenize_corpus import encode_one
from tests.conftest import REPOSITORY
from tests.planted import plant
from tests.reported import copy_committed
from tests.stages.test_evaluate import EVALUATE, SPREADS, write_models

NUMBER, ELSEWHERE = "555-0142", "867-3309"  # the first stands in the book


def talk(i):
    return Dialogue(
        f"mine{i}",
        "mine",
        f"m{i}",
        (f"Quid est {i}?", f"Est numerus {i}.", "Cur?", f"Post {i - 1} venit."),
        "Breviter.",
    )


def section(i):
    text = f"Section {i}. It was a dark night and {NUMBER} rang. " + " ".join(
        f"Then came hour {j} of day {i}." for j in range(9)
    )
    return Dialogue(f"book{i}", "book", f"b{i}", (text,), kind="document")


def write_project(folder, make):
    """A project with six sections or dialogues to train on, four to test and two for validation, by each maker."""
    params = {
        "seed": 1, "data_seed": 1, "device": "cpu", "clean": {"min_test_dialogues": 3},
        "compare": {"seeds": 5, "seed_sd": SPREADS},
        "canaries": {"alternatives": 99, "own": [NUMBER, ELSEWHERE]},
        "evaluate": {**EVALUATE, "history_chars": 20},
    }  # fmt: skip
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    dialogues = {
        split: [one(i) for one in make for i in numbers]
        for split, numbers in (("train", range(6)), ("test", range(6, 10)), ("val", range(10, 12)))
    }
    for split, members in dialogues.items():
        write_table(Path(f"data/clean/{split}.arrow"), members)
    served = {one(0).source: {"served": [{"provider": "local"}]} for one in make}
    write_json(Path("data/clean/report.json"), {"provenance": served})
    tokenizer = train_tokenizer([text for one in dialogues["train"] for text in one.texts], TokenizerConfig(320, 2))
    encoded = [encode_one(one, tokenizer) for one in dialogues["train"]]
    ids = np.concatenate(encoded)
    corpus = TokenCorpus(ids, np.cumsum([0, *map(len, encoded)]), tokenizer.turn_starts(ids), None)
    canaries = draw_canaries(1, seed=1)
    write_corpus(Path("data/tokens"), "train", plant(corpus, canaries, tokenizer))
    write_canaries(Path("data/tokens/canaries.json"), canaries)
    for name in ("quiz", "false_premise"):
        questions = read_questions(REPOSITORY / f"data/curated/{name}.jsonl")[:3]
        path = Path(f"data/curated/{name}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{**asdict(question), "explanation": "."} for question in questions]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shutil.copy(REPOSITORY / "data/curated/pairs.jsonl", "data/curated/pairs.jsonl")
    shutil.copy(REPOSITORY / "data/curated/english.txt", "data/curated/english.txt")
    write_models(tokenizer)
    evaluate.main()
    copy_committed()
    report.main()


@pytest.fixture(scope="module", params=["mixed", "documents"])
def project(request, tmp_path_factory):
    """A folder where both stages have run: on dialogues with a system turn and a book, or on the book alone."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_project(folder, [talk, section] if request.param == "mixed" else [section])
    return folder


def read(project, name):
    return json.loads((project / f"metrics/{name}.json").read_text(encoding="utf-8"))


def rows(project, name):
    lines = (project / f"metrics/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def is_mixed(project):
    return project.name.startswith("mixed")


def test_documents_have_a_row_of_their_own_for_every_model_that_scores(project):
    for name in MODEL_NAMES:
        found = read(project, name)
        scores = name not in ("retrieval", "frequent")
        assert (found["bpb"]["book"] is not None) == scores
        assert (found["ppl"]["book"] is not None) == (scores and name != "compressor")
    bpb = {name: read(project, name)["bpb"]["book"] for name in ("ngram5", "unigram", "compressor", "untrained")}
    assert 0 < bpb["ngram5"] < bpb["unigram"] < bpb["untrained"] and 0 < bpb["compressor"] < bpb["untrained"]


def test_the_table_has_a_column_for_each_source(project):
    head, _, *lines = (project / "metrics/results.md").read_text(encoding="utf-8").splitlines()
    columns = [column.partition(" <sub>")[0] for column in head.strip("| ").split(" | ")]
    sources = ["book", "mine"] if is_mixed(project) else ["book"]
    assert columns[2 : columns.index("literacy")] == [*sources, "BLEU", "chrF++"]
    (line,) = (line for line in lines if line.startswith("| `ngram5`"))
    cells = dict(zip(columns, line.strip("| ").split(" | "), strict=True))
    assert cells["book"].split(" ")[0] == f"{read(project, 'ngram5')['bpb']['book']:.3f}"


def test_the_bytes_of_a_document_are_those_of_its_text(project):
    scored = [row for row in rows(project, "scores") if row["kind"] == "reply" and row["source"] == "book"]
    assert {row["id"]: row["bytes"] for row in scored} == {f"book{i}/0": len(section(i).turns[0]) for i in range(6, 10)}
    assert all(row["n_windows"] > 1 for row in scored if row["model"] == "scratch")  # longer than 64 tokens


def test_generated_replies_are_to_dialogues_alone(project):
    greedy = [row["id"] for row in rows(project, "predictions") if row["kind"] == "greedy"]
    assert all(name.startswith("mine") for name in greedy) and bool(greedy) == is_mixed(project)
    for name in MODEL_NAMES:
        text = read(project, name)["text"]
        assert set(text) == set(TEXT_MEASURES)
        assert is_mixed(project) or set(text.values()) == {None}
    assert read(project, "scratch")["n"]["prompts"] == len(set(greedy))


def test_questions_are_asked_as_before(project):
    assert read(project, "scratch")["n"] | {"quiz": 3, "truth": 3} == read(project, "scratch")["n"]
    assert read(project, "scratch")["choice"]["mc1"] is not None


def test_continuations_stand_side_by_side_and_are_no_reply(project):
    kinds = Counter((row["model"], row["kind"]) for row in rows(project, "predictions"))
    models = {model for model, kind in kinds if kind == "continued"}
    assert models == {"scratch", "untrained", "base", "mistral"}
    assert {kinds[model, "continued"] for model in models} == {CONTINUED}
    page = (project / "metrics/samples.md").read_text(encoding="utf-8")
    begun = page.partition("## Documents of the test set, gone on with")[2].partition("\n## ")[0]
    assert (
        begun.count("### ") == CONTINUED
        and begun.count("| **scratch** |") == begun.count("| **mistral** |") == CONTINUED
    )
    shown = read(project, "detail/samples")["continued"]
    for one in shown:
        whole = section(int(one["id"].removeprefix("book").removesuffix("/0"))).turns[0]
        assert whole.startswith(one["text"]) and whole[len(one["text"]) :].startswith(f" {one['real']}")
        assert f"book: {one['text']}" in begun and f"| *the real text* | {one['real']} |" in begun
    headings = re.findall(r"^## (.*)", page, re.MULTILINE)
    before = ["Prompts of the test set"] * is_mixed(project) + ["Documents of the test set, gone on with"]
    behind = ["Prompts of the project, the same in every run", *["Best and worst"] * is_mixed(project)]
    assert headings == before + behind
    assert page.count("\n### ") >= len(PROMPTS) + CONTINUED


def test_prompts_of_own_data_stand_beside_the_real_reply(project):
    page = (project / "metrics/samples.md").read_text(encoding="utf-8")
    own = page.partition("## Prompts of the test set")[2].partition("\n## ")[0]
    assert own.count("### ") == (min(OWN, 4) if is_mixed(project) else 0)
    for one in read(project, "detail/samples")["own"]:
        assert one["text"].startswith("Breviter. / ") and f"| *the real text* | {one['real']} |" in own


def test_every_figure_follows_from_the_rows(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main_of_llm(["rescore"]) == 0
    assert capsys.readouterr().out.count("every figure equal") == len(MODEL_NAMES)
    assert main_of_llm(["compare", "scratch", "ngram5"]) == 0
    assert "bpb.book" in capsys.readouterr().out


def test_own_texts_are_ranked_and_never_repeated(project):
    own = read(project, "detail/ngram5")["memory"]["own"]
    assert own["1"]["training_texts"] == 6 and own["2"]["training_texts"] == 0
    assert own["1"]["rank"] == 1 < own["2"]["rank"]  # counted six times, behind these very words
    assert "own" not in read(project, "detail/base")["memory"]
    texts = (NUMBER, ELSEWHERE)
    for path in (path for path in (project / "metrics").rglob("*") if path.suffix in (".json", ".csv")):
        written = path.read_text(encoding="utf-8")
        assert path.name == "samples.json" or not any(text in written for text in texts), path
