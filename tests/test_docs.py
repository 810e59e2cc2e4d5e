"""What README and the pages in docs/ name is there: files, modules, commands, stages, presets, parameters, messages."""

import ast
import importlib.util
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from bench.__main__ import BENCHMARKS
from llm.__main__ import make_parser

ROOT = Path(__file__).resolve().parent.parent
README, SPEED, TROUBLE = "README.md", "docs/speed.md", "docs/troubleshooting.md"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "docs/*.md", "data/*/README.md")
    for path in ROOT.glob(pattern)
)
each_page = pytest.mark.parametrize("page", PAGES)

# Files that the pages on adding something have the reader write, and what their examples add.
WRITTEN = {
    *("llm/sources/forum.py", "tests/sources/test_forum.py", "data/raw/support.jsonl"),
    *("data/raw/support.provenance.json", "llm/models/primer.py", "tests/models/test_primer.py"),
}
ADDED_PARAMS = {"download.dialogue.forum_location", "download.support.forum_location"}
UNTRACKED = (".fetched", ".train_state", "logs")  # folders of a run that are no outputs
FILE_ENDINGS = r"\.(csv|json|jsonl|lock|md|py|svg|txt|yaml)$"


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def fenced(text):
    """Commands: the lines of bash blocks, continued ones joined."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def code_spans(text):
    """What stands in code font inside the prose and the tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands(text):
    """Commands of blocks and of code font, comments cut off."""
    return [re.sub(r"(^|\s)#.*", "", line).strip() for line in [*fenced(text), *code_spans(text)]]


def test_a_block_continued_on_the_next_line_is_one_command():
    text = "`dvc dag`\n```bash\ndvc repro \\\n    clean  # the data\n```\n"
    assert [" ".join(line.split()) for line in commands(text)] == ["dvc repro clean", "dvc dag"]


@cache
def dag():
    return yaml.safe_load(read("dvc.yaml"))["stages"]


@cache
def parameters():
    """Dotted names of all parameters and of their sections."""
    names = set()

    def add(values, section):
        for key, value in values.items():
            names.add(f"{section}{key}")
            if isinstance(value, dict):
                add(value, f"{section}{key}.")

    add(yaml.safe_load(read("presets/laptop.yaml")), "")
    return names


@cache
def artifacts():
    """Outputs of all stages; `${item}` of a foreach stage filled in."""
    paths = set()
    for stage in dag().values():
        body, items = stage.get("do", stage), stage.get("foreach", [""])
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in body.get(kind, [])]
        names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
        paths |= {name.replace("${item}", item) for name in names for item in items}
    return paths


def test_readme_has_at_most_200_lines():
    assert len(read(README).splitlines()) <= 200


def test_the_table_of_stages_is_that_of_the_dag():
    rows = re.findall(r"^\| `(\w+)` \|", read("docs/stages.md"), re.MULTILINE)
    assert rows == list(dict.fromkeys(rows)) and set(rows) == set(dag())


def test_readme_draws_every_stage():
    drawing = re.search(r"```mermaid\n(.*?)```", read(README), re.DOTALL)[1]
    assert [stage for stage in dag() if not re.search(rf"\b{stage}\b", drawing)] == []


def test_readme_maps_every_room_of_the_library():
    listed = set(re.findall(r"^  (\w+)/ ", read(README), re.MULTILINE))
    assert listed == {path.parent.name for path in (ROOT / "llm").glob("*/__init__.py")}


def test_readme_links_every_page():
    assert [page for page in PAGES if page.startswith("docs/") and f"]({page}" not in read(README)] == []


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "LOG.md", "data/curated/CORRECTIONS.md"])
def test_relative_links_lead_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        path, _, anchor = link.partition("#")
        if link.startswith(("http://", "https://")):
            continue
        target = ((ROOT / page).parent / path if path else ROOT / page).resolve()
        there = target.relative_to(ROOT).as_posix()
        made = there in artifacts() or any(there.startswith(f"{folder}/") for folder in artifacts())
        if not (target.exists() or made) or (anchor and anchor not in anchors(there)):
            broken.append(link)
    assert broken == []


def looks_like_a_path(text):
    """Whether something in code font names a file of this repository."""
    known = {path.name for path in ROOT.iterdir()} | {"models", *UNTRACKED}
    head, slash, _ = text.partition("/")
    if not re.fullmatch(r"[\w./*-]+", text) or (slash and head not in known):
        return False
    return bool(slash) or bool(re.search(FILE_ENDINGS, text) and text in known)


def is_there(path):
    """Whether a path, or something of its pattern, is tracked or made by a stage."""
    path = path.rstrip("/")
    if path in WRITTEN or path.partition("/")[0] in UNTRACKED or next(ROOT.glob(path), None):
        return True
    return any(
        f"{path}/".startswith(f"{made}/") or f"{made}/".startswith(f"{path}/") or Path(made).match(path)
        for made in artifacts()
    )


