"""Where `make` and the stages are started: environments half made or moved, settings of a user, little memory.

What a whole run meets at once, no terminal, another language, other folders, stands in test_pipeline.py.
"""

import os
import shutil
import subprocess
import sys

import pytest

ROOT_FILES = ("Makefile", "environment.py", "requirements.lock", "requirements-test.lock", "pyproject.toml")
NO_ENSUREPIP = """
import runpy, sys
sys.modules["ensurepip"] = None
runpy.run_path("environment.py", run_name="__main__")
"""
OLD_PYTHON = """
import runpy, sys
sys.version_info = (3, 9, 1)
runpy.run_path("environment.py", run_name="__main__")
"""
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


def has_pip(project):
    return run(project, ".venv/bin/python", "-c", "import pip").returncode == 0


@pytest.mark.parametrize("left", ["an empty folder", "no pip", "no interpreter"])
def test_a_half_made_environment_is_made_anew(project, left):
    environment = project / ".venv"
    if left == "an empty folder":
        environment.mkdir()
    if left.startswith("no "):
        assert run(project, sys.executable, "-m", "venv", "--without-pip", ".venv").returncode == 0
        (environment / "installed").touch()
    if left == "no interpreter":  # the system's Python has gone
        for path in environment.glob("bin/python*"):
            path.unlink()
            path.symlink_to("/nowhere/python")
    done = run(project, sys.executable, "environment.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert has_pip(project)
    assert not (environment / "installed").exists()  # so that everything is installed into it


@pytest.mark.parametrize(
    ("python", "told"),
    [
        (NO_ENSUREPIP, "has no ensurepip, so it makes no environment: install the package python3-venv"),
        (OLD_PYTHON, "is Python 3.9, 3.11 or newer is needed: name one, as in `make PYTHON=python3.12`"),
    ],
)
def test_a_python_that_makes_no_environment_says_what_to_do(project, python, told):
    done = run(project, sys.executable, "-c", python)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert told in line


def test_an_environment_whose_folder_is_renamed_stays_and_belongs_to_the_new_one(tmp_path, project):
    assert run(project, sys.executable, "environment.py").returncode == 0
    packages = "lib/python{}.{}/site-packages".format(*sys.version_info)
    (project / ".venv/installed").touch()
    script, link = project / ".venv/bin/tool", project / f".venv/{packages}/__editable__.pth"
    script.write_text(f"#!{project}/.venv/bin/python\nimport sys\nprint(sys.prefix)\n", encoding="utf-8")
    script.chmod(0o755)
    link.write_text(f"{project}\n{project}-beside\n", encoding="utf-8")
    for name in ("project2", "näw place", "back"):
        new = tmp_path / name
        project.rename(new)
        for printed in (f".venv was made in {project}: it now belongs to {new}\n", ""):
            done = run(new, sys.executable, "environment.py")
            assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
        assert (new / ".venv/installed").exists()
        assert run(new, ".venv/bin/tool").stdout == f"{new}/.venv\n"
        assert run(new, ".venv/bin/pip", "--version").returncode == 0
        activated = run(new, "sh", "-c", ". .venv/bin/activate && command -v python")
        assert activated.stdout == f"{new}/.venv/bin/python\n"
        linked = (new / f".venv/{packages}/__editable__.pth").read_text(encoding="utf-8")
        assert linked == f"{new}\n{tmp_path}/project-beside\n"
        project = new


@pytest.fixture
def pip_like(project):
    """The checkout with a Python that answers as pip does."""
    python = project / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP_LIKE, encoding="utf-8")
    python.chmod(0o755)
    (project / ".venv/pyvenv.cfg").touch()
    return project


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@needs_make
def test_make_installs_into_the_environment_whatever_a_user_has_set_for_pip(pip_like):
    variables = {"PIP_USER": "1", "PIP_TARGET": "/elsewhere", "PIP_INDEX_URL": "https://mirror"}
    done = run(pip_like, "make", "install", f"PYTHON={sys.executable}", **variables)
    assert done.returncode == 0, done.stderr
    assert "-m pip install -r requirements.lock, from https://mirror, into itself\n" in done.stdout
    assert (pip_like / ".venv/installed").exists()


@needs_make
def test_make_starts_no_script_that_has_the_path_of_the_environment_in_its_first_line(pip_like):
    """Such a line is limited to 127 bytes, has no spaces, and names a folder that may have been renamed."""
    done = run(pip_like, "make", "-n", f"PYTHON={sys.executable}")
    assert "python -m dvc repro" in done.stdout.splitlines()


@needs_make
def test_make_goes_on_only_with_an_environment(project):
    stub = project / "no_ensurepip"
    stub.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{NO_ENSUREPIP}'\n", encoding="utf-8")
    stub.chmod(0o755)
    done = run(project, "make", f"PYTHON={stub}")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "make" not in line.split("[")[0]] == []
    assert sum("python3-venv" in line for line in done.stderr.splitlines()) == 1
    assert "pip install" not in done.stdout


def test_the_backend_that_a_notebook_names_hinders_no_picture(repository):
    draw = "import stages; from llm.evaluation.plots import draw_losses; print(draw_losses({'a': []})[:5])"
    done = run(repository, sys.executable, "-c", draw, MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert (done.returncode, done.stdout) == (0, "b'<?xml'\n"), done.stderr
