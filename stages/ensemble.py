"""`python -m stages.ensemble REVISION...`: the scratch models of several runs as one, on the test replies.

A run is a commit, branch or experiment, such as a seed of `python -m stages.seed_sd`, whose model DVC's cache has.
The probability of each token is the mean of the models'. Data and test replies are those of the working tree.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from llm.dialogue import read_table
from llm.evaluation.figure_files import show_number
from llm.evaluation.items import EvaluateConfig, draw_examples
from llm.evaluation.mixed import Mixed
from llm.evaluation.perplexity import bits_per_byte, resample_examples
from llm.evaluation.scratch_model import ScratchModel
from llm.machine import pick_device
from llm.models.kernel_choice import tune_cpu
from llm.models.registry import load_gpt
from llm.runs.run_files import export_scratch
from llm.stats.bootstrap import Estimate, difference
from llm.tokens.tokenizer import load_tokenizer
from stages.logs import run_stage
from stages.params import load

TEST, TOKENIZER = Path("data/clean/test.arrow"), Path("data/tokens/tokenizer.json")


def load_scratch(revision: str, batch_tokens: int) -> ScratchModel:
    """The model that the revision trained from scratch.

    Raises ValueError where its tokenizer is not that of the working tree: it learned from other data, perhaps from
    these test replies.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_scratch(revision, folder, Path())
        if (folder / "tokenizer.json").read_bytes() != TOKENIZER.read_bytes():
            raise ValueError(f"{revision} has another tokenizer than {TOKENIZER}: it learned from other data")
        gpt = load_gpt(folder).to(pick_device(load("device", str)))
        return ScratchModel(revision, gpt, load_tokenizer(TOKENIZER), batch_tokens)


def show(found: Estimate) -> str:
    """The figure with its 95 % interval."""
    value, low, high = (show_number(number, 4) for number in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the bits per byte of each model, and of all as one."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.ensemble",
        description=__doc__,
        epilog="example: python -m stages.ensemble seed-sd-1 seed-sd-2",
    )
    parser.add_argument("revisions", nargs="+", metavar="REVISION")
    revisions = parser.parse_args(arguments).revisions
    config, seed = load("evaluate", EvaluateConfig), load("data_seed", int)
    tune_cpu()
    examples = draw_examples(read_table(TEST), config, seed)
    resampling = resample_examples(examples, config.bootstrap, seed)
    models = tuple(load_scratch(revision, config.batch_tokens) for revision in revisions)
    singles = [bits_per_byte(examples, model.loglik(examples), resampling)["all"] for model in models]
    together = Mixed(models, tuple(1 / len(models) for _ in models))
    found = bits_per_byte(examples, together.loglik(examples), resampling)
    for name, one in zip(revisions, singles, strict=True):
        print(f"{name}: {show(one)}; together - {name}: {show(difference(found['all'], one))}")
    for source, one in found.items():
        print(f"together, {source}: {show(one)} bits per byte")


if __name__ == "__main__":
    run_stage("ensemble", main)
