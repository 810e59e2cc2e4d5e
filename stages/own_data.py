"""`python -m stages.own_data PATH...`: the models learn from your texts, in place of the sources in params.yaml.

A path is a file or a folder (or the URL of a file) in any form that `python -m llm check-data` knows: it becomes a
source of its own. Then `dvc repro`. Everything else in params.yaml stays; `python -m stages.preset laptop` brings the
preset back.
"""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any

from llm.corpus.split import MAX_TEST_SHARE
from llm.failures import without_secrets
from llm.fetching.download import HttpConfig, local_path
from llm.files import write_bytes
from llm.sources.check_data import check_data, describe_check
from llm.sources.local import LocalConfig
from llm.sources.masking import RULES
from stages.logs import run_stage
from stages.params import PARAMS, load, read_commented, rewrite

LIMIT = 100_000  # exchanges; a section of a document counts as one
EPOCHS = 8  # times through the texts, at most; the step of the lowest validation loss is kept
TOKENS_A_WORD = 1.5  # the sources of laptop have 1.46, 1.52 and 1.70
MIN_STEPS = 50
SOURCE = """\
  {name}:
    providers:
    - local
    fallback: false           # there is no other provider
    limit: {limit}             # exchanges at most; a section of a document counts as one
    local:
      # file, folder, or URL of a file
      location: {location}
      form:                   # messages, instruction, pairs or text; null: recognised
      columns:                # what columns are for, {{prompt: q, reply: a}}; null: recognised by name
      mask:                   # rules by which personal data are replaced
{mask}
      licence: {licence}  # as their owner states it, for the data card
"""

logger = logging.getLogger(__name__)


def absolute(location: str) -> str:
    """The location, valid in every folder: experiments run in folders of their own.

    >>> absolute("https://example.org/a.csv"), absolute("/data/a b/../c [1].jsonl")
    ('https://example.org/a.csv', '/data/c [1].jsonl')
    """
    path = local_path(location)
    return location if path is None else os.path.abspath(path)


def sources_section(locations: list[str], licence: str) -> str:
    """The section `download` with a source for each location: own, own_2, ..."""
    mask = "\n".join(f"      - {rule}" for rule in RULES)
    quoted = [json.dumps(location, ensure_ascii=False) for location in locations]
    names = ["own", *(f"own_{number}" for number in range(2, len(locations) + 1))]
    stated = json.dumps(licence, ensure_ascii=False)
    sources = [
        SOURCE.format(name=name, limit=LIMIT, location=location, licence=stated, mask=mask)
        for name, location in zip(names, quoted, strict=True)
    ]
    return "download:\n" + "".join(sources) + "\n"


def fitting_steps(n_words: int, tokens_a_step: int) -> int:
    """Optimizer steps that go EPOCHS times through so many words: on more a model learns a small set by heart.

    >>> fitting_steps(30_000, tokens_a_step=2048)  # 45,000 tokens are 22 steps
    176
    """
    return max(MIN_STEPS, round(EPOCHS * TOKENS_A_WORD * n_words / tokens_a_step))


def with_sources(params: str, section: str, max_steps: int | None = None) -> str:
    """The text of params.yaml with another section `download`, all comments of the others kept.

    Where it has more than `max_steps` it gets these, and eight validations in them.

    >>> print(with_sources("seed: 1  # luck\\n\\ndownload:\\n  a: 1\\n\\nclean: 2 # x\\n", "download:\\n  b: 2\\n\\n"))
    seed: 1  # luck
    <BLANKLINE>
    download:
      b: 2
    <BLANKLINE>
    clean: 2 # x
    <BLANKLINE>
    """

    def change(values: Any) -> None:
        sources = values["download"] = read_commented(section)["download"]
        if "mixture" in values:
            once = "".join(f"  {name}: 1.0\n" for name in sources)
            values["mixture"] = read_commented(f"mixture:\n{once}\n")["mixture"]
        train = values.get("train") or {}
        if max_steps is not None and (train.get("max_steps") or 0) > max_steps:
            train["max_steps"], train["eval_every"] = max_steps, max(1, max_steps // 8)

    return rewrite(params, change)


def check(location: str, licence: str, http: HttpConfig) -> int:
    """Say what is in the texts; their number of words.

    Raises ValueError or OSError where the provider would refuse them.
    """
    config = LocalConfig(location, None, None, licence, tuple(RULES))
    found = check_data(config, http)
    logger.info("%s", describe_check(found, config, MAX_TEST_SHARE))
    if found.damaged:
        shown = without_secrets(location)
        raise ValueError(f"{shown} has damaged lines ({found.damaged:,}): mend them first; params.yaml is as it was")
    if (n_exchanges := found.n_exchanges + found.n_sections) > LIMIT:
        logger.info("of its %s exchanges and sections the first %s are read: limit", f"{n_exchanges:,}", f"{LIMIT:,}")
    return found.words.total()


def main() -> None:
    """Check the texts and write them into params.yaml as its only sources."""
    about, usage = "Let the models learn from your texts.", "python -m stages.own_data PATH [PATH ...] [--licence TEXT]"
    example = "example: python -m stages.own_data chats.jsonl books/ --licence 'CC BY 4.0'"
    parser = argparse.ArgumentParser(description=about, usage=usage, epilog=example)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or the URL of a file")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="for the data card")
    arguments = parser.parse_args()
    locations, http = list(dict.fromkeys(map(absolute, arguments.paths))), load("http", HttpConfig)
    n_words = sum(check(location, arguments.licence, http) for location in locations)
    section = sources_section(locations, arguments.licence)
    before = load("train.max_steps", int | None)  # type: ignore[arg-type]
    fitting = fitting_steps(n_words, load("train.batch_size", int) * load("model.context_length", int))
    write_bytes(PARAMS, with_sources(Path(PARAMS).read_text(encoding="utf-8"), section, fitting).encode())
    if before and before > fitting:
        logger.info(
            "train.max_steps: %s -> %s, about %d times through your %s words; more steps learn so few by heart",
            f"{before:,}", f"{fitting:,}", EPOCHS, f"{n_words:,}",
        )  # fmt: skip
    logger.info("%s holds %d source(s) of yours and no others; next: `dvc repro`", PARAMS, len(locations))
    logger.info("AI-literacy questions and compare.seed_sd are still the project's own: they say little")
    logger.info("`python -m stages.preset laptop` brings the preset back")


if __name__ == "__main__":
    run_stage("own_data", main)
