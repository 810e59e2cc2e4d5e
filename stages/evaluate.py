"""Stage evaluate: items -> ask each model -> measure -> write.

metrics/detail/; predictions.jsonl and scores.jsonl, from which all follow. The stage report writes what git tracks.
"""

import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from llm.corpus.questions import Question, draw_couples, draw_questions, judgeable, read_pairs, read_questions
from llm.corpus.truthfulqa import read_truthfulqa
from llm.dialogue import read_table
from llm.evaluation.ask import Outputs, ask_model, count_requests, keep_finite
from llm.evaluation.eval_models import MODEL_NAMES, ModelFolders, list_models
from llm.evaluation.exposure import Planted, find_own
from llm.evaluation.figure_files import (
    BPB_COLUMNS,
    CHOICE_COLUMNS,
    bpb_rows,
    choice_rows,
    find_not_finite,
    round_figures,
    table_bytes,
)
from llm.evaluation.items import EvalItems, EvaluateConfig, draw_continued, draw_examples, draw_prompts
from llm.evaluation.kept_outputs import KeptOutputs, describe_asking, outputs_root
from llm.evaluation.measure import (
    Figures,
    MetricInputs,
    absent_figures,
    make_metric_inputs,
    measure,
    measure_unkept,
    mixed_figures,
)
from llm.evaluation.mixed import Mixed, fit_weights
from llm.evaluation.plain_english import read_paragraphs
from llm.evaluation.samples import CONTINUED, own_sources
from llm.evaluation.scoring import EvalModel, TokenScorer
from llm.evaluation.text_metrics import spans_of
from llm.files import json_bytes, write_together
from llm.judge.instrument import Judge, load_judge
from llm.judge.surface import surface_report
from llm.machine import pick_device
from llm.models.kernel_choice import tune_cpu
from llm.runs.audit import audit_table
from llm.runs.compare import CompareConfig, compare_pairs, in_short
from llm.runs.output_rows import generation_rows, item_rows, jsonl_bytes, sample_texts, score_rows
from llm.runs.run_files import Settings
from llm.tokens.canaries import draw_alternatives, read_canaries
from stages.logs import Made, run_stage
from stages.params import load

CLEAN, CURATED, OUT = Path("data/clean"), Path("data/curated"), Path("metrics")
DETAIL = OUT / "detail"
FIGURES = DETAIL / "figures"
# Written last: without it the others may be of two runs, and `python -m llm` reads none.
SEAL = DETAIL / "settings.json"
JUDGE = Path("models/judge")
MIXED = ("scratch", "ngram5")  # whose tokens are the same
TRAIN, TRUTHFULQA = CLEAN / "train.arrow", CLEAN / "TruthfulQA.csv"
FOLDERS = ModelFolders(Path("models/scratch"), Path("data/tokens"), TRAIN, Path("models/base"), Path("models/mistral"))
METRIC_LIBRARIES = ("numpy", "sacrebleu", "tokenizers", "torch", "transformers")  # that compute the figures

logger = logging.getLogger(__name__)


def draw_items(config: EvaluateConfig, seed: int) -> EvalItems:
    """The eval items of this run."""
    examples = draw_examples(read_table(CLEAN / "test.arrow"), config, seed)
    quiz, premises = (read_questions(CURATED / f"{name}.jsonl") for name in ("quiz", "false_premise"))
    return EvalItems(
        examples=examples,
        prompts=draw_prompts(examples, config.generations, seed),
        quiz=quiz if config.quiz else [],
        truth=draw_questions(judgeable([*quiz, *premises]), config.truth_questions, seed),
        truthfulqa=read_held_out_truthfulqa(config.truthfulqa_questions, seed),
        continued=draw_continued(examples, CONTINUED, seed),
        pairs=draw_couples(read_pairs(CURATED / "pairs.jsonl"), config.literacy_questions, seed),
        premises=draw_couples(premises, config.literacy_questions, seed),
        english=read_paragraphs(CURATED / "english.txt"),
    )


def read_held_out_truthfulqa(n: int | None, seed: int) -> list[Question]:
    """`n` questions of TruthfulQA (None: all), none where the stage clean did not hold it out."""
    return draw_questions(read_truthfulqa(TRUTHFULQA), n, seed) if TRUTHFULQA.is_file() else []


def read_planted(seed: int) -> Planted:
    """The canaries of the training tokens and the user's own texts, with as many others as the parameters say."""
    canaries, n = read_canaries(FOLDERS.tokens / "canaries.json"), load("canaries.alternatives", int)
    own = find_own(load("canaries.own", list[str]), read_table(TRAIN), n, seed)
    return Planted(canaries, draw_alternatives(canaries, n, seed), own)


