"""Stage download_base: base.location -> models/base."""

import logging
from dataclasses import asdict
from pathlib import Path

from llm.files import write_json
from llm.hub.info import INFO
from llm.hub.upstream import BaseConfig, fetch_base
from stages.logs import Made, run_stage
from stages.params import load

OUT = Path("models/base")

logger = logging.getLogger(__name__)


def main() -> Made:
    """Fetch the base model and write what it is beside it."""
    origin = fetch_base(load("base", BaseConfig), OUT)
    write_json(OUT / INFO, asdict(origin))
    logger.info("%s: %s parameters, %s, %s", origin.name, f"{origin.parameters:,}", origin.source, origin.licence)
    return Made([OUT / INFO])


if __name__ == "__main__":
    run_stage("download_base", main)