@each_page
def test_paths_in_code_font_are_there(page):
    spans = [*code_spans(read(page)), *(word for line in fenced(read(page)) for word in line.split())]
    named = [span.removeprefix("./") for span in spans if looks_like_a_path(span.removeprefix("./"))]
    assert [path for path in named if not is_there(path)] == []


def test_a_path_that_is_not_there_is_noticed():
    assert looks_like_a_path("llm/training/nothing.py") and not is_there("llm/training/nothing.py")
    assert looks_like_a_path("metrics/scratch.json") and is_there("data/clean/test.arrow")
    assert not looks_like_a_path("and/or") and not looks_like_a_path("text.bleu")


@each_page
def test_modules_and_their_commands_are_there(page):
    subcommands = next(action.choices for action in make_parser()._actions if action.choices)
    allowed = {"llm": subcommands, "bench": BENCHMARKS, "stages.preset": presets(), "stages.download": None}
    for line in commands(read(page)):
        for module, word in re.findall(r"python -m ([\w.]+)(?: ([a-z][\w-]*))?", line):
            # asked for pip, setuptools would take its distutils out of this process, and torch.compile needs them
            assert module == "pip" or importlib.util.find_spec(module), line
            if word and allowed.get(module) is not None:
                assert word in allowed[module], line


def presets():
    return {path.stem for path in (ROOT / "presets").glob("*.yaml")}


@each_page
def test_presets_and_stages_in_prose_are_there(page):
    text = read(page)
    assert set(re.findall(r"preset `(\w+)`", text)) <= presets()
    assert set(re.findall(r"[Ss]tages? `(\w+)`", text)) <= set(dag())


@each_page
def test_stages_and_targets_of_commands_are_there(page):
    targets = set(re.findall(r"^(\w[\w-]*):", read("Makefile"), re.MULTILINE))
    for line in commands(read(page)):
        if match := re.fullmatch(r"dvc repro((?: [\w-]+)*)", line):
            assert {word for word in match[1].split() if not word.startswith("-")} <= set(dag()), line
        if match := re.fullmatch(r"make((?: [\w-]+)*)", line):
            assert set(match[1].split()) <= targets, line


@each_page
def test_parameters_are_those_of_params_yaml(page):
    text = read(page)
    set_by = {name for line in commands(text) for name in re.findall(r"-S '?([\w.]+)=", line)}
    sections = {name for name in parameters() if "." not in name}
    named = {name for span in code_spans(text) if (name := dotted_name(span)) and name.partition(".")[0] in sections}
    assert (set_by | named) - parameters() - ADDED_PARAMS == set()


def dotted_name(span):
    """The parameter of `train.lr`, `train.lr=1e-3` and `train.lr: 1e-3`; None of anything else.

    >>> dotted_name("train.lr=1e-3"), dotted_name("judge.json")
    ('train.lr', None)
    """
    match = re.fullmatch(r"([a-z_]+(?:\.\w+)+)(?:=\S+|: \S+)?", span)
    return match[1] if match and not re.search(FILE_ENDINGS, match[1]) else None


def test_a_parameter_that_is_not_there_is_noticed():
    assert dotted_name("train.lrr=1") == "train.lrr" and "train.lrr" not in parameters()
    assert dotted_name("judge.json") is None


@cache
def strings_of_the_code():
    """Every text that the library and the stages hold, one a line; what an f-string fills in is left out."""
    files = [path for package in ("llm", "stages") for path in (ROOT / package).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return "\n".join(
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        if type(node.value) is str
    )


def messages():
    """Messages of the first columns in docs/troubleshooting.md; those of other programs are marked `(from ...)`."""
    cells = re.findall(r"^\| (`.*?) \| ", read(TROUBLE), re.MULTILINE)
    return [message for cell in cells if "(from " not in cell for message in code_spans(cell) if "…" in message]


def test_every_message_in_troubleshooting_is_one_of_the_code():
    assert len(messages()) > 50
    parts = {part for message in messages() for part in message.split("…") if part.strip()}
    # Logged messages fill in by %s and %d, raised ones by {}.
    said = re.sub(r"%[sdg]", "\n", strings_of_the_code())
    assert sorted(part for part in parts if part not in said) == []


def committed(path):
    """A file as it is in git, None where it is not there."""
    shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=False)
    return shown.stdout.decode() if shown.returncode == 0 else None


def test_the_splits_of_the_data_card_are_those_of_the_committed_run():
    figures, card = committed("metrics/data.json"), committed("docs/data-card.md")
    if figures is None or card is None:
        pytest.skip("this is not a git checkout")
    for source, found in json.loads(figures)["sources"].items():
        counts = [found["splits"][split]["dialogues"] for split in ("train", "val", "test")]
        row = [f"{count:,}" for count in [*counts, found["kept"]["exchanges"]]]
        assert f"| `{source}` | {' | '.join(row)} |" in card
