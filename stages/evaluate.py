"""Stage evaluate: models and test data -> metrics/{<model>.json, detail, samples.md, predictions.jsonl}."""

import json
import logging
from pathlib import Path

from tqdm import tqdm

from llm.canaries import draw_alternatives, read_canaries
from llm.dialogue import read_table
from llm.evaluate import differences, make_yardstick, n_likelihoods, n_texts, rounded
from llm.files import write_bytes, write_json
from llm.lineup import NAMES, Folders, line_up
from llm.machine import keep_freed_memory, pick_device
from llm.memory import Planted
from llm.metrics import spans_of
from llm.questions import draw_questions, read_questions
from llm.samples import PROMPTS, samples_markdown
from llm.scorecard import Card, absent_card, fill_card
from llm.testset import Asked, EvaluateConfig, draw_examples, draw_prompts
from stages.logs import run_stage
from stages.params import load, load_value

CLEAN, CURATED, OUT = Path("data/clean"), Path("data/curated"), Path("metrics")
FOLDERS = Folders(Path("models/scratch"), Path("data/tokens"), Path("models/base"), Path("models/mistral"))

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


def write(cards: dict[str, Card], compared: dict[str, object], names: dict[str, str]) -> None:
    """Nothing; the stage's outputs are written."""
    for name, card in cards.items():
        write_json(OUT / f"{name}.json", rounded(card.metrics))
        write_json(OUT / "detail" / f"{name}.json", rounded(card.detail))
    write_json(OUT / "detail" / "differences.json", rounded(compared))
    rows = [json.dumps(row, ensure_ascii=False, sort_keys=True) for c in cards.values() for row in c.predictions]
    write_bytes(OUT / "predictions.jsonl", "".join(row + "\n" for row in rows).encode())
    shown = {name: card.shown for name, card in cards.items() if card.shown is not None}
    page = samples_markdown(PROMPTS, {name: names[name] for name in shown}, shown)
    write_bytes(OUT / "samples.md", page.encode())


def main() -> None:
    """Nothing; the stage's outputs are written."""
    seed, device = load_value("data_seed", int), pick_device(load_value("device", str))
    config, min_dialogues = load("evaluate", EvaluateConfig), load_value("clean.min_test_dialogues", int)
    keep_freed_memory()
    asked = ask_what(config, seed)
    spans = spans_of(turn for dialogue in read_table(CLEAN / "train.arrow") for turn in dialogue.turns)
    stick = make_yardstick(asked, spans, config, min_dialogues, seed)
    planted = read_planted(seed)
    entrants = line_up(FOLDERS, device, load_value("seed", int), config.batch_tokens)
    scored, said = n_likelihoods(asked), n_texts(asked, config, len(PROMPTS))
    logger.info(
        "%d models, each scores %d replies and answers and says %d texts, %s", len(entrants), scored, said, device
    )
    total = scored * len(entrants) + said * (len(entrants) - 1)  # all but the n-grams reply
    with tqdm(total=total, unit="item", desc="evaluate", mininterval=1.0) as bar:
        cards = {entrant.name: fill_card(entrant, stick, planted, config, bar.update) for entrant in entrants}
    for name in set(NAMES) - set(cards):
        cards[name] = absent_card(asked, "finetune.enabled is false")
    compared = differences({name: card.bpb for name, card in cards.items() if card.bpb}, stick)
    write(cards, compared, {entrant.name: entrant.real_name for entrant in entrants})


if __name__ == "__main__":
    run_stage("evaluate", main)
