"""The stage train_judge in a folder of its own."""

import csv
import json

import pytest
import yaml

from llm.corpus.truthfulqa import COLUMNS
from llm.files import file_sha256
from llm.judge.instrument import FILE, load_judge
from stages.train_judge import main
from tests.judge.test_fitting import CONFIG, invented_judged

HTTP = {"timeout_s": 1, "retries": 0, "backoff_s": 0}


def write_params(**changes):
    judge = {**vars(CONFIG), **changes}
    params = {"data_seed": 1, "http": HTTP, "judge": judge}
    with open("params.yaml", "w", encoding="utf-8") as file:
        yaml.safe_dump(params, file)


@pytest.fixture
def project(tmp_path, repository, monkeypatch):
    """A folder with the committed judge and, in the published form, judged answers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("curated", "judge"):
        (tmp_path / "data" / name).symlink_to(repository / "data" / name)
    judged = invented_judged()
    rows = {one.question.id: one.question for one in judged}.values()
    with (tmp_path / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        table = [("area", q.question, q.correct[0], q.correct[0], "; ".join(q.incorrect)) for q in rows]
        csv.writer(file).writerows([COLUMNS, *table])
    lines = [
        {"prompt": f"Q: {one.question.question}\nA: {one.answer}\nTrue:", "completion": " no" if one.false else " yes"}
        for one in judged
    ]
    (tmp_path / "judged.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return tmp_path


def test_without_data_the_committed_judge_is_used(project):
    write_params()
    main()
    assert (project / "models/judge" / FILE).read_bytes() == (project / "data/judge" / FILE).read_bytes()


def test_a_judge_is_fitted_to_the_data_that_are_named(project):
    sha256 = file_sha256(project / "judged.jsonl")
    write_params(data=str(project / "judged.jsonl"), data_sha256=sha256, questions=str(project / "questions.csv"))
    main()
    judge = load_judge(project / "models/judge")
    assert judge.provenance["data"] == {"location": "judged.jsonl", "sha256": sha256}
    assert judge.provenance["settings"]["folds"] == CONFIG.folds
    assert set(judge.provenance["fitted_to"]) == {
        f"data/curated/{name}.jsonl" for name in ("answers", "false_premise", "quiz")
    }
    assert judge.provenance["answers"] == judge.figures["curated"]["answers"] > 1700
    assert judge.figures["truthfulqa"]["answers"] == len(invented_judged())
    assert str(project) not in (project / "models/judge" / FILE).read_text(encoding="utf-8")


def test_another_file_than_the_one_expected_is_refused(project):
    write_params(data=str(project / "judged.jsonl"), data_sha256="0" * 64, questions=str(project / "questions.csv"))
    with pytest.raises(OSError, match="expected 000"):
        main()
    assert not (project / "models/judge").exists()
