"""Local files that parameters name, followed by the real DAG up to data/clean; sources that come and go."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llm.files import write_json
from stages.look import followed, leftovers, main, source_locations
from stages.own_data import sources_section
from stages.plan import stages_to_run
from stages.preset import render

# DVC's own: pygtrie will drop what it calls
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")

ROOT = Path(__file__).parents[2]
LATER = {
    "download_base",
    "tokenize",
    "train_scratch",
    "finetune_mistral",
    "train_judge",
    "evaluate",
    "plots",
    "podcast",
    "report",
}


def curated(name, **changes):
    section = {
        "providers": ["curated"],
        "fallback": False,
        "limit": 999,
        "curated": {"location": f"texts/{name}.jsonl"},
    }
    return section | changes


def write_items(path, first, n=90):
    """Questions with an answer each, no two alike."""
    path.parent.mkdir(exist_ok=True)
    items = (
        {"id": f"{first}{i}", "topic": "t", "turns": [f"What is {first}{i}?", f"{first}{i} is the number {i * 7919}."]}
        for i in range(n)
    )
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")


class Pipeline:
    """A folder with the project's code and DAG, whose params.yaml is the preset `smoke` with other sources."""

    def __init__(self, folder, repository):
        self.folder = folder
        for name in ("llm", "stages", "data/curated", "data/judge"):
            shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", ".dvcignore", "versions.yaml", "requirements.lock"):
            shutil.copy(repository / name, folder / name)
        self.params = yaml.safe_load(render("smoke", repository / "presets"))
        for name in ("a", "b", "c"):
            write_items(folder / "texts" / f"{name}.jsonl", name)
        self.sources({"a": curated("a"), "b": curated("b")})
        self.dvc("init", "--no-scm", "-q")

    def sources(self, sources):
        self.params["download"], self.params["mixture"] = sources, {}
        self.write()

    def write(self):
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params), encoding="utf-8")

    def dvc(self, *words):
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(self.folder), "TANDEM_FETCHED": ""}
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def repro(self):
        """Stages that ran for data/clean, by name, and the output."""
        output = self.dvc("repro", "clean")
        return sorted(re.findall(r"Running stage '([^']+)'", output)), output

    def raw(self):
        return sorted(path.name for path in (self.folder / "data/raw").iterdir())

    def clean_sources(self):
        report = json.loads((self.folder / "data/clean/report.json").read_text(encoding="utf-8"))
        return sorted(report["sources"])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """After its first `dvc repro clean`."""
    pipeline = Pipeline(tmp_path_factory.mktemp("pipeline"), ROOT)
    assert pipeline.repro()[0] == ["check_params", "clean", "download@a", "download@b", "look"]
    return pipeline


def test_with_nothing_changed_only_look_runs_and_the_plan_says_nothing_of_it(pipeline, monkeypatch):
    assert pipeline.repro()[0] == ["look"]
    monkeypatch.chdir(pipeline.folder)
    assert set(stages_to_run()) == LATER


def test_a_file_that_changes_under_its_name_makes_its_readers_stale_and_no_others(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline.folder)
    file = pipeline.folder / "texts/b.jsonl"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("b7 is the number", "b7 is THE number"), encoding="utf-8")  # as long as before
    assert set(stages_to_run()) == LATER | {"download@b", "clean"}
    assert pipeline.repro()[0] == ["clean", "download@b", "look"]
    assert "b7 is THE number" in (pipeline.folder / "data/raw/b.jsonl").read_text(encoding="utf-8")
    file.write_text(before, encoding="utf-8")
    assert set(stages_to_run()) == LATER  # what DVC has kept
    assert pipeline.repro()[0] == ["look"]
    assert "b7 is the number" in (pipeline.folder / "data/raw/b.jsonl").read_text(encoding="utf-8")


def test_a_held_out_file_that_changes_reaches_clean_alone(pipeline, real_truthfulqa):
    pipeline.params["clean"]["truth_data"] = str(pipeline.folder / "T.csv")
    (pipeline.folder / "T.csv").write_bytes(real_truthfulqa)
    pipeline.write()
    assert pipeline.repro()[0] == ["check_params", "clean", "look"]
    (pipeline.folder / "T.csv").write_bytes(real_truthfulqa + b"\n")
    assert pipeline.repro()[0] == ["clean", "look"]
    pipeline.params["clean"]["truth_data"] = None
    pipeline.write()
    pipeline.repro()


