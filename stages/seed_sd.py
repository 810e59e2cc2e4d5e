"""`python -m stages.seed_sd`: how much each figure differs between training seeds, for compare.seed_sd in params.yaml.

One experiment a seed by `dvc exp run --temp`, so the working tree stays as it is. A finished seed is one line of
metrics/seed_sd.jsonl at once: run the command again after an interruption, or with more seeds.
"""

import argparse
import hashlib
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm.evaluation.eval_models import FIXED
from llm.files import file_sha256, walk_files, write_bytes
from llm.judge.instrument import Judge, load_judge
from llm.runs.compare import estimates
from llm.runs.run_files import JUDGE, export_revision, read_run
from stages.logs import run_stage
from stages.params import PARAMS, read_params, rewrite

KEPT = Path("metrics/seed_sd.jsonl")
MADE_OF = ("llm", "stages", "data/curated")
SEEDS = 5  # the standard deviation of five has a relative error of a third, for which `compare` asks for wider gaps
DIGITS = 2  # significant ones that are worth writing

Figures = dict[str, dict[str, float]]  # by model, then by figure

logger = logging.getLogger(__name__)


def recipe_key(params: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of all that the figures depend on but the seed: runs of one key are one configuration.

    That is the parameters, the code and the texts in MADE_OF below the working directory.
    """
    settings = {name: value for name, value in params.items() if name not in ("seed", "compare", "http")}
    files = (path for name in MADE_OF for path in walk_files(Path(name), lambda part: part == "__pycache__"))
    made_of = {str(path): file_sha256(path) for path in files}
    return hashlib.sha256(json.dumps([settings, made_of], sort_keys=True).encode()).hexdigest()[:16]


def read_kept(key: str, path: Path = KEPT) -> dict[int, Figures]:
    """Figures of the seeds that ran before, of that key."""
    if not path.is_file():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["seed"]: row["figures"] for row in rows if row["key"] == key}


def run_seed(seed: int) -> str:
    """Run the pipeline with that seed in a copy of the repository; the name of the experiment.

    An older experiment of that name goes; stages that ran with this seed before come from DVC's cache.
    Raises ValueError when it fails.
    """
    name = f"seed-sd-{seed}"
    dvc = [sys.executable, "-m", "dvc", "exp"]
    subprocess.run([*dvc, "remove", "--quiet", name], check=False, capture_output=True)  # where there is one
    done = subprocess.run([*dvc, "run", "--temp", "--name", name, "--set-param", f"seed={seed}"], check=False)
    if done.returncode:
        raise ValueError(f"seed {seed} failed: see above; run this again to go on, the finished seeds are kept")
    return name


def find_judge() -> Judge | None:
    """The working tree's judge where its rates are shown, None where it has none or none to be believed."""
    judge = load_judge(Path(JUDGE)) if Path(JUDGE).is_dir() else None
    return None if judge is None or judge.doubt else judge


def read_figures(revision: str) -> Figures:
    """Every figure that compare pairs, of every model that a seed changes."""
    with tempfile.TemporaryDirectory() as folder:
        export_revision(revision, Path(folder), Path())
        run = read_run(Path(folder))
    rules = run.settings.rules(find_judge())
    return {
        model: {name: one.value for name, one in estimates(outputs, rules).items()}
        for model, outputs in run.models.items()
        if model not in FIXED
    }


def spreads(runs: Sequence[Figures]) -> dict[str, dict[str, dict[str, float]]]:
    """Standard deviation over the runs by model, section and figure; of figures that every run has and that differ.

    Seeds that agree to the last digit say that a figure is too coarse, not that no seed changes it.

    >>> spreads([{"scratch": {"bpb.all": 1.0}}, {"scratch": {"bpb.all": 1.2}}])
    {'scratch': {'bpb': {'all': 0.14}}}
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for model, figures in runs[0].items():
        for name in figures:
            values = [run[model][name] for run in runs if name in run.get(model, {})]
            if len(values) == len(runs) and len(set(values)) > 1:
                section, _, figure = name.partition(".")
                spread = float(f"{np.std(values, ddof=1):.{DIGITS}g}")
                found.setdefault(model, {}).setdefault(section, {})[figure] = spread
    return found


def with_spreads(params: str, found: Mapping[str, Any], n: int) -> str:
    """The text of params.yaml with these, of so many seeds, under compare, the other lines as they were."""
    return rewrite(params, lambda values: values["compare"].update(seeds=n, seed_sd=dict(found)))


def main() -> None:
    """Run what is missing of the seeds, and write their spreads into params.yaml."""
    about, example = __doc__.partition("\n\n")[0], f"example: python -m stages.seed_sd {SEEDS}"
    parser = argparse.ArgumentParser(description=about, usage="python -m stages.seed_sd [N]", epilog=example)
    parser.add_argument("n", nargs="?", type=int, default=SEEDS, help=f"seeds 1 to N ({SEEDS})")
    n = parser.parse_args().n
    if n < 2:
        raise ValueError(f"a spread needs two seeds or more, got {n}")
    key = recipe_key(read_params())
    runs = read_kept(key)
    for seed in range(1, n + 1):
        if seed in runs:
            logger.info("seed %d ran before", seed)
            continue
        runs[seed] = read_figures(run_seed(seed))
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "seed": seed, "figures": runs[seed]}, sort_keys=True) + "\n")
    found = spreads([runs[seed] for seed in range(1, n + 1)])
    write_bytes(PARAMS, with_spreads(PARAMS.read_text(encoding="utf-8"), found, n).encode())
    logger.info("%s: compare.seed_sd holds the spread of %d seeds", PARAMS, n)


if __name__ == "__main__":
    run_stage("seed_sd", main)
