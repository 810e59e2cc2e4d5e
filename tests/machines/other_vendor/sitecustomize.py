"""A processor of another maker, for every Python process that has this folder on PYTHONPATH.

Python imports `sitecustomize` at its start, so the double reaches the stages that DVC starts. What a stage asks is the
file /proc/cpuinfo; only the maker's name in it is another.
"""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VENDOR = "GenuineIntel"

_read_text = Path.read_text


def read_text(path: Path, *args, **kwargs) -> str:
    """The file's text; of /proc/cpuinfo with the other maker's name."""
    text = _read_text(path, *args, **kwargs)
    if path != CPUINFO:
        return text
    return text.replace("AuthenticAMD", VENDOR)


Path.read_text = read_text
