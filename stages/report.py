"""Stage report: what was measured -> the files of metrics/ that git tracks, for people and for DVC; report.html.

A stage of its own: DVC caches the results of evaluate only where none of its outputs is a page that git tracks.
"""

import json
import logging
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.app.cost import cost_figures
from llm.app.report import report_html, report_markdown
from llm.app.report_run import read_reported
from llm.evaluation.data_card import data_card
from llm.evaluation.figure_files import summarise
from llm.evaluation.result_table import MODELS, own_data_note, result_table
from llm.evaluation.samples import PROMPTS, own_sources
from llm.evaluation.samples_page import Overlap, Page, Sample, Speaker, samples_markdown
from llm.files import copy_file, write_bytes, write_json
from llm.inference.replies import Reply
from llm.runs.output_rows import OutputRow, read_output_rows
from llm.runs.packed import PACKED, pack_run
from stages.logs import content_key, read_cost, run_stage
from stages.speed import step_flop

OUT = Path("metrics")
DETAIL, PREDICTIONS, SCORES = OUT / "detail", OUT / "predictions.jsonl", OUT / "scores.jsonl"
DATA = Path("data/summary.json")
TRAININGS = {"scratch": Path("models/scratch/summary.json"), "mistral": Path("models/mistral/summary.json")}
COPIES = {"data": DATA, "train_scratch": TRAININGS["scratch"], "finetune_mistral": TRAININGS["mistral"]}
RAW, CLEAN, BASE = Path("data/raw"), Path("data/clean/report.json"), Path("models/base/tandem.json")
JUDGE = Path("models/judge/judge.json")
SHOWN = (Path("params.yaml"), Path("presets/laptop.yaml"))  # read with the other files of the run, by read_reported
MADE = {  # by which files the cost of a stage is found again
    "download_base": [BASE],
    "clean": [CLEAN],
    "tokenize": [DATA],
    "train_scratch": [TRAININGS["scratch"]],
    "finetune_mistral": [TRAININGS["mistral"]],
    "train_judge": [JUDGE],
    "evaluate": [SCORES, PREDICTIONS],
}
COST, HTML, MARKDOWN = OUT / "cost.json", OUT / "report.html", OUT / "report.md"
RESULTS, SAMPLES, CARD = OUT / "results.md", OUT / "samples.md", OUT / "data_card.md"
SHOWN_MODELS, SHOWN_BASELINES = ("mistral", "base", "scratch"), ("retrieval",)  # `frequent` would say one thing only

logger = logging.getLogger(__name__)


def read_detail(name: str) -> dict[str, Any]:
    """The content of one file of metrics/detail."""
    return json.loads((DETAIL / f"{name}.json").read_text(encoding="utf-8"))


def samples_page(details: dict[str, dict[str, Any]]) -> str:
    """Prompts with what the models reply to them side by side, as Markdown."""
    rows = read_output_rows(PREDICTIONS)
    speakers = {name: read_speaker(details[name], name, kinds) for name, kinds in rows.items()}
    texts = read_detail("samples")
    shown = [name for name in (*SHOWN_MODELS, *SHOWN_BASELINES) if name in speakers]
    page = Page(
        prompts=PROMPTS,
        models=[speakers[name] for name in SHOWN_MODELS if name in speakers],
        baselines=[speakers[name] for name in SHOWN_BASELINES if name in speakers],
        untrained=speakers["untrained"],
        max_reply_bytes=details["untrained"]["decoding"]["sampled"]["max_reply_bytes"],
        tested=read_samples(texts["prompts"], rows, "greedy"),
        overlaps={name: read_overlap(details[name]["text"]) for name in shown if details[name]["text"]},
        own=read_samples(texts["own"], rows, "greedy"),
        continued=read_samples(texts["continued"], rows, "continued"),
    )
    return samples_markdown(page)


def read_speaker(detail: Mapping[str, Any], name: str, kinds: Mapping[str, Sequence[OutputRow]]) -> Speaker:
    """A model with its replies to the prompts of the page."""
    greedy, sampled = ([as_reply(row) for row in kinds.get(kind, [])] for kind in ("shown", "shown_sampled"))
    return Speaker(name, detail["name"], greedy, sampled, detail["decoding"]["sampled"])


def as_reply(row: OutputRow) -> Reply:
    """The reply that a row holds."""
    return Reply(row["text"], row["ended"])


def read_overlap(text: Mapping[str, Any]) -> Overlap:
    """How many words the replies share with the real ones, from the section `text` of a detail."""
    found = text["token_f1"]
    return Overlap(found["value"], found["low"], found["high"], found["unrelated"], text["lengths"]["n"])


