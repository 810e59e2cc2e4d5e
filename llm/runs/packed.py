"""What a comparison reads of a run in one compressed file, which git holds: a commit is compared in any clone by it."""

import io
import lzma
import tarfile
from pathlib import Path

SETTINGS, ITEM_TEXTS = "metrics/detail/settings.json", "metrics/detail/items.jsonl"
SCORES, PREDICTIONS = "metrics/scores.jsonl", "metrics/predictions.jsonl"
COMPARED = (SETTINGS, ITEM_TEXTS, SCORES, PREDICTIONS)
PACKED = "metrics/outputs.tar.xz"  # these files


def pack_run(folder: Path) -> bytes:
    """The files COMPARED in one: the same bytes for the same files, for no time and no owner is in it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in COMPARED:
            content = (folder / path).read_bytes()
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return lzma.compress(archive.getvalue(), preset=lzma.PRESET_EXTREME | 9)


def unpack_run(packed: Path, folder: Path) -> None:
    """Write the files COMPARED below the folder; ValueError for a file that does not hold them."""
    try:
        with tarfile.open(packed, "r:xz") as tar:
            found = {path: tar.extractfile(path) for path in COMPARED}
            contents = {path: file.read() for path, file in found.items() if file}
    except (KeyError, lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{PACKED} is damaged or of another version: {error}") from error
    if missing := set(COMPARED) - set(contents):
        raise ValueError(f"{PACKED} is of another version: {', '.join(sorted(missing))} is no file in it")
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
