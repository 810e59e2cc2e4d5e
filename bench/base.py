"""The pretrained model at hand: the one of the last run, else a tiny one of random weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from llm.files import write_json
from llm.hub.info import INFO
from llm.hub.upstream import describe_tiny

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "models" / "base"


@contextmanager
def open_base(folder: Path = BASE) -> Iterator[Path]:
    """The folder if it holds a model, else one with a tiny model for the time being."""
    if (folder / INFO).is_file():
        yield folder
        return
    with TemporaryDirectory() as name:
        tiny = Path(name)
        write_json(tiny / INFO, asdict(describe_tiny(tiny)))
        yield tiny