def read_samples(
    texts: Sequence[Mapping[str, str]], rows: Mapping[str, Mapping[str, Sequence[OutputRow]]], kind: str
) -> list[Sample]:
    """Texts of the test set with what the models made of them, their rows of that kind."""
    replies = {name: {row["id"]: as_reply(row) for row in kinds.get(kind, [])} for name, kinds in rows.items()}
    return [
        Sample(
            one["source"],
            one["text"],
            one["real"],
            {name: of_model[one["id"]] for name, of_model in replies.items() if one["id"] in of_model},
        )
        for one in texts
    ]


def evaluated_bytes() -> dict[str, int]:
    """Bytes of the scored replies by source: the same of every model."""
    replies = next(kinds["reply"] for kinds in read_output_rows(SCORES).values() if "reply" in kinds)
    found = Counter[str]()
    for row in replies:
        found[row["source"]] += row["bytes"]
    return dict(found)


def write_figures(data: dict[str, Any]) -> None:
    """Write the figures of each model, of the data and of the trainings, their summary for DVC, and the packed run."""
    copies = COPIES | {path.stem: path for path in sorted((DETAIL / "figures").iterdir())}
    for name, path in copies.items():
        copy_file(path, OUT / f"{name}.json")
    figures = {name: read_detail(f"figures/{name}") for name in MODELS}
    trained = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in TRAININGS.items()}
    lines = {pair: one and one["lines"] for pair, one in read_detail("compare").items()}
    write_json(OUT / "summary.json", summarise(figures, lines, data, trained))
    packed = pack_run(OUT.parent)
    write_bytes(Path(PACKED), packed)
    logger.info("%s: the run for comparisons, %d kB", PACKED, len(packed) // 1000)


def committed_costs() -> dict[str, dict[str, Any] | None]:
    """What git holds of the stages' costs: DVC has deleted the file itself by now. Nothing where git holds none."""
    try:
        found = subprocess.run(["git", "show", f":./{COST}"], capture_output=True, timeout=60)
        return json.loads(found.stdout)["stages"] if found.returncode == 0 else {}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):  # no git here, or a file of another form
        return {}


def stage_costs(sources: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """What each stage took to make what is here; None: that was not measured.

    What git holds stays as long as a stage makes the same bytes: a run that changes nothing leaves git nothing to say,
    and who takes results out of a cache sees what they cost where they were made.
    """
    made = {f"download@{source}": [RAW / f"{source}.provenance.json"] for source in sorted(sources)} | MADE
    committed, costs = committed_costs(), dict[str, dict[str, Any] | None]()
    for stage, files in made.items():
        kept = committed.get(stage)
        same = kept is not None and "environment" in kept and kept["key"] == content_key(files)
        costs[stage] = kept if same else read_cost(stage.partition("@")[0], files)
    return costs


def count_flop(trained: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Operations of each training that took place."""
    scratch, mistral = trained["scratch"], trained["mistral"]
    flop = {"train_scratch": step_flop(scratch["parameters"], scratch["tokens"])}
    if "parameters" in mistral:  # of frozen weights no gradient is computed, a third of the work
        flop["finetune_mistral"] = step_flop(mistral["parameters"] * 2 / 3, mistral["drawn_tokens"] * mistral["epoch"])
    return flop


def write_report(data: Mapping[str, Any]) -> None:
    """Write what the run cost, and the report, from the other files of metrics/."""
    trained = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in TRAININGS.items()}
    write_json(COST, cost_figures(stage_costs(list(data["provenance"])), trained, count_flop(trained)))
    reported = read_reported(OUT.parent)
    for path, page in ((MARKDOWN, report_markdown(reported)), (HTML, report_html(reported))):
        write_bytes(path, page.encode())
        logger.info("%s", path)


def main() -> None:
    """Write the figures and the pages."""
    details = {name: read_detail(name) for name in MODELS}
    data = json.loads(DATA.read_text(encoding="utf-8"))
    write_figures(data)
    pages = {
        RESULTS: result_table(details, read_detail("compare"))
        + own_data_note(data["provenance"], own_sources(data["provenance"])),
        SAMPLES: samples_page(details),
        CARD: data_card(data, evaluated_bytes()),
    }
    for path, page in pages.items():
        write_bytes(path, page.encode())
        logger.info("%s", path)
    write_report(data)


if __name__ == "__main__":
    run_stage("report", main)
