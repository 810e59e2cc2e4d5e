"""What SECURITY.md promises of the code, the presets and the locks: the tests fail on a new hole."""

import ast
import re
from importlib.metadata import PackageNotFoundError, metadata

import pytest
import yaml

from stages.preset import PRESETS, render
from tests.test_shape import MODULES, ROOT, parse

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "telnetlib", "ftplib"}
UNSAFE_CALLS = {  # what they are called with otherwise, None: never
    "eval": None,
    "exec": None,
    "__import__": None,
    "os.system": None,
    "os.popen": None,
    "tempfile.mktemp": None,
    "ssl._create_unverified_context": None,
    "torch.load": "weights_only=True",
    "yaml.load": "ParamsLoader",  # a SafeLoader
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
}
# Of archives (members are read one by one, by name), of modules whatever they are called, and of pandas.
UNSAFE_METHODS = {"extractall", "getoutput", "getstatusoutput", "unpack_archive", "read_pickle", "to_pickle"}
SHELLS = {"sh", "bash", "/bin/sh", "/bin/bash"}
UNSAFE_KEYWORDS = {
    "shell": True,
    "verify": False,
    "trust_remote_code": True,
    "allow_pickle": True,
    "weights_only": False,
}


def holes(tree):
    """Lines and names of everything in a module that could run foreign code, or trust whoever answers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: {name}" for name in names if name.partition(".")[0] in UNSAFE_MODULES)
        if isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            unsafe = [n for n in full if n in UNSAFE_CALLS or n.rpartition(".")[2] in UNSAFE_METHODS]
            yield from (f"{node.lineno}: {name}" for name in unsafe)
        if isinstance(node, ast.List) and [ast.unparse(e).strip("'") in SHELLS for e in node.elts[:1]] == [True]:
            yield f"{node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in UNSAFE_CALLS and not is_allowed(node, UNSAFE_CALLS[name]):
                yield f"{node.lineno}: {name}"
            if isinstance(node.func, ast.Attribute) and node.func.attr in UNSAFE_METHODS:
                yield f"{node.lineno}: {node.func.attr}"
            for keyword in node.keywords:
                if keyword.arg in UNSAFE_KEYWORDS and not is_constant(keyword.value, not UNSAFE_KEYWORDS[keyword.arg]):
                    yield f"{node.lineno}: {keyword.arg}={ast.unparse(keyword.value)}"


def is_allowed(call, allowed):
    """Whether a call of this kind has the argument that makes it safe."""
    arguments = [ast.unparse(argument) for argument in (*call.args, *call.keywords)]
    return allowed is not None and allowed in arguments


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_runs_foreign_code_or_trusts_whoever_answers(path):
    assert list(holes(parse(path))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, yaml.Loader)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=config.trust)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "requests.get(url, verify=False)",
        "eval(text)",
        "archive.extractall(folder)",
        "from os import system",
        "from torch import load",
        "from shutil import unpack_archive",
        "subprocess.getoutput(text)",
        "run(['bash', '-c', text])",
        "pandas.read_pickle(path)",
    ],
)
def test_each_kind_of_hole_is_found(line):
    assert len(list(holes(ast.parse(line)))) >= 1


@pytest.mark.parametrize(
    "line", ["torch.load(path, weights_only=True)", "model.eval()", "yaml.load(text, ParamsLoader)", "run(shell=False)"]
)
def test_what_is_safe_is_no_hole(line):
    assert list(holes(ast.parse(line))) == []


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
    for name, sha256 in (("clean.truth_data", "truth_data_sha256"), ("judge.data", "data_sha256")):
        section, _, key = name.partition(".")
        if params[section][key] is not None and not SHA256.fullmatch(params[section][sha256] or ""):
            yield name


def is_pinned(provider):
    """Whether a provider reads a commit of the hub, an address whose file has a hash, or what is here already."""
    if "revision" in provider:
        return COMMIT.fullmatch(provider["revision"]) is not None
    remote = "://" in provider.get("location", "")
    return not remote or SHA256.fullmatch(provider["sha256"] or "") is not None


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / PRESETS).glob("*.yaml")))
def test_a_preset_fetches_nothing_without_knowing_what(name):
    assert list(unpinned(yaml.safe_load(render(name, ROOT / PRESETS)))) == []


def test_what_is_not_pinned_is_named():
    params = yaml.safe_load(render("laptop", ROOT / PRESETS))
    params["base"] = {"location": "me/model", "revision": "main"}
    params["download"]["eli5"]["eli5"]["revision"] = "main"
    params["download"]["dialogue"]["cornell"]["sha256"] = None
    params["clean"]["truth_data"] = "https://example.org/TruthfulQA.csv"
    assert list(unpinned(params)) == ["base", "download.dialogue.cornell", "download.eli5.eli5", "clean.truth_data"]


# Licences that let anybody use, change and pass on a package with a program of theirs; MPL asks for the package's own
# changes only.
PERMISSIVE = re.compile(
    r"\b(MIT|MIT-0|BSD|BSD-[23]-Clause|0BSD|Apache|Apache-2\.0|ISC|PSF|PSF-2\.0|Python Software Foundation|"
    r"MPL|MPL-2\.0|Mozilla|Zope|ZPL-2\.1)\b"
)
EXCEPTIONS = {
    "asyncssh": "EPL-2.0 OR GPL-2.0-or-later: taken under EPL; DVC brings it for remotes over ssh",
    "axe-playwright-python": "states none in its metadata, its LICENSE is MIT's; tests only",
    "chardet": "LGPL: a library that lm-eval brings; only of requirements-extra.lock",
    "dulwich": "Apache-2.0 OR GPL-2.0-or-later: taken under Apache-2.0; DVC brings it",
    "grandalf": "GPLv2 or EPLv1: taken under EPL; DVC brings it, for `dvc dag`",
    "pygit2": "GPLv2 with an exception that lets anything link it; DVC brings it",
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


def locked():
    """Names of the packages of the locks that are installed."""
    for lock in LOCKS:
        for name in re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE):
            try:
                metadata(name)
            except PackageNotFoundError:
                continue  # of requirements-extra.lock
            yield name


def test_every_package_of_the_locks_may_be_used_and_passed_on():
    stated = {name: licence(name) for name in locked()}
    assert len(stated) > 150
    refused = {n: text for n, text in stated.items() if "GPL" in text or not PERMISSIVE.search(text)}
    assert {name: text for name, text in refused.items() if name not in EXCEPTIONS} == {}
    assert [name for name in EXCEPTIONS if name in stated and name not in refused] == []
