"""An ensemble of models that a real DVC holds, of three commits."""

import math
import re
import shutil
from pathlib import Path

import pytest
import torch

from llm.dialogue import read_table
from llm.evaluation.items import EvaluateConfig, draw_examples
from llm.evaluation.scratch_model import ScratchModel
from llm.files import write_bytes
from llm.models.registry import build_model
from llm.tokens.tokenizer import load_tokenizer
from llm.training.checkpoint import save_tensors
from stages.ensemble import TEST, main
from stages.params import load
from tests.runs.test_run_files import git, shell
from tests.stages.test_evaluate import SHAPE, WEIGHTS, write_data, write_models

SEEDS = (7, 8, 9)


def network(seed):
    """Weights so far from zero that the models disagree."""
    gpt = build_model(SHAPE, load_tokenizer(Path("data/tokens/tokenizer.json")).vocab_size, torch.Generator())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return gpt


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with a commit, and a tag, for each seed; DVC alone has the models."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copy(Path(__file__).parents[2] / "params.yaml", folder)
        git(folder, "init", "-q", "-b", "main")
        shell(folder, "dvc", "init", "-q")
        write_models(write_data())
        shutil.copy("models/scratch/tokenizer.json", "data/tokens/tokenizer.json")
        for seed in SEEDS:
            save_tensors(WEIGHTS, dict(network(seed).named_parameters()))
            shell(folder, "dvc", "add", "-q", "models/scratch")
            git(folder, "add", "params.yaml", "models/scratch.dvc")
            git(folder, "commit", "-qm", f"seed {seed}")
            git(folder, "tag", f"seed-{seed}")
    return folder


def test_the_mean_of_the_probabilities_gives_the_bits_and_the_working_tree_stays(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    before = WEIGHTS.read_bytes()
    main([f"seed-{seed}" for seed in SEEDS])
    shown = capsys.readouterr().out
    config, tokenizer = load("evaluate", EvaluateConfig), load_tokenizer(Path("data/tokens/tokenizer.json"))
    examples = draw_examples(read_table(TEST), config, 1)
    models = [ScratchModel("one", network(seed), tokenizer, 10_000) for seed in SEEDS]
    bits = 0.0
    for example in examples:
        for of_token in zip(*(model.token_logprobs([example])[0][:-1] for model in models), strict=True):
            bits -= math.log2(sum(math.exp(one) for one in of_token) / 3)
    expected = bits / sum(len(example.reply.encode()) for example in examples)
    assert float(re.search(r"^together, all: (\d+\.\d+) \(", shown, re.M)[1]) == pytest.approx(expected, abs=1e-4)
    singles = [float(value) for value in re.findall(r"^seed-\d: (\d+\.\d+) ", shown, re.M)]
    assert len(singles) == 3 and expected < sum(singles) / 3  # by Jensen's inequality
    assert WEIGHTS.read_bytes() == before


GONE = r"seed-7 has no models/scratch/.*: DVC's cache does not hold it"


def test_a_cache_without_the_listing_of_the_model_is_named(project, monkeypatch, tmp_path):
    copied = tmp_path / "copied"  # DVC remembers the listings of a folder that it has read
    shutil.copytree(project, copied, symlinks=True)
    for listing in (copied / ".dvc/cache").rglob("*.dir"):
        listing.unlink()
    monkeypatch.chdir(copied)
    with pytest.raises(FileNotFoundError, match=GONE):
        main(["seed-7"])


def test_a_revision_of_other_data_or_none_or_without_its_model_is_named(project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(ValueError, match="nothing is no commit, branch or experiment here"):
        main(["nothing"])
    tokens = Path("data/tokens/tokenizer.json")
    kept = tokens.read_bytes()
    write_bytes(tokens, kept + b" ")
    with pytest.raises(ValueError, match="seed-7 has another tokenizer than data/tokens"):
        main(["seed-7"])
    write_bytes(tokens, kept)
    shutil.rmtree(".dvc/cache")
    with pytest.raises(FileNotFoundError, match=GONE):
        main(["seed-7"])
