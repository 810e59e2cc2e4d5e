"""What in a module's source could run foreign code, or trust whoever answers, however it is spelled.

Names are followed through imports and their aliases, and count where they are mentioned, called or not.
"""

import ast
import re
from collections.abc import Iterator

UNSAFE_MODULES = (
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "marshal", "shelve", "joblib"),
    *("telnetlib", "ftplib", "xmlrpc", "multiprocessing.connection", "logging.config"),
    *("pty", "code", "codeop", "runpy", "imp", "importlib.machinery"),
    *("torch.hub", "torch.jit", "torch.package", "torch.serialization"),
)
UNSAFE_NAMES = {
    *("eval", "exec", "compile", "__import__", "__builtins__", "importlib.import_module"),
    *("importlib.util.spec_from_file_location", "importlib.util.module_from_spec", "importlib.reload"),
    *("os.system", "os.popen", "tempfile.mktemp", "jinja2.Template", "jinja2.Environment"),
    *("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all", "yaml.load_all"),
    *("yaml.Loader", "yaml.CLoader", "yaml.FullLoader", "yaml.CFullLoader", "yaml.UnsafeLoader", "yaml.CUnsafeLoader"),
}
NEEDED = {"torch.load": "weights_only=True", "yaml.load": "ParamsLoader"}  # arguments that make a call safe
# Of archives (members are read one by one, by name), of modules whatever they are called, and of pandas.
UNSAFE_ATTRIBUTES = {
    *("extractall", "extract", "unpack_archive", "getoutput", "getstatusoutput", "read_pickle", "to_pickle"),
    *("create_subprocess_shell", "_create_unverified_context", "_create_default_https_context", "CERT_NONE"),
    *("disable_warnings", "add_safe_globals"),
}
SAFE = {  # values of keywords, attributes and entries of dicts; every other one is a hole
    "shell": False,
    "verify": True,
    "trust_remote_code": False,
    "allow_pickle": False,
    "weights_only": True,
    "check_hostname": True,
    "use_safetensors": True,
    "resolve_entities": False,
}
SHELLS = {*("sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "csh", "tcsh", "busybox"), "cmd", "powershell", "pwsh"}
SHELL_COMMAND = re.compile(
    rf"(\S*/)?({'|'.join(sorted(SHELLS))})(\.exe)?\s+[-/]\w*c\b|\S*/({'|'.join(sorted(SHELLS))})$"
)
TRUSTING = {*("PYTHONHTTPSVERIFY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "HF_HUB_DISABLE_SSL", "GIT_SSL_NO_VERIFY")}
RUNNERS = ("os.", "subprocess.", "asyncio.", "shutil.")
MOST_POSITIONAL = {"subprocess": 1, "numpy.load": 2}  # behind them come `shell`, and `allow_pickle`


def holes(tree: ast.AST) -> Iterator[str]:
    """Lines and names of everything in a module that could run foreign code, or trust whoever answers."""
    origins = dict(imported(tree))
    safe = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and is_made_safe(node, origins)}
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names if is_unsafe_import(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in names if is_unsafe_import(name) or name in NEEDED or name.endswith(".*")]
        elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in safe:
            name = dotted(node, origins)
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)  # a field may be called `compile`
            found = [] if stored else [name] if is_unsafe(name) or name in NEEDED else []
        elif isinstance(node, ast.Call):
            found = [*call_holes(node, origins)]
        elif isinstance(node, ast.List | ast.Tuple):
            found = [ast.unparse(node)] if any(map(is_shell, node.elts[:3])) else []
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found = [
                f"{k.value}: {ast.unparse(v)}" for k, v in pairs if isinstance(k, ast.Constant) and not_safe(k.value, v)
            ]
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            found = [*assignment_holes(node, origins)]
        elif isinstance(node, ast.arguments):
            found = [*default_holes(node)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = [node.value] if node.value in TRUSTING or SHELL_COMMAND.match(node.value) else []
        yield from (f"{getattr(node, 'lineno', 0)}: {name}" for name in found)


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that imports bind, with what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            tops = [alias.name.partition(".")[0] for alias in node.names]
            yield from (
                (alias.asname or top, alias.name if alias.asname else top)
                for alias, top in zip(node.names, tops, strict=True)
            )
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def dotted(node: ast.expr, origins: dict[str, str]) -> str:
    """What a name stands for: o.system after `import os as o` is os.system."""
    root, dot, rest = ast.unparse(node).partition(".")
    return f"{origins.get(root, root)}{dot}{rest}".removeprefix("builtins.")


def is_unsafe(name: str) -> bool:
    """Whether a dotted name is unsafe wherever it is mentioned."""
    name = name.removeprefix("builtins.")
    of_module = any(f"{name}.".startswith(f"{module}.") for module in UNSAFE_MODULES if "." in module)
    return of_module or name in UNSAFE_NAMES or name.rpartition(".")[2] in UNSAFE_ATTRIBUTES


def is_unsafe_import(name: str) -> bool:
    """Whether an import of it is one; single words may be anything where they are no imports."""
    return name.partition(".")[0] in UNSAFE_MODULES or is_unsafe(name)


def is_made_safe(call: ast.Call, origins: dict[str, str]) -> bool:
    """Whether a call has the argument without which it is unsafe."""
    arguments = [ast.unparse(argument) for argument in (*call.args, *call.keywords)]
    return NEEDED.get(dotted(call.func, origins)) in arguments


def call_holes(call: ast.Call, origins: dict[str, str]) -> Iterator[str]:
    """What is unsafe in how something is called."""
    name = dotted(call.func, origins)
    for keyword in call.keywords:
        if not_safe(keyword.arg, keyword.value) or (keyword.arg == "typ" and ast.unparse(keyword.value) == "'unsafe'"):
            yield f"{keyword.arg}={ast.unparse(keyword.value)}"
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        text = argument.value if isinstance(argument, ast.Constant) else None
        if name == "getattr" and isinstance(text, str) and text in UNSAFE_LAST:
            yield f"getattr {text}"
        if name == "setattr" and len(call.args) == 3 and isinstance(text, str) and not_safe(text, call.args[2]):
            yield ast.unparse(call)
        if text == "CERT_NONE" or (name.startswith(RUNNERS) and is_shell(argument)):
            yield f"{name} {text}"
    most = MOST_POSITIONAL.get(name, MOST_POSITIONAL.get(name.partition(".")[0]))
    if most is not None and len(call.args) > most:
        yield f"{name} with {len(call.args)} arguments by position"


WITH_HOLES = {name.partition(".")[0] for name in (*UNSAFE_MODULES, *UNSAFE_NAMES, *NEEDED) if "." in name}  # modules
UNSAFE_LAST = UNSAFE_ATTRIBUTES | {name.rpartition(".")[2] for name in (*UNSAFE_NAMES, *NEEDED)}


def assignment_holes(node: ast.Assign | ast.AnnAssign | ast.AugAssign, origins: dict[str, str]) -> Iterator[str]:
    """What is unsafe in what is assigned: a session's `verify`, a module or loader under another name."""
    value = node.value or ast.Constant(None)
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Attribute):
            required = ast.unparse(value).endswith("CERT_REQUIRED")
            if not_safe(target.attr, value) or (target.attr == "verify_mode" and not required):
                yield ast.unparse(node)
        entry = target.slice if isinstance(target, ast.Subscript) else None
        if isinstance(entry, ast.Constant) and not_safe(entry.value, value):
            yield ast.unparse(node)
        if isinstance(target, ast.Name) and target.id in NEEDED.values():
            yield ast.unparse(node)
    if isinstance(value, ast.Name) and origins.get(value.id) in WITH_HOLES:
        yield ast.unparse(node)


def default_holes(node: ast.arguments) -> Iterator[str]:
    """Parameters whose default is unsafe."""
    named = [*node.posonlyargs, *node.args]
    pairs = [*zip(named[len(named) - len(node.defaults) :], node.defaults, strict=True)]
    pairs += [(name, value) for name, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value is not None]
    yield from (f"{name.arg}={ast.unparse(value)}" for name, value in pairs if not_safe(name.arg, value))


def not_safe(name: object, value: ast.expr) -> bool:
    """Whether a keyword, attribute or entry has another value than the one that is known to be safe."""
    return name in SAFE and not (isinstance(value, ast.Constant) and value.value is SAFE[str(name)])


def is_shell(node: ast.expr) -> bool:
    """Whether a word of a command names a shell."""
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and text.replace("\\", "/").rpartition("/")[2].removesuffix(".exe") in SHELLS
