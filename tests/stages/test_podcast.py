"""The stage podcast, on what the stage evaluate left of tiny models."""

import json
import shutil

import pytest

from llm.app.script import read_script
from llm.files import write_json
from stages.podcast import main
from tests.stages.test_evaluate import project  # noqa: F401  a fixture

OWN = {"dialogue": {"served": [{"provider": "local"}]}}


@pytest.fixture
def evaluated(project, repository, tmp_path, monkeypatch):  # noqa: F811
    """A folder with what a run has measured, in which the stage runs."""
    shutil.copytree(project / "metrics", tmp_path / "metrics")
    shutil.copytree(project / "data/curated", tmp_path / "data/curated")
    shutil.copy(repository / "metrics/data.json", tmp_path / "data/summary.json")
    shutil.copy(repository / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rewrite(path, change):
    """Change the rows of a file, each by itself; None takes a row away."""
    rows = [change(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows if row), encoding="utf-8")


def say(evaluated, text):
    """Let every model have replied so."""
    rewrite(evaluated / "metrics/predictions.jsonl", lambda row: row | {"text": text})


def script(evaluated):
    main()
    return read_script((evaluated / "metrics/podcast.md").read_text(encoding="utf-8"))


def spoken(episode):
    return [line.text for chapter in episode.chapters for line in chapter.lines]


def test_the_script_quotes_what_the_models_replied(evaluated):
    say(evaluated, "It is as blue as a bell.")
    episode = script(evaluated)
    assert spoken(episode).count("It is as blue as a bell.") >= 4
    assert set(episode.speakers) == {"Host", "Pip", "Oak"}


def test_equal_metrics_give_equal_bytes(evaluated):
    found = []
    for _ in range(2):
        main()
        found.append((evaluated / "metrics/podcast.md").read_bytes())
    assert found[0] == found[1]


def test_without_fine_tuning_the_pretrained_model_speaks(evaluated):
    rewrite(evaluated / "metrics/predictions.jsonl", lambda row: None if row["model"] == "mistral" else row)
    assert any("just as it came" in text for text in spoken(script(evaluated)))


def test_without_a_pretrained_model_it_says_what_to_run(evaluated):
    rewrite(evaluated / "metrics/predictions.jsonl", lambda row: row if row["model"] == "scratch" else None)
    with pytest.raises(ValueError, match="run `dvc repro evaluate`"):
        main()


def test_of_the_users_own_data_nothing_is_quoted(evaluated):
    say(evaluated, "The key is under the mat.")
    data = json.loads((evaluated / "data/summary.json").read_text(encoding="utf-8"))
    write_json(evaluated / "data/summary.json", data | {"provenance": data["provenance"] | OWN})
    main()
    assert "mat" not in (evaluated / "metrics/podcast.md").read_text(encoding="utf-8").split()


def test_the_false_statement_that_is_told_is_one_that_the_run_found_likelier(evaluated):
    """Where every true statement is likelier, nobody is called wrong."""
    score = {"0": -1.0, "1": -9.0}
    rewrite(
        evaluated / "metrics/scores.jsonl",
        lambda row: row | {"logprob": score[row["id"][-1]]} if row["kind"] == "statement" else row,
    )
    text = " ".join(spoken(script(evaluated)))
    assert "Oak went for the true one." in text and "That is sure. And it is wrong." not in text
