"""What a comparison reads of a run in one compressed file, which git holds: a commit is compared in any clone by it."""

import io
import lzma
import tarfile
from pathlib import Path

SETTINGS, ITEM_TEXTS = "metrics/detail/settings.json", "metrics/detail/items.jsonl"
SCORES, PREDICTIONS = "metrics/scores.jsonl", "metrics/predictions.jsonl"
COMPARED = (SETTINGS, ITEM_TEXTS, SCORES, PREDICTIONS)
PACKED = "metrics/outputs.tar.xz"  # these files
MAX_UNPACKED_BYTES = 1 << 28  # 100 times a run of the laptop preset; xz packs zeros 7,000 times
MAX_DECODER_BYTES = 1 << 27  # the dictionary of preset 9 takes half of it


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
        with tarfile.open(fileobj=io.BytesIO(_unpacked(packed)), mode="r:") as tar:
            members = [tar.getmember(path) for path in COMPARED]
            found = {entry.name: tar.extractfile(entry) for entry in members if entry.isreg() and not entry.issparse()}
            contents = {path: file.read() for path, file in found.items() if file}
    except (KeyError, lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{PACKED} is damaged or of another version: {error}") from error
    if missing := set(COMPARED) - set(contents):
        raise ValueError(f"{PACKED} is of another version: {', '.join(sorted(missing))} is no file in it")
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def _unpacked(packed: Path) -> bytes:
    """The archive without its compression; ValueError where it is larger than that of any run, or cut off."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DECODER_BYTES)
    content = decoder.decompress(packed.read_bytes(), MAX_UNPACKED_BYTES + 1)
    if len(content) > MAX_UNPACKED_BYTES:
        raise ValueError(f"{PACKED} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes, which no run has: take it away")
    if not decoder.eof:
        raise EOFError("it is cut off")
    return content
