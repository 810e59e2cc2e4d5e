"""Stage download@SOURCE: one source's dialogues into data/raw, from the first provider that can serve them."""

import logging
import sys
from pathlib import Path

from llm.dialogue import write_dialogues
from llm.fetching.download import HttpConfig
from llm.files import file_sha256, write_json
from llm.sources.collect import Collected, SourceConfig, collect, providers_of
from stages.logs import Made, run_stage
from stages.params import load, read_params

RAW = Path("data/raw")

logger = logging.getLogger(__name__)


def collect_source(source: str) -> Collected:
    """What the configured providers have for the source."""
    config = load(f"download.{source}", SourceConfig)
    providers = providers_of(source, config, load("http", HttpConfig))
    return collect(source, providers, config.providers, config.fallback, config.limit)


def write(source: str, collected: Collected) -> None:
    """Write a source's dialogues and their provenance into data/raw."""
    path = RAW / f"{source}.jsonl"
    write_dialogues(path, collected.dialogues)
    provenance = collected.provenance | {"sha256": file_sha256(path)}
    write_json(RAW / f"{source}.provenance.json", provenance)


def main() -> Made:
    """Collect the source named on the command line and write it."""
    source, known = sys.argv[1] if len(sys.argv) == 2 else "", read_params()["download"]
    if source not in known:
        raise ValueError(f"which source? `python -m stages.download SOURCE`, SOURCE one of {', '.join(known)}")
    collected = collect_source(source)
    write(source, collected)
    for entry in collected.provenance["served"]:
        logger.info("%s: %d exchanges from %s", source, entry["exchanges"], entry["location"])
    return Made([RAW / f"{source}.provenance.json"])


if __name__ == "__main__":
    run_stage("download", main)