def read_own_sources() -> set[str]:
    """Sources that hold the user's own data."""
    return own_sources(json.loads((CLEAN / "report.json").read_text(encoding="utf-8"))["provenance"])


def ask_all(
    models: list[EvalModel], items: EvalItems, planted: Planted, config: EvaluateConfig, seed: int, kept: KeptOutputs
) -> tuple[dict[str, Outputs], int]:
    """The outputs of every model, asked one after the other and kept, and how many of them had been kept before."""
    total = sum(count_requests(model, items, config) for model in models)
    logger.info("%d models and baselines score or generate %s texts in all", len(models), f"{total:,}")
    outputs, n_kept = {}, 0
    with tqdm(total=total, unit="item", desc="evaluate", mininterval=1.0) as bar:
        for model in models:
            if found := kept.load(model, items):
                logger.info("%s: asked the same before, its outputs are taken from %s", model.name, kept.folder)
                bar.update(count_requests(model, items, config))
                n_kept += 1
            else:
                found = ask_model(model, items, planted, config, seed, bar.update)
                kept.save(model, found)
            outputs[model.name] = found
    return outputs, n_kept


def drop_not_finite(outputs: dict[str, Outputs]) -> tuple[dict[str, Outputs], dict[str, dict[str, str]]]:
    """The outputs without what is NaN or infinite, and by model and figure why there is none, logged too."""
    found = {name: keep_finite(one) for name, one in outputs.items()}
    for name, (_, lost) in found.items():
        for figure, reason in lost.items():
            logger.warning("%s has no %s: %s", name, figure, reason)
    return {name: kept for name, (kept, _) in found.items()}, {name: lost for name, (_, lost) in found.items()}


def describe_circumstances(model: EvalModel, lost: dict[str, str], config: EvaluateConfig, seed: int) -> Figures:
    """The part of a model's detail that its figures depend on besides its outputs, and which it lacks and why."""
    decoding = {"greedy": asdict(config.greedy(seed)), "sampled": asdict(config.drawn(model.name, seed))}
    versions = {name: version(name).partition("+")[0] for name in METRIC_LIBRARIES}
    name = model.real_name + "".join(f"; no {figure}: {reason}" for figure, reason in lost.items())
    return Figures({}, {"name": name, "decoding": decoding, "versions": versions, "not_finite": lost})


def measure_all(
    models: list[EvalModel],
    outputs: dict[str, Outputs],
    lost: dict[str, dict[str, str]],
    planted: Planted,
    inputs: MetricInputs,
    config: EvaluateConfig,
) -> dict[str, Figures]:
    """The figures of every model of MODEL_NAMES; empty ones of a model that is not there; of the `lost` ones why."""
    figures = dict.fromkeys(MODEL_NAMES, absent_figures(inputs.items, "finetune.enabled is false"))
    for model in models:
        found = measure(outputs[model.name], inputs) | measure_unkept(outputs[model.name], planted, inputs)
        bpb, reasons = found.metrics["bpb"]["all"], lost[model.name]
        logger.info("%s: %s", model.name, "no bits per byte" if bpb is None else f"{bpb:.4f} bits per byte")
        for name in find_not_finite(found.metrics):
            logger.warning("%s: %s is not finite, null stands for it", model.name, name)
            reasons = reasons | {name: "it is not finite"}
        for number, own in found.detail["memory"].get("own", {}).items():
            bits = own["exposure"], own["most"], own["training_texts"]
            logger.info("%s: own text %s: exposure %.1f of %.1f bits, in %d training texts", model.name, number, *bits)
        figures[model.name] = found | describe_circumstances(model, reasons, config, inputs.seed)
    return figures


def mix_scratch(models: list[EvalModel], config: EvaluateConfig, inputs: MetricInputs) -> Figures:
    """The figures of scratch and the 5-gram as one model, their weights fitted on replies held out for validation."""
    loaded = [one.load() for name in MIXED for one in models if one.name == name]
    scorers = tuple(model for model in loaded if isinstance(model, TokenScorer))
    val = draw_examples(read_table(CLEAN / "val.arrow"), config, inputs.seed)
    found = mixed_figures(Mixed(scorers, fit_weights(scorers, val)), MIXED, len(val), inputs)
    mixed = found.detail["mixed"]
    bits, weights = mixed["bpb"]["all"]["value"], round_figures(mixed["weights"])
    logger.info("%s: %.4f bits per byte, weights %s", " + ".join(MIXED), bits, weights)
    return found