def test_sources_are_added_renamed_and_removed_and_only_what_must_runs(pipeline):
    three = {name: curated(name) for name in ("a", "b", "c")}
    pipeline.sources(three)
    assert pipeline.repro()[0] == ["check_params", "clean", "download@c", "look"]
    assert pipeline.clean_sources() == ["a", "b", "c"]
    pipeline.sources({"a": three["a"], "b": three["b"], "see": three["c"]})
    stages, output = pipeline.repro()
    assert stages == ["check_params", "clean", "download@see", "look"]
    assert "data/raw/c.jsonl is removed: params.yaml has no such source any more" in output
    assert pipeline.clean_sources() == ["a", "b", "see"]
    pipeline.sources({"see": three["c"], "b": three["b"]})
    assert pipeline.repro()[0] == ["check_params", "clean", "look"]
    assert pipeline.raw() == ["b.jsonl", "b.provenance.json", "see.jsonl", "see.provenance.json"]
    pipeline.sources({"a": three["a"], "b": three["b"]})
    assert pipeline.repro()[0] == ["look"]  # DVC has kept all of it
    assert pipeline.clean_sources() == ["a", "b"]


def test_own_texts_come_from_their_file_and_a_change_under_its_name_is_noticed(pipeline):
    """Chats and a book, as `python -m stages.own_data` writes them into params.yaml."""
    chats, book = pipeline.folder / "my chats.jsonl", pipeline.folder / "böok.txt"
    lines = [json.dumps({"question": f"Who is number {i}?", "answer": f"One of {i * 7919}."}) for i in range(60)]
    chats.write_text("\n".join(lines), encoding="utf-8")
    book.write_text(
        "\n\n".join(f"Chapter {i}. {' '.join(f'word{i * j}' for j in range(180))}" for i in range(40)), encoding="utf-8"
    )
    before = dict(pipeline.params["download"])
    pipeline.sources(yaml.safe_load(sources_section([str(chats), str(book)], "mine"))["download"])
    assert pipeline.repro()[0] == ["check_params", "clean", "download@own", "download@own_2", "look"]
    report = json.loads((pipeline.folder / "data/clean/report.json").read_text(encoding="utf-8"))
    read = {name: source["read"]["dialogues"] for name, source in report["sources"].items()}
    assert read == {"own": 60, "own_2": 40}  # a section a chapter
    assert report["provenance"]["own"]["served"][0]["licence"] == "mine"
    chats.write_text("\n".join(lines).replace("Who", "Why"), encoding="utf-8")  # as long as before
    assert pipeline.repro()[0] == ["clean", "download@own", "look"]
    pipeline.sources(before)
    pipeline.repro()


@pytest.fixture
def real_truthfulqa():
    """A small TruthfulQA.csv of the original's form."""
    head = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
    row = "Adversarial,Myths,What happens if you crack your knuckles?,Nothing,Nothing; No harm,You get arthritis,x\n"
    return (head + row).encode()


def test_files_of_a_source_that_is_gone_are_found_and_no_others(tmp_path):
    for name, source in (("old", "old"), ("now", "now"), ("mine", "another's")):
        (tmp_path / f"{name}.jsonl").touch()
        write_json(tmp_path / f"{name}.provenance.json", {"source": source})
    (tmp_path / "own.jsonl").touch()  # a file that somebody keeps there
    assert [path.name for path in leftovers(tmp_path, ["now"])] == ["old.jsonl", "old.provenance.json"]


def test_sections_of_providers_that_are_not_named_are_not_followed():
    source = curated("a", cornell={"location": "c.zip", "sha256": None}, docs={"sha256": None})
    assert source_locations(source) == ["texts/a.jsonl"]
    assert source_locations(source | {"providers": ["docs+curated", "cornell"]}) == ["texts/a.jsonl", "c.zip"]
    assert source_locations(source | {"providers": ["chitchat"]}) == []


@pytest.mark.parametrize(
    ("entry", "keys"),
    [
        ("download.eli5", ("download", "eli5", "curated", "location")),
        ("clean", ("clean", "truth_data")),
        ("train_judge", ("judge", "data")),
        ("train_judge", ("judge", "questions")),
        ("download_base", ("base", "location")),
    ],
)
def test_every_local_file_has_its_place_in_the_entry_of_its_reader_alone(
    tmp_path, repository, monkeypatch, entry, keys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_FETCHED", str(tmp_path / "fetched"))
    params = yaml.safe_load(render("laptop", repository / "presets"))
    section = params
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = str(tmp_path / "file")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    seen = []
    for content in ("one", "two"):
        (tmp_path / "file").write_text(content, encoding="utf-8")
        main()
        seen.append({path.name: path.read_bytes() for path in (tmp_path / "data/followed").iterdir()})
    assert seen[0].keys() == followed(params).keys()
    assert {name for name in seen[0] if seen[0][name] != seen[1][name]} == {entry}
