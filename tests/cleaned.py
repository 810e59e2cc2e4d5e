"""What clean writes, read again."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llm.corpus.clean import clean as write_clean
from llm.corpus.split import SPLITS
from llm.dialogue import Dialogue, read_table


@dataclass(frozen=True)
class Cleaned:
    """The dialogues of each split and the report."""

    splits: dict[str, list[Dialogue]]
    report: dict[str, object]


def clean(sources, questions, config, seed):
    """The dialogues and the report that `llm.corpus.clean.clean` writes and gives."""
    with TemporaryDirectory() as name:
        folder = Path(name) / "clean"
        report = write_clean(sources, questions, config, seed, folder)
        assert sorted(path.name for path in Path(name).rglob("*")) == ["clean", *sorted(f"{s}.arrow" for s in SPLITS)]
        return Cleaned({split: list(read_table(folder / f"{split}.arrow")) for split in SPLITS}, report)
