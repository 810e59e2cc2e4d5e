"""The pictures, and the stage that writes them. The letters are outlines; matplotlib names each text in a comment."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from llm.evaluation.figure_files import read_csv, show_number
from llm.evaluation.plots import draw_bits_per_byte, draw_choice, draw_judge, draw_losses
from llm.files import write_json
from stages.plots import main

BPB = [
    {
        "model": model,
        "source": source,
        "value": str(value),
        "low": str(value - 0.1),
        "high": str(value + 0.1),
        "n": "1400",
    }
    for model, value in (("scratch", 1.9), ("ngram5", 1.8), ("mistral", 1.2), ("compressor", 2.9))
    for source in ("all", "eli5", "macro")
]
CHOICE = [
    {"model": model, "area": area, "accuracy": str(value), "low": "0.1", "high": "0.5", "chance": "0.5", "n": "344"}
    for model, value in (("scratch", 0.2), ("ngram5", 0.3))
    for area in ("what_ai_is", "how_it_works", "all")
]
CURVE = [
    {"step": "0", "tokens": "0", "train_loss": "", "val_loss": "8.3"},
    {"step": "10", "tokens": "2000000", "train_loss": "6.0", "val_loss": "5.32"},
]
JUDGE = {
    "reliability": [
        {"predicted": 0.1, "judged": 0.2, "answers": 1300},
        {"predicted": 0.8, "judged": 0.9, "answers": 7},
    ],
    "roc": {"judge": [[0, 0], [0.2, 0.8], [1, 1]], "length": [[0, 0], [1, 1]]},
    "curated": {
        "auroc": {"value": 0.8, "low": 0.79, "high": 0.8125},
        "auroc_length": {"value": 0.5, "low": 0.45, "high": 0.55},
        "calibration_error": 0.0152,
    },
}


def texts(picture):
    """Every text of a picture in the order drawn; raises where it is no XML."""
    ET.fromstring(picture)
    return re.findall(r"<!-- (.*?) -->", picture.decode())


def test_bits_per_byte_has_a_panel_for_all_and_each_source_but_not_for_the_mean_of_sources():
    found = texts(draw_bits_per_byte(BPB))
    assert [text for text in found if text in ("all", "eli5", "macro")] == ["all", "eli5"]
    assert found.count("n = 1,400") == 2
    assert [text for text in found if text in {row["model"] for row in BPB}] == [
        *("compressor", "scratch", "ngram5", "mistral")  # from below: the lowest stands at the top
    ]
    assert any("ngram5: right of it" in text for text in found)
    assert "bits per byte" in found


def test_a_figure_without_an_interval_is_a_point():
    small = [{**row, "low": "", "high": ""} if row["source"] == "eli5" else row for row in BPB]
    assert "1.900" in texts(draw_bits_per_byte(small))
    assert len(draw_bits_per_byte(small)) < len(draw_bits_per_byte(BPB))


def test_a_figure_reads_in_the_picture_as_in_the_table_and_in_the_file():
    """1.8125 and 0.3125 lie halfway between two numbers of three decimals, and are so in binary too."""
    halves = [{**row, "value": "1.8125"} for row in BPB]
    assert {text for text in texts(draw_bits_per_byte(halves)) if text.startswith("1.81")} == {"1.813"}
    assert show_number(1.8125, 3) == "1.813"
    shares = [{**row, "accuracy": "0.3125"} for row in CHOICE]
    assert {text for text in texts(draw_choice(shares)) if text.startswith("0.31")} == {"0.313"}


def test_without_the_5_gram_there_is_no_line():
    found = texts(draw_bits_per_byte([row for row in BPB if row["model"] != "ngram5"]))
    assert not any("right of it" in text for text in found)


def test_literacy_is_shown_against_blind_choice_with_the_number_of_pairs():
    found = texts(draw_choice(CHOICE))
    assert [text for text in found if text in ("all", "how it works", "what AI is")] == [
        "all",
        "how it works",
        "what AI is",
    ]
    assert found.count("n = 344, chance 0.50") == 3
    assert "blind choice" in found


def test_other_questions_have_a_panel_behind_the_areas_where_they_were_asked():
    found = texts(draw_choice([*CHOICE, {**CHOICE[0], "area": "TruthfulQA", "n": "817"}]))
    assert [text for text in found if text in ("what AI is", "TruthfulQA")] == ["what AI is", "TruthfulQA"]
    assert [text for text in found if "n = " in text][-2:] == ["n = 344, chance 0.50", "n = 817, chance 0.50"]


def test_a_curve_ends_with_its_last_validation_loss_and_starts_training_after_the_first_step():
    picture = draw_losses({"scratch": CURVE, "mistral": []})
    found = texts(picture)
    assert "5.32" in found
    assert "not trained in this run" in found
    assert "tokens trained on (million)" in found
    assert "−" not in "".join(found)  # the untrained 0.0 would stretch the axis down to 0 and below


def test_the_judge_is_shown_beside_what_it_has_to_beat():
    found = texts(draw_judge(JUDGE))
    assert {"judge .800 (.790 to .813)", "length .500 (.450 to .550)", "1,300"} <= set(found)
    assert any("n = 1,307 answers" in text for text in found)
    assert not any("contrast" in text for text in found)  # not among the figures given
    assert any("calibration error 0.015" in text for text in found)


def test_the_committed_judge_can_be_drawn(repository):
    figures = json.loads((repository / "data/judge/judge.json").read_text(encoding="utf-8"))["figures"]
    found = texts(draw_judge(figures))
    shown = [text.split()[0] for text in found if re.fullmatch(r"[a-z]+ \.\d{3}( \(.*\))?", text)]
    assert shown == ["chance", "judge", "contrast", "length", "surface"]


def test_equal_data_give_equal_bytes_whatever_a_user_has_configured(tmp_path):
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\n", encoding="utf-8")
    code = "import json, sys; from llm.evaluation.plots import draw_choice as draw; "
    code += "sys.stdout.buffer.write(draw(json.loads(sys.argv[1])))"
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(CHOICE)], env=environment, capture_output=True, check=True
    )
    assert done.stdout == draw_choice(CHOICE) == draw_choice(CHOICE)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_backend_that_a_notebook_set_for_itself_stops_no_picture(backend):
    code = "import os; from llm.evaluation.plots import draw_losses as draw; "
    code += "assert b'</svg>' in draw({'scratch': []}); print(os.environ['MPLBACKEND'])"
    environment = {**os.environ, "MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (backend, "")


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The tables that the stages before leave."""
    monkeypatch.chdir(tmp_path)
    tables = {"train_scratch": CURVE, "finetune_mistral": CURVE, "plots/bpb": BPB, "plots/choice": CHOICE}
    for name, rows in tables.items():
        write_csv(tmp_path / f"metrics/{name}.csv", rows)
    write_json(tmp_path / "models/judge/judge.json", {"figures": JUDGE})
    return tmp_path


def test_the_stage_draws_what_the_tables_hold(project):
    main()
    drawn = project / "metrics/plots"
    assert (drawn / "bpb.svg").read_bytes() == draw_bits_per_byte(read_csv(drawn / "bpb.csv"))
    assert {path.name for path in drawn.glob("*.svg")} == {"bpb.svg", "choice.svg", "judge.svg", "loss.svg"}


def test_fine_tuning_switched_off_leaves_its_panel_empty(project):
    (project / "metrics/finetune_mistral.csv").write_text("step,val_loss\n", encoding="utf-8")
    main()
    assert "not trained in this run" in texts((project / "metrics/plots/loss.svg").read_bytes())
