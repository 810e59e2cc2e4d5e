"""`make` runs this with the system's Python: make the environment .venv, or mend one that is half made or has moved."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
VENV = Path(".venv").absolute()
# Ends with 0 where the environment's Python is new enough and has its installer.
LOOK = f"import pip, sys; sys.exit(sys.version_info < {OLDEST})"
SHELL_STARTS = b"#!/bin/sh\n'''exec' \"%s\" \"$0\" \"$@\"\n' '''\n"  # as pip writes it for a path with spaces


def is_whole() -> bool:
    """Whether the environment has a Python and an installer that start."""
    try:
        return subprocess.run([VENV / "bin/python", "-c", LOOK], capture_output=True).returncode == 0
    except OSError:
        return False


def make() -> None:
    """Make the environment anew; SystemExit with one line where this Python cannot."""
    if sys.version_info < OLDEST:
        raise SystemExit(
            f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, 3.11 or newer is needed: "
            "name one, as in `make PYTHON=python3.12`"
        )
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise SystemExit(
            f"{sys.executable} has no ensurepip, so it makes no environment: install the package python3-venv "
            "(Debian, Ubuntu: `apt install python3-venv`), then run `make` again"
        ) from None
    system = getattr(sys, "_base_executable", sys.executable)  # where this Python is itself of the environment
    done = subprocess.run([system, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise SystemExit(f"{sys.executable} cannot make {VENV}: {said}")


def place_when_made() -> Path | None:
    """The path that the environment was made at; None where it does not say."""
    made = re.search(r"^command = .* -m venv (?:--\S+ )*(.+)$", (VENV / "pyvenv.cfg").read_text("utf-8"), re.MULTILINE)
    return Path(made[1]) if made else None


def move(old: Path) -> None:
    """Write the present path over the old one, in the scripts and where the project is installed from."""
    before = re.compile(re.escape(bytes(old.parent)) + rb"(?=[/'\"\s]|\Z)")
    project, python, quoted = bytes(VENV.parent), bytes(VENV / "bin"), shlex.quote(str(VENV)).encode()
    for path in [*VENV.glob("bin/*"), *VENV.glob("lib/python*/site-packages/__editable__*"), VENV / "pyvenv.cfg"]:
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        if not before.search(content):
            continue
        content = before.sub(lambda _: project, content)
        content = re.sub(rb"\A#!(" + re.escape(python) + rb"/\S+)\n", lambda found: SHELL_STARTS % found[1], content)
        content = re.sub(rb"\bVIRTUAL_ENV=['\"]?/.*", lambda _: b"VIRTUAL_ENV=" + quoted, content)
        path.write_bytes(content)
    print(f".venv was made in {old.parent}: it now belongs to {VENV.parent}")


def main() -> None:
    """Leave an environment that works here."""
    if not is_whole():
        make()
    old = place_when_made()
    if old and old != VENV:
        move(old)


if __name__ == "__main__":
    main()