def report_surface(items: EvalItems, seed: int) -> dict[str, dict[str, float] | None]:
    """What the surface of the answers alone gives away of each question set, logged too; None for an empty set."""
    sets = {"quiz": items.quiz, "truthfulqa": items.truthfulqa}
    report = surface_report({name: questions for name, questions in sets.items() if len(questions) > 1}, seed)
    for name, found in report.items():
        figures = found["accuracy"], found["chance"]
        logger.info("%s by the surface of its answers alone: %.3f right, chance %.3f", name, *figures)
    return {name: report.get(name) for name in sets}


def files_of_outputs(outputs: dict[str, Outputs]) -> dict[Path, bytes]:
    """The outputs of the models, from which the figures are computed again."""
    likelihoods = [score_rows(name, one.items, one.likelihoods) for name, one in outputs.items() if one.likelihoods]
    texts = [generation_rows(name, one.items, one.generations) for name, one in outputs.items() if one.generations]
    return {
        OUT / "scores.jsonl": jsonl_bytes(chain.from_iterable(likelihoods)),
        OUT / "predictions.jsonl": jsonl_bytes(chain.from_iterable(texts)),
    }


def files_of_figures(figures: dict[str, Figures]) -> dict[Path, bytes]:
    """The figures of every model, and the tables for plots."""
    details = {name: round_figures(one.detail) for name, one in figures.items()}
    return {
        **{FIGURES / f"{name}.json": json_bytes(round_figures(one.metrics)) for name, one in figures.items()},
        **{DETAIL / f"{name}.json": json_bytes(detail) for name, detail in details.items()},
        OUT / "plots" / "bpb.csv": table_bytes(BPB_COLUMNS, bpb_rows(details)),
        OUT / "plots" / "choice.csv": table_bytes(CHOICE_COLUMNS, choice_rows(details)),
    }


def files_of_comparisons(outputs: dict[str, Outputs], settings: Settings, judge: Judge | None) -> dict[Path, bytes]:
    """The comparisons between models, and the numbers that they and all figures rest on."""
    compared = compare_pairs(outputs, settings.rules(judge))
    detail = {pair: one and asdict(one) for pair, one in compared.items()}
    return {
        FIGURES / "compare.json": json_bytes(round_figures({pair: in_short(one) for pair, one in compared.items()})),
        DETAIL / "compare.json": json_bytes(round_figures(detail)),
        SEAL: json_bytes(asdict(settings)),
    }


def main() -> Made | None:
    """Evaluate every model and write the stage's outputs."""
    seed, device = load("data_seed", int), pick_device(load("device", str))
    config, min_groups = load("evaluate", EvaluateConfig), load("clean.min_test_dialogues", int)
    tune_cpu()
    items, planted = draw_items(config, seed), read_planted(seed)
    surface, judge = report_surface(items, seed), load_judge(JUDGE)

    models = list_models(FOLDERS, device, load("seed", int), config.batch_tokens)
    asking = describe_asking(items, planted, config, seed, device)
    answered, n_kept = ask_all(models, items, planted, config, seed, KeptOutputs(outputs_root(), asking))
    outputs, lost = drop_not_finite(answered)

    spans = spans_of(text for dialogue in read_table(TRAIN) for text in dialogue.texts)
    inputs = make_metric_inputs(items, outputs, spans, judge, config, min_groups, seed)
    figures = measure_all(models, outputs, lost, planted, inputs, config)
    if all(outputs[name].likelihoods and "bpb, ppl" not in lost[name] for name in MIXED):
        figures["scratch"] |= mix_scratch(models, config, inputs)

    settings = Settings(config, load("compare", CompareConfig), seed, min_groups)
    believed = None if inputs.rates.doubt else judge
    if inputs.rates.doubt:
        logger.info("the judge gives no rate: %s", inputs.rates.doubt)
    files = files_of_outputs(outputs) | files_of_figures(figures) | files_of_comparisons(outputs, settings, believed)
    files[DETAIL / "items.jsonl"] = jsonl_bytes(item_rows(items))
    files[DETAIL / "samples.json"] = json_bytes(sample_texts(items, read_own_sources()))
    files[DETAIL / "surface.json"] = json_bytes(round_figures(surface))
    files[OUT / "judge_audit.csv"] = audit_table(outputs, seed)
    write_together(files, SEAL)
    # The time of a run that found some of its outputs kept says nothing of what they cost.
    return Made([OUT / "scores.jsonl", OUT / "predictions.jsonl"]) if not n_kept else None


if __name__ == "__main__":
    run_stage("evaluate", main)
