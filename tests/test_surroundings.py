"""Where `make` and the stages are started: environments half made or moved, settings of a user, little memory.

What a whole run meets at once, no terminal, another language, other folders, stands in test_pipeline.py.
"""

import os
import shutil
import subprocess
import sys

import pytest

ROOT_FILES = ("Makefile", "requirements.lock", "requirements-test.lock", "pyproject.toml")
PIP_LIKE = """#!/bin/sh
# Stands in for the environment's Python: pip refuses --user there, and so does this.
case "$*" in *"pip install"*)
    if [ "$PIP_USER" = 1 ]; then echo "ERROR: Can not perform a '--user' install." >&2; exit 1; fi
    echo "$*, from $PIP_INDEX_URL, into ${PIP_TARGET:-itself}";;
esac
"""


def run(folder, *command, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path, repository):
    """A checkout as far as `make` looks at it."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ROOT_FILES:
        shutil.copy(repository / name, folder / name)
    return folder


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def install(project):
    """Runs `make install`, which makes the environment and installs nothing into it."""
    return lambda folder=project: run(folder, "make", "install", f"PYTHON={sys.executable}", "PIP_INSTALL=true")


@needs_make
@pytest.mark.parametrize("left", ["an empty folder", "no pip", "no interpreter"])
def test_a_half_made_environment_is_made_anew(project, install, left):
    environment = project / ".venv"
    if left == "an empty folder":
        environment.mkdir()
    if left == "no pip":
        assert run(project, sys.executable, "-m", "venv", "--without-pip", ".venv").returncode == 0
    if left == "no interpreter":  # the system's Python has gone
        assert install().returncode == 0
        for path in environment.glob("bin/python*"):
            path.unlink()
            path.symlink_to("/nowhere/python")
    (environment / "installed").touch()  # of before
    assert install().returncode == 0
    assert run(project, ".venv/bin/pip", "--version").returncode == 0


@needs_make
def test_an_environment_whose_folder_is_renamed_is_made_anew_there_and_only_once(tmp_path, project, install):
    assert install().returncode == 0
    assert "Nothing to be done" in install().stdout
    for name in ("project2", "näw place"):
        new = tmp_path / name
        project.rename(new)
        assert "-m venv .venv" in install(new).stdout
        assert run(new, ".venv/bin/pip", "--version").returncode == 0
        assert "Nothing to be done" in install(new).stdout
        project = new


@needs_make
def test_a_python_that_is_too_old_is_named_with_what_to_do(project, install):
    old = project / "python3.9"
    old.write_text(
        f'#!/bin/sh\nshift\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1); $*"\n', encoding="utf-8"
    )
    old.chmod(0o755)
    done = run(project, "make", "install", f"PYTHON={old}")
    assert done.returncode == 2
    assert "Python 3.9 is too old: make PYTHON=" in done.stderr
    assert not (project / ".venv").exists()


@pytest.fixture
def pip_like(project):
    """The checkout with a Python that answers as pip does."""
    python = project / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP_LIKE, encoding="utf-8")
    python.chmod(0o755)
    (project / ".venv/bin/pip").write_text(f"#!{python}\n", encoding="utf-8")
    return project


@needs_make
def test_make_installs_into_the_environment_whatever_a_user_has_set_for_pip(pip_like):
    variables = {"PIP_USER": "1", "PIP_TARGET": "/elsewhere", "PIP_INDEX_URL": "https://mirror"}
    done = run(pip_like, "make", "install", f"PYTHON={sys.executable}", **variables)
    assert done.returncode == 0, done.stderr
    assert "-m pip install -r requirements.lock, from https://mirror, into itself\n" in done.stdout
    assert (pip_like / ".venv/installed").exists()


def test_the_backend_that_a_notebook_names_hinders_no_picture(repository):
    draw = "import stages; from llm.evaluation.plots import draw_losses; print(draw_losses({'a': []})[:5])"
    done = run(repository, sys.executable, "-c", draw, MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert (done.returncode, done.stdout) == (0, "b'<?xml'\n"), done.stderr
