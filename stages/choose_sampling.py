"""`python -m stages.choose_sampling [MODEL...]`: how each model's replies are drawn, evaluate.sampling in params.yaml.

By replies to prompts held out for validation, equally many of each source. Prints all settings, writes the chosen one.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from llm.dialogue import Example, read_table
from llm.evaluation.eval_models import ModelFolders, list_models
from llm.evaluation.items import EvaluateConfig, Sampling, SamplingConfig, draw_examples, draw_prompts
from llm.evaluation.sampling_choice import (
    GRID,
    ReplyFigures,
    choice_table,
    choose,
    misses,
    reply_figures,
    word_budget,
)
from llm.evaluation.scoring import EvalModel, Replier
from llm.files import write_bytes
from llm.inference.replies import cut_reply
from llm.machine import pick_device
from llm.models.kernel_choice import tune_cpu
from stages.logs import run_stage
from stages.params import PARAMS, load, rewrite

CLEAN = Path("data/clean")
FOLDERS = ModelFolders(
    *(Path("models/scratch"), Path("data/tokens"), CLEAN / "train.arrow", Path("models/base"), Path("models/mistral"))
)
MODELS = tuple(field.name for field in fields(SamplingConfig))
EACH = 60  # prompts of a source at most, or as many as the smallest source has
DRAWS = {"scratch": 4}  # of each prompt; of a pretrained model one
# Of a pretrained model every second setting: each reply takes it half a second on two cores.
GRIDS = {"scratch": GRID, "mistral": GRID[::2], "base": GRID[::2]}

logger = logging.getLogger(__name__)


def draw_val_prompts(config: EvaluateConfig, seed: int) -> list[Example]:
    """Prompts held out for validation with the real replies, equally many of each source, the sources in turn."""
    every = draw_examples(read_table(CLEAN / "val.arrow"), replace(config, dialogues=None), seed)
    sizes = Counter(example.source for example in every if example.history)
    return draw_prompts(every, min(EACH, *sizes.values()) * len(sizes), seed)


def draw_figures(
    model: EvalModel, prompts: Sequence[Example], config: EvaluateConfig, seed: int, budget: int
) -> dict[Sampling, ReplyFigures]:
    """What the replies of the model look like at each setting of the grid."""
    loaded, asked, found = model.load(), [example.prompt for example in prompts], dict[Sampling, ReplyFigures]()
    assert isinstance(loaded, Replier)
    for how in GRIDS[model.name]:
        greedy = [config.greedy(seed + i) for i in range(DRAWS.get(model.name, 1))]
        drawn = [replace(one, temperature=how.temperature, top_p=how.top_p) for one in greedy]
        found[how] = reply_figures([loaded.generate(asked, one) for one in drawn], budget)
        logger.info("%s, temperature %s, top-p %s: %s", model.name, how.temperature, how.top_p, found[how])
    return found


def with_sampling(params: str, model: str, how: Sampling) -> str:
    """The text of params.yaml with this sampling of the model, the other lines as they were."""
    return rewrite(params, lambda values: values["evaluate"]["sampling"][model].update(asdict(how)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the settings of each model that is asked for, and write the chosen one into params.yaml."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.choose_sampling",
        description=__doc__,
        epilog="example: python -m stages.choose_sampling scratch",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all of them")
    names = parser.parse_args(arguments).models or MODELS
    config, seed, device = load("evaluate", EvaluateConfig), load("data_seed", int), pick_device(load("device", str))
    tune_cpu()
    known = {one.name: one for one in list_models(FOLDERS, device, load("seed", int), config.batch_tokens)}
    if unknown := [name for name in names if name not in known or name not in MODELS]:
        raise ValueError(f"{', '.join(unknown)}: no such model here draws its replies; there are {', '.join(MODELS)}")
    prompts = draw_val_prompts(config, seed)
    references = [cut_reply(example.reply, True, config.max_reply_bytes) for example in prompts]
    budget = word_budget(references)
    real = reply_figures([references], budget)
    for name in names:
        found = draw_figures(known[name], prompts, config, seed, budget)
        chosen = choose(found, real)
        missed = "" if not any(misses(found[chosen], real)) else "; no setting meets all, this one misses least"
        print(f"{name}: {len(prompts)} prompts, replies to each: {DRAWS.get(name, 1)}{missed}\n")
        print(choice_table(found, real, budget), end="\n\n", flush=True)
        write_bytes(PARAMS, with_sampling(PARAMS.read_text(encoding="utf-8"), name, chosen).encode())


if __name__ == "__main__":
    run_stage("choose_sampling", main)
