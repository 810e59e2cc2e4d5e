"""The stage report, on what the stage evaluate left of tiny models."""

import json
import shutil
import subprocess

import pytest

from llm.evaluation.figure_files import SUMMARY_ROWS, show_number
from llm.evaluation.result_table import MODELS
from llm.evaluation.samples import PROMPTS
from llm.files import write_json
from llm.judge.overlap import best_f1
from llm.runs.packed import COMPARED, unpack_run
from stages.logs import Made, record_cost
from stages.report import COPIES, COST, MADE, TRAININGS, main
from tests.reported import copy_committed
from tests.stages.test_evaluate import project  # noqa: F401  a fixture


@pytest.fixture
def reported(project, tmp_path, monkeypatch):  # noqa: F811
    """A folder with metrics of its own, in which the stage runs; those of data and training are the committed run's."""
    shutil.copytree(project / "metrics", tmp_path / "metrics")
    copy_committed(tmp_path)
    monkeypatch.setenv("TANDEM_COST", str(tmp_path / ".cost"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "metrics"


def test_samples_show_the_models_that_reply(reported):
    main()
    head, *prompts = (reported / "samples.md").read_text(encoding="utf-8").split("\n### ")
    prompts, best = prompts[: len(PROMPTS)], prompts[len(PROMPTS) :]
    assert [part.partition("\n")[0].split(". ")[0] for part in prompts] == [str(i + 1) for i in range(len(PROMPTS))]
    for part in prompts:
        rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| **")]
        assert [row[0] for row in rows] == ["| **mistral**", "| **base**", "| **scratch**"]
        assert all(len(row) == 3 for row in rows)  # name, greedy, sampled
        assert part.count("\n> *retrieval*: ") == 1
    assert "untrained" in head and "untrained" not in "".join(prompts)
    assert [part.partition("\n")[0] for part in best] == ["mistral", "base", "scratch", "retrieval"]


def test_the_best_reply_stands_beside_the_real_one_and_its_figure_is_that_of_the_two_texts(reported):
    main()
    rows = [json.loads(row) for row in (reported / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    replies = {row["id"]: row["text"] for row in rows if (row["model"], row["kind"]) == ("retrieval", "greedy")}
    tested = json.loads((reported / "detail/samples.json").read_text(encoding="utf-8"))["prompts"]
    assert {one["id"] for one in tested} == replies.keys()
    figures = [best_f1(replies[one["id"]], [one["real"]]) for one in tested]
    part = (reported / "samples.md").read_text(encoding="utf-8").partition("\n### retrieval\n")[2]
    assert f"| best: {show_number(max(figures), 2)} | worst: {show_number(min(figures), 2)} |" in part
    assert f"On average {show_number(sum(figures) / len(figures), 2)} (95 % interval " in part
    assert f" over n = {len(figures)}, by chance " in part


def test_the_table_has_the_figures_of_every_model(reported):
    main()
    rows = [line for line in (reported / "results.md").read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    found = [row.split("`")[1] for row in rows]
    assert [name for name in found if name != "scratch + ngram5"] == list(MODELS)
    assert found[found.index("scratch") + 1] == "scratch + ngram5"
    figures = json.loads((reported / "scratch.json").read_text(encoding="utf-8"))
    assert f"**{figures['bpb']['all']:.3f}**" in rows[MODELS.index("scratch")]


def test_a_model_that_is_not_there_says_why_and_shows_no_reply(reported):
    switch_off_mistral(reported)
    main()
    assert "`mistral`: finetune.enabled is false." in (reported / "results.md").read_text(encoding="utf-8")
    assert "mistral" not in (reported / "samples.md").read_text(encoding="utf-8")


def test_equal_metrics_give_equal_files(reported):
    found = []
    for _ in range(2):
        main()
        found.append({path: path.read_bytes() for path in reported.rglob("*") if path.is_file()})
    assert found[0] == found[1]


def leaves(values):
    return [leaf for value in values.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]


def test_the_summary_is_short_and_has_the_figures_of_the_other_files(reported):
    main()
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in reported.glob("*.json")}
    found = read["summary"]
    assert len(leaves(found)) == SUMMARY_ROWS  # of three sources
    assert found["scratch"]["bpb"] == read["scratch"]["bpb"]["all"]
    assert found["mistral"]["bpb_technical"] == read["mistral"]["bpb"]["technical"]
    assert found["mistral"]["val_loss"] == read["finetune_mistral"]["best_val_loss"]
    gap = json.loads((reported / "detail/compare.json").read_text())["scratch - ngram5"]["lines"]["bpb.all"]
    assert found["scratch"]["margin"] == -gap["high"] < found["ngram5"]["bpb"] - found["scratch"]["bpb"]
    assert found["data"] == {
        "test_replies": 9,
        "train_tokens": read["data"]["tokenizer"]["splits"]["train"]["tokens"]["all"],
    }


def test_a_model_that_is_not_there_has_the_same_rows_of_null(reported):
    main()
    before = json.loads((reported / "summary.json").read_text(encoding="utf-8"))
    switch_off_mistral(reported)
    main()
    after = json.loads((reported / "summary.json").read_text(encoding="utf-8"))
    assert after == before | {"mistral": dict.fromkeys(before["mistral"])}


def switch_off_mistral(reported):
    """Leave what the stages leave where finetune.enabled is false."""
    rows = (reported / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [row for row in rows if json.loads(row)["model"] != "mistral"]
    (reported / "predictions.jsonl").write_text("".join(rows), encoding="utf-8")
    write_json(reported / "detail/mistral.json", {"enabled": False, "reason": "finetune.enabled is false"})
    figures = json.loads((reported / "detail/figures/mistral.json").read_text(encoding="utf-8"))
    empty = {section: dict.fromkeys(row) for section, row in figures.items()}
    write_json(reported / "detail/figures/mistral.json", {**empty, "enabled": False})
    compared = json.loads((reported / "detail/compare.json").read_text(encoding="utf-8"))
    write_json(
        reported / "detail/compare.json", {pair: None if "mistral" in pair else one for pair, one in compared.items()}
    )
    write_json(COPIES["finetune_mistral"], {"enabled": False})


def test_the_packed_run_is_that_of_the_folder(reported, tmp_path):
    main()
    unpack_run(reported / "outputs.tar.xz", tmp_path / "other")
    for path in COMPARED:
        assert (tmp_path / "other" / path).read_bytes() == (tmp_path / path).read_bytes()


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


def test_the_cost_of_every_stage_that_was_measured_here_stands_in_its_file(reported):
    record_cost("train_scratch", 264.0, Made([TRAININGS["scratch"]]))
    main()
    stages = json.loads(COST.read_text(encoding="utf-8"))["stages"]
    assert stages["train_scratch"]["seconds"] == 264.0
    assert {name for name, line in stages.items() if line} == {"train_scratch"}
    assert set(stages) == {*MADE, "download@dialogue", "download@eli5", "download@technical"}
    page = (reported / "report.html").read_text(encoding="utf-8")
    assert "In all 4.4 minutes" in page and "4.4 minutes" not in (reported / "report.md").read_text(encoding="utf-8")


def test_a_committed_cost_that_does_not_say_where_it_was_measured_is_measured_anew(reported):
    record_cost("train_scratch", 264.0, Made([TRAININGS["scratch"]]))
    main()
    costs = json.loads(COST.read_text(encoding="utf-8"))
    del costs["stages"]["train_scratch"]["environment"]
    write_json(COST, costs)
    for command in (["init", "-q"], ["add", "-f", str(COST)]):
        subprocess.run(["git", *command], check=True)
    record_cost("train_scratch", 999.0, Made([TRAININGS["scratch"]]))
    main()
    line = json.loads(COST.read_text(encoding="utf-8"))["stages"]["train_scratch"]
    assert line["seconds"] == 999.0 and line["environment"]["python"]


def test_a_committed_cost_stays_while_the_stage_makes_the_same_bytes(reported):
    """So a run that changes nothing leaves git nothing to say."""
    record_cost("train_scratch", 264.0, Made([TRAININGS["scratch"]]))
    main()
    for command in (["init", "-q"], ["add", "-f", str(COST)]):
        subprocess.run(["git", *command], check=True)
    before = COST.read_bytes()
    COST.unlink()
    record_cost("train_scratch", 999.0, Made([TRAININGS["scratch"]]))
    main()
    assert COST.read_bytes() == before
    trained = json.loads(TRAININGS["scratch"].read_text(encoding="utf-8"))
    write_json(TRAININGS["scratch"], trained | {"best_val_loss": 3.5})
    record_cost("train_scratch", 300.0, Made([TRAININGS["scratch"]]))
    main()
    assert json.loads(COST.read_text(encoding="utf-8"))["stages"]["train_scratch"]["seconds"] == 300.0
