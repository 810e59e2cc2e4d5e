"""The stage report, on what the stage evaluate left of tiny models."""

import json
import shutil

import pytest

from llm.evaluation.result_table import MODELS
from llm.evaluation.samples import PROMPTS
from llm.files import write_json
from stages.report import main
from tests.stages.test_evaluate import project  # noqa: F401  a fixture


@pytest.fixture
def reported(project, repository, tmp_path, monkeypatch):  # noqa: F811
    """A folder with metrics of its own, in which the stage runs; those of the data are the committed run's."""
    shutil.copytree(project / "metrics", tmp_path / "metrics")
    shutil.copy(repository / "metrics" / "data.json", tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "metrics"


def test_samples_show_the_models_that_reply(reported):
    main()
    page = (reported / "samples.md").read_text(encoding="utf-8")
    assert page.count("| scratch |") == page.count("| mistral |") == page.count("| retrieval |") == len(PROMPTS)
    assert "ngram5" not in page and "frequent" not in page


def test_the_table_has_the_figures_of_every_model(reported):
    main()
    rows = [line for line in (reported / "results.md").read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    assert [row.split("`")[1] for row in rows] == list(MODELS)
    figures = json.loads((reported / "scratch.json").read_text(encoding="utf-8"))
    assert f"**{figures['bpb']['all']:.3f}**" in rows[MODELS.index("scratch")]


def test_a_model_that_is_not_there_says_why_and_shows_no_reply(reported):
    rows = (reported / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [row for row in rows if json.loads(row)["model"] != "mistral"]
    (reported / "predictions.jsonl").write_text("".join(rows), encoding="utf-8")
    write_json(reported / "detail/mistral.json", {"enabled": False, "reason": "finetune.enabled is false"})
    main()
    assert "`mistral`: finetune.enabled is false." in (reported / "results.md").read_text(encoding="utf-8")
    assert "mistral" not in (reported / "samples.md").read_text(encoding="utf-8")


def test_equal_metrics_give_equal_pages(reported):
    pages = []
    for _ in range(2):
        main()
        pages.append([(reported / name).read_bytes() for name in ("results.md", "samples.md", "data_card.md")])
    assert pages[0] == pages[1]


def test_the_data_card_has_the_share_of_every_source_in_what_is_scored(reported):
    main()
    card = (reported / "data_card.md").read_text(encoding="utf-8").splitlines()
    shares = {line.split("`")[1]: float(line.rsplit(" | ", 1)[1].split("%")[0]) for line in card if line[:3] == "| `"}
    rows = [json.loads(line) for line in (reported / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    scored = {row["id"]: row for row in rows if row["kind"] == "reply"}.values()
    whole = sum(row["bytes"] for row in scored)
    for source, share in shares.items():
        assert share == pytest.approx(100 * sum(r["bytes"] for r in scored if r["source"] == source) / whole, abs=0.051)
    assert sum(shares.values()) == pytest.approx(100, abs=0.2)
