"""What SECURITY.md promises of the code, the presets and the locks: the tests fail on a new hole."""

import ast
import re
from importlib.metadata import PackageNotFoundError, metadata

import pytest
import yaml

from stages.params import ParamsLoader
from stages.preset import PRESETS, render
from tests.holes import holes
from tests.test_shape import MODULES, ROOT, parse


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_runs_foreign_code_or_trusts_whoever_answers(path):
    assert list(holes(parse(path))) == []


def test_the_loader_of_parameters_makes_plain_values_only():
    assert issubclass(ParamsLoader, yaml.SafeLoader)
    defined = [
        path for path in MODULES for node in ast.walk(parse(path)) if getattr(node, "name", "") == "ParamsLoader"
    ]
    assert {path.as_posix() for path in defined} == {"stages/params.py"}


COMMIT, SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
NO_HUB = {"smollm2-135m", "tiny"}  # a package whose model has a hash in llm/hub/smollm2.py, and a generated model


def unpinned(params):
    """Names of what a preset would fetch without knowing what it gets."""
    base = params["base"]
    if base["location"] not in NO_HUB and not COMMIT.fullmatch(base["revision"]):
        yield "base"
    for name, source in params["download"].items():
        for section, values in source.items():
            if isinstance(values, dict) and not is_pinned(values):
                yield f"download.{name}.{section}"
    for place, section in sections(params):
        for key, value in section.items():
            known = SHA256.fullmatch(section.get("sha256" if key == "location" else f"{key}_sha256") or "")
            if value is not None and not known and (f"{key}_sha256" in section or "://" in str(value)):
                yield f"{place}.{key}"


def sections(params, place=""):
    """All dicts in the parameters that hold no others, with their places; of others, what stands beside these."""
    if isinstance(params, dict):
        yield place, {key: value for key, value in params.items() if not isinstance(value, dict)}
        for key, value in params.items():
            yield from sections(value, f"{place}.{key}" if place else key)


def is_pinned(provider):
    """Whether a provider reads a commit of the hub, a file or a corpus that has a hash, or what is here already."""
    if "revision" in provider:
        return COMMIT.fullmatch(provider["revision"]) is not None
    hashed = "location" not in provider or "://" in provider["location"]
    return not hashed or SHA256.fullmatch(provider["sha256"] or "") is not None


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / PRESETS).glob("*.yaml")))
def test_a_preset_fetches_nothing_without_knowing_what(name):
    assert list(unpinned(yaml.safe_load(render(name, ROOT / PRESETS)))) == []


def test_what_is_not_pinned_is_named():
    params = yaml.safe_load(render("laptop", ROOT / PRESETS))
    params["base"] = {"location": "me/model", "revision": "main"}
    params["download"]["eli5"]["eli5"]["revision"] = "main"
    params["download"]["dialogue"]["cornell"]["sha256"] = None
    params["download"]["technical"]["docs"]["sha256"] = None
    params["clean"]["truth_data"] = "https://example.org/TruthfulQA.csv"
    params["judge"]["data"] = params["judge"]["questions"] = "answers.jsonl"
    params["evaluate"]["more"] = [{"at": "https://example.org/x"}]
    assert sorted(unpinned(params)) == [
        "base",
        "clean.truth_data",
        "download.dialogue.cornell",
        "download.dialogue.cornell.location",
        "download.eli5.eli5",
        "download.technical.docs",
        "evaluate.more",
        "judge.data",
        "judge.questions",
    ]


# Licences that let anybody use, change and pass on a package with a program of theirs; MPL asks for the package's own
# changes only. By their names in expressions, and as classifiers and packages without an expression call them.
PERMISSIVE = {
    *("MIT", "MIT-0", "MIT-CMU", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC", "Zlib", "BSL-1.0", "CC0-1.0"),
    *("Apache-2.0", "Apache-2.0 WITH LLVM-exception", "PSF-2.0", "CNRI-Python", "MPL-2.0", "ZPL-2.1"),
    *("MIT License", "BSD License", "BSD", "ISC License (ISCL)", "Zope Public License"),
    *("Apache Software License", "Apache License 2.0", "Apache 2.0 License", "Apache 2.0"),
    *("Python Software Foundation License", "Mozilla Public License 2.0 (MPL 2.0)"),
}
EXCEPTIONS = {  # what they state, and why it is taken
    "asyncssh": ("EPL-2.0 OR GPL-2.0-or-later", "taken under EPL; DVC brings it for remotes over ssh"),
    "axe-playwright-python": ("", "its LICENSE is MIT's; tests only"),
    "chardet": (".*LGPL.*", "a library that lm-eval brings; only of requirements-extra.lock"),
    "dulwich": ("Apache-2.0 OR GPL-2.0-or-later", "taken under Apache-2.0; DVC brings it"),
    "grandalf": (r"GNU General Public License v2 \(GPLv2\)", "or EPLv1, under which it is taken; DVC brings it"),
    "pygit2": ("GPLv2 with linking exception", "anything may link it; DVC brings it"),
}
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-extra.lock")


def licence(name):
    """What a package states: its expression, else its classifiers, else the first line of its licence."""
    stated = metadata(name)
    if stated.get("License-Expression"):
        return stated["License-Expression"]
    classifiers = [one.rpartition(" :: ")[2] for one in stated.get_all("Classifier") or [] if one.startswith("License")]
    named = [one for one in classifiers if one != "OSI Approved"]
    return ", ".join(named) or (stated.get("License") or "").strip().partition("\n")[0]


def is_permissive(stated):
    """Whether every part of what a package states is permissive, or one of its alternatives."""
    parts = [re.sub(r"^\((.*)\)$", r"\1", part) for part in re.split(r" AND |, ", stated)]
    return all(any(one in PERMISSIVE for one in part.split(" OR ")) for part in parts)


@pytest.mark.parametrize(
    ("stated", "permissive"),
    [
        ("MIT AND PSF-2.0", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("BSD License, Apache Software License", True),
        ("MIT AND LicenseRef-Proprietary", False),
        ("MIT License, Other/Proprietary License", False),
        ("CC-BY-NC-4.0 AND MIT", False),
        ("MIT AND GNU General Public License", False),
        ("Apache-2.0 WITH Commons-Clause", False),
        ("BSD-4-Clause", False),
        ("see the MIT pages", False),
        ("", False),
    ],
)
def test_all_that_a_package_states_has_to_be_permissive(stated, permissive):
    assert is_permissive(stated) == permissive


def names_of(lock):
    """Names of the packages of a lock; a line of another form is an error."""
    lines = [line for line in (ROOT / lock).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    found = [re.match(r"([\w.-]+)==[\w.+!-]+(\s|;|$)", line) for line in lines]
    assert [line for line, match in zip(lines, found, strict=True) if not match] == []
    return [match[1] for match in found]


def locked():
    """Names of the packages of the locks; of those of requirements-extra.lock, as far as they are installed."""
    for lock in LOCKS:
        for name in names_of(lock):
            try:
                metadata(name)
            except PackageNotFoundError:
                if lock != "requirements-extra.lock":
                    raise
                continue
            yield name


def test_every_package_of_the_locks_may_be_used_and_passed_on():
    stated = {name: licence(name) for name in locked()}
    assert len(stated) > 150
    refused = {n: text for n, text in stated.items() if "GPL" in text or not is_permissive(text)}
    assert {name: text for name, text in refused.items() if name not in EXCEPTIONS} == {}
    assert [name for name in EXCEPTIONS if name in stated and name not in refused] == []
    other = {name: text for name, text in refused.items() if not re.fullmatch(EXCEPTIONS[name][0], text)}
    assert other == {}
