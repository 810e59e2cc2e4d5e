"""Stage look, always run: what parameters name on this machine -> data/followed, a hash for each stage that reads it.

Before that it looks over DVC's cache, so that no later stage gets a damaged result out of it.

DVC follows paths that stand in dvc.yaml, not those in parameters. A stage that reads local files depends on its own
entry here: when one of them changes under the same name, that stage is stale, and no other.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llm.files import write_bytes
from stages.dvc_cache import drop_damaged_objects
from stages.followed import HashIndex, content_hash
from stages.logs import run_stage
from stages.params import read_params

FOLLOWED, RAW = Path("data/followed"), Path("data/raw")

logger = logging.getLogger(__name__)


def source_locations(source: Mapping[str, Any]) -> list[str]:
    """Locations of the providers that a source names; the sections of others are not read."""
    sections = [source.get(name) for entry in source["providers"] for name in entry.split("+")]
    return [section["location"] for section in sections if section and "location" in section]


def followed(params: Mapping[str, Any]) -> dict[str, list[str | None]]:
    """Locations by the name of the stage that reads them; these may be local or not."""
    sources = {f"download.{name}": source_locations(source) for name, source in params["download"].items()}
    return {
        **sources,
        "download_base": [params["base"]["location"]],
        "clean": [params["clean"]["truth_data"]],
        "train_judge": [params["judge"]["data"], params["judge"]["questions"]],
    }


def entries() -> dict[Path, bytes]:
    """Files of data/followed with their content, as they have to be now."""
    index = HashIndex()
    found = {
        FOLLOWED / name: content_hash(locations, index).encode() for name, locations in followed(read_params()).items()
    }
    index.save()
    return found


def leftovers(folder: Path, sources: Iterable[str]) -> Iterator[Path]:
    """Files that stage download wrote for a source which is not one any more. A file of another's is left alone."""
    for record in sorted(folder.glob("*.provenance.json")):
        name = record.name.removesuffix(".provenance.json")
        if name not in sources and json.loads(record.read_text(encoding="utf-8")).get("source") == name:
            yield from sorted(folder.glob(f"{name}.*"))


def main() -> None:
    """Drop damaged objects of DVC's cache, write the hashes, and remove what sources that are gone left in data/raw."""
    drop_damaged_objects()
    for path, content in entries().items():
        write_bytes(path, content)
    for path in leftovers(RAW, read_params()["download"]):
        path.unlink()
        logger.info("%s is removed: params.yaml has no such source any more", path)


if __name__ == "__main__":
    run_stage("look", main)
