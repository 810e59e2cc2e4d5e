"""Stage evaluate: models and test data -> the figures in metrics/, and what they are computed from.

metrics/{<model>,compare}.json, detail/, samples.md; predictions.jsonl and scores.jsonl, from which all follow.
"""

import logging
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from llm.canaries import draw_alternatives, read_canaries
from llm.compare import CompareConfig, in_short, standing
from llm.dialogue import read_table
from llm.evaluate import make_yardstick, rounded
from llm.files import write_bytes, write_json
from llm.judge import Judge, load_judge
from llm.judge_audit import audit_table
from llm.lineup import NAMES, Folders, line_up
from llm.machine import pick_device, tune_cpu
from llm.memory import Planted
from llm.metrics import spans_of
from llm.plot_tables import BPB_COLUMNS, CHOICE_COLUMNS, bpb_rows, choice_rows, write_rows
from llm.questions import draw_questions, read_questions
from llm.records import Measured, score_rows, text_rows, to_lines
from llm.samples import PROMPTS, samples_markdown
from llm.scorecard import Card, absent_card, fill_card, n_items
from llm.settings import Settings
from llm.surface import surface_report
from llm.testset import Asked, EvaluateConfig, draw_examples, draw_prompts
from stages.logs import run_stage
from stages.params import load, load_value

CLEAN, CURATED, OUT = Path("data/clean"), Path("data/curated"), Path("metrics")
JUDGE = Path("models/judge")
TRAIN = CLEAN / "train.arrow"
FOLDERS = Folders(Path("models/scratch"), Path("data/tokens"), TRAIN, Path("models/base"), Path("models/mistral"))
SHOWN = ("mistral", "base", "scratch", "retrieval", "untrained")  # `frequent` would say the same twenty times

logger = logging.getLogger(__name__)


def ask_what(config: EvaluateConfig, seed: int) -> Asked:
    """The questions of this run."""
    examples = draw_examples(read_table(CLEAN / "test.arrow"), config, seed)
    quiz, premises = (read_questions(CURATED / f"{name}.jsonl") for name in ("quiz", "false_premise"))
    prompts = draw_prompts(examples, config.generations, seed)
    return Asked(examples, prompts, quiz, draw_questions([*quiz, *premises], config.truth_questions, seed))


def read_planted(seed: int) -> Planted:
    """The canaries of the training tokens, and as many other numbers as the parameters say."""
    canaries = read_canaries(FOLDERS.tokens / "canaries.json")
    return Planted(canaries, draw_alternatives(canaries, load_value("canaries.alternatives", int), seed))


def write(cards: dict[str, Card], settings: Settings, judge: Judge, names: dict[str, str]) -> None:
    """Nothing; the stage's outputs are written."""
    for name, card in cards.items():
        write_json(OUT / f"{name}.json", rounded(card.metrics))
        write_json(OUT / "detail" / f"{name}.json", rounded(card.detail))
    details = {name: rounded(card.detail) for name, card in cards.items()}
    write_rows(OUT / "plots" / "bpb.csv", BPB_COLUMNS, bpb_rows(details))
    write_rows(OUT / "plots" / "choice.csv", CHOICE_COLUMNS, choice_rows(details))
    write_json(OUT / "detail" / "settings.json", asdict(settings))
    measured = {name: card.measured for name, card in cards.items() if card.measured}
    compared = standing(measured, settings.rules(judge))
    write_json(OUT / "compare.json", rounded({pair: in_short(one) for pair, one in compared.items()}))
    write_json(OUT / "detail" / "compare.json", rounded({p: one and asdict(one) for p, one in compared.items()}))
    write_records(measured)
    write_bytes(OUT / "judge_audit.csv", audit_table(measured, settings.data_seed))
    texts = {name: measured[name].texts for name in SHOWN if name in measured}
    shown = {name: said.shown for name, said in texts.items() if said}
    page = samples_markdown(PROMPTS, {name: names[name] for name in shown}, shown)
    write_bytes(OUT / "samples.md", page.encode())


def write_records(measured: dict[str, Measured]) -> None:
    """Nothing; everything the models found likely and said is written, the figures are computed again from it."""
    likely = [score_rows(name, one.asked, one.likelihoods) for name, one in measured.items() if one.likelihoods]
    said = [text_rows(name, one.asked, PROMPTS, one.texts) for name, one in measured.items() if one.texts]
    write_bytes(OUT / "scores.jsonl", to_lines(chain.from_iterable(likely)))
    write_bytes(OUT / "predictions.jsonl", to_lines(chain.from_iterable(said)))


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
    surface = surface_report({"quiz": asked.quiz}, seed)
    write_json(OUT / "detail" / "surface.json", rounded(surface))
    logger.info(
        "the quiz by the surface of its answers alone: %(accuracy).3f right, chance %(chance).3f", surface["quiz"]
    )
    settings = Settings(config, load("compare", CompareConfig), seed, min_dialogues)
    write(cards, settings, stick.judge, {entrant.name: entrant.real_name for entrant in entrants})


if __name__ == "__main__":
    run_stage("evaluate", main)
