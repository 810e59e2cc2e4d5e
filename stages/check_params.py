"""Stage check_params: the whole of params.yaml is valid -> data/params_checked.

Its output is always the same bytes, so that a good change reruns only what depends on the changed value; after a bad
one nothing else starts, and no artifact is lost.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llm.corpus.clean import CleanConfig
from llm.evaluation.items import EvaluateConfig
from llm.fetching.download import HttpConfig
from llm.files import write_bytes
from llm.hub import tiny
from llm.hub.upstream import SMOLLM2, TINY, BaseConfig
from llm.judge.fitting import JudgeConfig
from llm.models.shape import ModelConfig
from llm.ranges import check_range
from llm.runs.compare import CompareConfig
from llm.sources.collect import SourceConfig, check_sources
from llm.tokens.canaries import CanaryConfig
from llm.tokens.mixture import check_mixture
from llm.tokens.tokenizer import TokenizerConfig
from llm.training.launch import LaunchConfig
from llm.training.lora import FinetuneConfig
from llm.training.schedule import TrainConfig
from stages.logs import run_stage
from stages.params import load, read_params

CHECKED = Path("data/params_checked")
MAX_SEED = 2**63 - 1  # torch.Generator takes no more
FLAT_KEYS = (
    "cornell_",
    "huggingface_",
    "stackexchange_",
    "docs_",
)  # of params.yaml before sources were free
POSITIONS = {SMOLLM2: 8192, TINY: tiny.SHAPE["max_position_embeddings"]}  # of base models known before a download


@dataclass(frozen=True)
class Params:
    """All of params.yaml, and the rules that tie one section to another."""

    seed: int
    data_seed: int
    device: Literal["auto", "cpu", "cuda", "mps"]
    launch: LaunchConfig
    http: HttpConfig
    download: dict[str, SourceConfig]
    clean: CleanConfig
    tokenize: TokenizerConfig
    canaries: CanaryConfig
    model: ModelConfig
    mixture: dict[str, float]
    train: TrainConfig
    base: BaseConfig
    finetune: FinetuneConfig
    judge: JudgeConfig
    evaluate: EvaluateConfig
    compare: CompareConfig

    def __post_init__(self) -> None:
        check_range("seed", self.seed, 0, MAX_SEED)
        check_range("data_seed", self.data_seed, 0, MAX_SEED)
        check_sources(self.download)
        check_mixture(self.mixture, self.download)
        positions = POSITIONS.get(self.base.location)
        if positions and self.finetune.context_length > positions:
            raise ValueError(
                f"finetune.context_length {self.finetune.context_length} is more than the {positions} positions "
                f"of base.location {self.base.location}"
            )
        if self.finetune.quantize == "nf4" and self.device in ("cpu", "mps"):
            raise ValueError(f"finetune.quantize nf4 needs CUDA, device is {self.device}: set quantize to none")
        n_asked = self.evaluate.truthfulqa_questions
        if n_asked and self.clean.truth_data is None:
            raise ValueError(
                f"evaluate.truthfulqa_questions is {n_asked}, clean.truth_data is null: name TruthfulQA.csv there, "
                "path or URL; what is asked is first held out of the training data"
            )
        self._check_launch()

    def _check_launch(self) -> None:
        """Raise ValueError for what several processes cannot do."""
        self.launch.check_batch("train.batch_size", self.train.batch_size)
        self.launch.check_batch("finetune.train.batch_size", self.finetune.train.batch_size)
        if self.launch.sharded and self.finetune.quantize != "none":
            raise ValueError("finetune.quantize nf4 cannot be spread over processes: set launch.shard to false")
        if self.launch.sharded and self.finetune.train.optimizer != "adamw":
            raise ValueError("muon works on whole matrices: set finetune.train.optimizer or launch.shard to another")


def check_layout(params: dict[str, Any]) -> None:
    """Raise ValueError for the layout in which providers had no sections of their own, in one line for all its keys."""
    sources = params.get("download")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        for key in source if isinstance(source, dict) else ():
            if str(key).startswith(FLAT_KEYS):
                provider, _, field = str(key).replace("huggingface", "eli5").partition("_")
                raise ValueError(
                    f"download.{name}.{key} is written download.{name}.{provider}.{field} now, and its like alike: "
                    "correct it in params.yaml, or let `python -m stages.preset laptop` write the file anew"
                )


def main() -> None:
    """Check params.yaml and write the marker that every other stage depends on."""
    check_layout(read_params())
    load("", Params)
    write_bytes(CHECKED, b"params.yaml is valid\n")


if __name__ == "__main__":
    run_stage("check_params", main)
