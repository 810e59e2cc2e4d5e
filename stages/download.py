"""Stage download@SOURCE: one source's dialogues into data/raw, from the first provider that can serve them."""

import logging
import sys
from pathlib import Path

from llm.dialogue import write_dialogues
from llm.download import HttpConfig
from llm.files import file_sha256, write_json
from llm.sources.collect import (
    Collected,
    DialogueConfig,
    Eli5Config,
    TechnicalConfig,
    collect,
    dialogue_providers,
    eli5_providers,
    technical_providers,
)
from stages.logs import run_stage
from stages.params import load

RAW, CURATED = Path("data/raw"), Path("data/curated")

logger = logging.getLogger(__name__)


def collect_dialogue() -> Collected:
    """What the configured providers have for the source `dialogue`."""
    config = load("download.dialogue", DialogueConfig)
    providers = dialogue_providers(config, load("http", HttpConfig))
    return collect("dialogue", providers, config.providers, config.fallback, config.limit)


def collect_eli5() -> Collected:
    """What the configured providers have for the source `eli5`."""
    config = load("download.eli5", Eli5Config)
    providers = eli5_providers(config, CURATED / "eli5.jsonl")
    return collect("eli5", providers, config.providers, config.fallback, config.limit)


def collect_technical() -> Collected:
    """What the configured providers have for the source `technical`."""
    config = load("download.technical", TechnicalConfig)
    providers = technical_providers(config, CURATED / "technical.jsonl")
    return collect("technical", providers, config.providers, config.fallback, config.limit)


SOURCES = {"dialogue": collect_dialogue, "eli5": collect_eli5, "technical": collect_technical}


def write(source: str, collected: Collected) -> None:
    """Write a source's dialogues and their provenance into data/raw."""
    path = RAW / f"{source}.jsonl"
    write_dialogues(path, collected.dialogues)
    provenance = collected.provenance | {"sha256": file_sha256(path)}
    write_json(RAW / f"{source}.provenance.json", provenance)


def main() -> None:
    """Collect the source named on the command line and write it."""
    source = sys.argv[1] if len(sys.argv) == 2 else ""
    if source not in SOURCES:
        raise ValueError(f"which source? `python -m stages.download SOURCE`, SOURCE one of {', '.join(SOURCES)}")
    collected = SOURCES[source]()
    write(source, collected)
    for entry in collected.provenance["served"]:
        logger.info("%s: %d exchanges from %s", source, entry["exchanges"], entry["location"])


if __name__ == "__main__":
    run_stage("download", main)
