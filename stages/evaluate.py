"""Stage evaluate: models and test data -> the figures in metrics/, and what they are computed from.

metrics/{<model>,compare}.json, detail/; predictions.jsonl and scores.jsonl, from which all follow.
"""

import logging
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llm.corpus.questions import Question, draw_questions, judgeable, read_questions
from llm.corpus.truthfulqa import read_truthfulqa
from llm.dialogue import read_table
from llm.evaluation.evaluate import Measured, make_yardstick, rounded
from llm.evaluation.exposure import Planted
from llm.evaluation.lineup import NAMES, Folders, line_up
from llm.evaluation.plot_tables import BPB_COLUMNS, CHOICE_COLUMNS, bpb_rows, choice_rows, table_bytes
from llm.evaluation.samples import PROMPTS
from llm.evaluation.scorecard import Card, absent_card, fill_card, n_items
from llm.evaluation.testset import Asked, EvaluateConfig, draw_examples, draw_prompts
from llm.evaluation.text_metrics import spans_of
from llm.files import json_bytes, write_together
from llm.judge.surface import surface_report
from llm.judge.trees import Judge, load_judge
from llm.machine import pick_device, tune_cpu
from llm.runs.audit import audit_table
from llm.runs.compare import CompareConfig, in_short, standing
from llm.runs.records import score_rows, text_rows, to_lines
from llm.runs.settings import Settings
from llm.tokens.canaries import draw_alternatives, read_canaries
from stages.logs import run_stage
from stages.params import load, load_value

CLEAN, CURATED, OUT = Path("data/clean"), Path("data/curated"), Path("metrics")
DETAIL = OUT / "detail"
# Written last: without it the others may be of two runs, and `python -m llm` reads none.
SEAL = DETAIL / "settings.json"
JUDGE = Path("models/judge")
TRAIN, TRUTHFULQA = CLEAN / "train.arrow", CLEAN / "TruthfulQA.csv"
FOLDERS = Folders(Path("models/scratch"), Path("data/tokens"), TRAIN, Path("models/base"), Path("models/mistral"))

logger = logging.getLogger(__name__)


def ask_what(config: EvaluateConfig, seed: int) -> Asked:
    """The questions of this run."""
    examples = draw_examples(read_table(CLEAN / "test.arrow"), config, seed)
    quiz, premises = (read_questions(CURATED / f"{name}.jsonl") for name in ("quiz", "false_premise"))
    return Asked(
        examples=examples,
        prompts=draw_prompts(examples, config.generations, seed),
        quiz=quiz,
        truth=draw_questions(judgeable([*quiz, *premises]), config.truth_questions, seed),
        truthfulqa=read_held_out_truthfulqa(config.truthfulqa_questions, seed),
    )


def read_held_out_truthfulqa(n: int | None, seed: int) -> list[Question]:
    """`n` questions of TruthfulQA (None: all), none where the stage clean did not hold it out."""
    return draw_questions(read_truthfulqa(TRUTHFULQA), n, seed) if TRUTHFULQA.is_file() else []


def read_planted(seed: int) -> Planted:
    """The canaries of the training tokens, and as many other numbers as the parameters say."""
    canaries = read_canaries(FOLDERS.tokens / "canaries.json")
    return Planted(canaries, draw_alternatives(canaries, load_value("canaries.alternatives", int), seed))


def outputs(cards: dict[str, Card], settings: Settings, judge: Judge, surface: dict[str, Any]) -> dict[Path, bytes]:
    """Every file of the stage."""
    files = {OUT / f"{name}.json": json_bytes(rounded(card.metrics)) for name, card in cards.items()}
    details = {name: rounded(card.detail) for name, card in cards.items()}
    measured = {name: card.measured for name, card in cards.items() if card.measured}
    compared = standing(measured, settings.rules(judge))
    in_detail = {
        **details,
        "compare": rounded({pair: one and asdict(one) for pair, one in compared.items()}),
        "settings": asdict(settings),
        "surface": rounded(surface),
    }
    files |= {DETAIL / f"{name}.json": json_bytes(values) for name, values in in_detail.items()}
    files[OUT / "compare.json"] = json_bytes(rounded({pair: in_short(one) for pair, one in compared.items()}))
    files[OUT / "plots" / "bpb.csv"] = table_bytes(BPB_COLUMNS, bpb_rows(details))
    files[OUT / "plots" / "choice.csv"] = table_bytes(CHOICE_COLUMNS, choice_rows(details))
    files[OUT / "judge_audit.csv"] = audit_table(measured, settings.data_seed)
    return files | records(measured)


def records(measured: dict[str, Measured]) -> dict[Path, bytes]:
    """Everything the models found likely and said, from which the figures are computed again."""
    likely = [score_rows(name, one.asked, one.likelihoods) for name, one in measured.items() if one.likelihoods]
    said = [text_rows(name, one.asked, PROMPTS, one.texts) for name, one in measured.items() if one.texts]
    return {
        OUT / "scores.jsonl": to_lines(chain.from_iterable(likely)),
        OUT / "predictions.jsonl": to_lines(chain.from_iterable(said)),
    }


def report_surface(asked: Asked, seed: int) -> dict[str, dict[str, float] | None]:
    """What the surface of the answers alone gives away of each question set, logged too; None where none was asked."""
    sets = {"quiz": asked.quiz, "truthfulqa": asked.truthfulqa}
    report = surface_report({name: questions for name, questions in sets.items() if len(questions) > 1}, seed)
    for name, found in report.items():
        figures = found["accuracy"], found["chance"]
        logger.info("%s by the surface of its answers alone: %.3f right, chance %.3f", name, *figures)
    return {name: report.get(name) for name in sets}


def main() -> None:
    """Nothing; the stage's outputs are written."""
    seed, device = load_value("data_seed", int), pick_device(load_value("device", str))
    config, min_dialogues = load("evaluate", EvaluateConfig), load_value("clean.min_test_dialogues", int)
    tune_cpu()
    asked = ask_what(config, seed)
    spans = spans_of(turn for dialogue in read_table(TRAIN) for turn in dialogue.turns)
    stick = make_yardstick(asked, spans, load_judge(JUDGE), config, min_dialogues, seed)
    planted = read_planted(seed)
    entrants = line_up(FOLDERS, device, load_value("seed", int), config.batch_tokens)
    total = sum(n_items(entrant, asked, config) for entrant in entrants)
    logger.info("%d models and baselines score or say %s texts in all, %s", len(entrants), f"{total:,}", device)
    with tqdm(total=total, unit="item", desc="evaluate", mininterval=1.0) as bar:
        cards = {entrant.name: fill_card(entrant, stick, planted, config, bar.update) for entrant in entrants}
    for name in set(NAMES) - set(cards):
        cards[name] = absent_card(asked, "finetune.enabled is false")
    surface = report_surface(asked, seed)
    settings = Settings(config, load("compare", CompareConfig), seed, min_dialogues)
    write_together(outputs(cards, settings, stick.judge, surface), SEAL)


if __name__ == "__main__":
    run_stage("evaluate", main)
