"""Ways in which a file is damaged."""

import random
import shutil
from pathlib import Path

DAMAGES = ("cut short", "emptied", "with a bit turned", "with zeros at its end", "deleted")


def damage(path: Path, way: str, dice: random.Random, in_place: bool) -> None:
    """Damage a file in one of DAMAGES: in its place, with all its other names, or as a new file of its name."""
    if way == "deleted":
        path.unlink()
        return
    mode = path.stat().st_mode
    data = damaged(path.read_bytes(), way, dice)
    if not in_place:
        new = path.with_name(f"{path.name}.new")
        shutil.copyfile(path, new)
        new.replace(path)
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


def damaged(data: bytes, way: str, dice: random.Random) -> bytes:
    """The content of a file as the damage leaves it."""
    if way == "emptied" or not data:
        return b""
    place = dice.randrange(len(data))
    if way == "cut short":
        return data[:place]
    if way == "with a bit turned":
        return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
    return data[:place] + bytes(len(data) - place)
