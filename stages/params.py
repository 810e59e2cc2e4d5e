"""Typed access to params.yaml, the only place of defaults: one section becomes one frozen dataclass."""

import copy
import difflib
import io
import json
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

PARAMS, EXAMPLE = Path("params.yaml"), "presets/laptop.yaml"
MAX_VALUES = 100_000  # of params.yaml, which has some hundreds
UNKNOWN = "unexpected_keyword_argument"  # pydantic's name of the error
KIND_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}

T = TypeVar("T")


class ParamsLoader(yaml.SafeLoader):
    """YAML 1.2 scalars, as DVC reads and writes them; a key given twice or a value that JSON has not is refused.

    PyYAML alone follows YAML 1.1, where `1e-4` and `3e-05` are strings, `010` is 8 and `no` is false.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping; ValueError when a key occurs twice in it."""
        mapping = super().construct_mapping(node, deep)  # first: it refuses a list as a key
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if lines.setdefault(key, line) != line:
                raise ValueError(f"{key} stands in line {lines[key]} and again in line {line}")
        return mapping


ParamsLoader.yaml_implicit_resolvers = {}
ParamsLoader.yaml_constructors = {  # no dates, bytes and sets; None stands for every other tag, and refuses it
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    ParamsLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_params(path: Path = PARAMS) -> dict[str, Any]:
    """The file's content as plain values.

    Raises ValueError for a file that is not YAML or holds no sections, OSError for one that is not there.
    """
    return parse_params(path.read_bytes(), path)


def parse_params(text: bytes | str, path: Path = PARAMS) -> dict[str, Any]:
    """The text of a file of parameters as plain values. Raises ValueError as `read_params` does."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        content = yaml.load(text, ParamsLoader)
        if count_values(content, {}) > MAX_VALUES:
            raise ValueError(f"its aliases stand for more than {MAX_VALUES:,} values")
    except RecursionError:
        raise ValueError(f"{path} cannot be read: its lists or sections are nested too deeply") from None
    except yaml.MarkedYAMLError as error:  # its own words quote the line, which may be private
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{path} cannot be read: {error.problem or error.context}{place}") from None
    except (yaml.YAMLError, ValueError, LookupError) as error:  # the last of a tag and a value that is none: !!bool x
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {show(content)}, allowed: sections of parameters")
    return content


def count_values(value: Any, known: dict[int, int]) -> int:
    """How many values are in the value, those that an alias stands for each time: ten lines can stand for 8**10."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(count_values(one, known) for one in inside)
    return known[id(value)]


PRIVATE = "canaries.own"  # texts that no log repeats


def read_commented(text: str) -> Any:
    """The values of a parameter file with their comments."""
    from ruamel.yaml import YAML

    return YAML().load(text)


def rewrite(text: str, change: Callable[[Any], object]) -> str:
    """The text of a parameter file after `change` was called with its values; comments stay where they are."""
    from ruamel.yaml import YAML

    yaml, values, out = YAML(), read_commented(text), io.StringIO()
    yaml.default_flow_style = False  # as DVC writes the file after -S
    change(values)
    yaml.dump(values, out)
    return out.getvalue()


def show(value: object) -> str:
    """A value as an error names it: `'abc', a text`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    return f"{value!r}, {KIND_NAMES.get(type(value), type(value).__name__)}"


def describe(hint: Any) -> str:
    """What a type allows, in words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(describe(option) for option in get_args(hint))
    if get_origin(hint) in (dict, Mapping):
        return f"a section whose entries are each {describe(get_args(hint)[1])}"
    if get_origin(hint) is Literal:
        return ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each entry {describe(get_args(hint)[0])}"
    if is_dataclass(hint):
        return f"a section with the keys {', '.join(field.name for field in fields(hint))}"
    return KIND_NAMES[hint]


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean x?` where something known is like the word, else all that is known.

    Dotted names are compared by their last part.
    """
    names = {name.rpartition(".")[2]: name for name in known}
    matches = difflib.get_close_matches(word.rpartition(".")[2], names, n=1, cutoff=0.5)
    return f"did you mean {names[matches[0]]}?" if matches else f"known: {', '.join(names.values())}"


def _dotted(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _section_of(hint: Any) -> Any:
    """The type that is not None, of an optional section."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return next(option for option in options if option is not NoneType)


def _problem(name: str, hint: Any, error: ErrorDetails) -> str:
    """What is wrong below the section `name` of the hinted type, and what is allowed there."""
    known: list[str] = []
    for key in error["loc"][1:]:
        section = _section_of(hint)
        known = [_dotted(name, field.name) for field in fields(section)] if is_dataclass(section) else []
        hint = get_type_hints(section).get(str(key)) if known else get_args(section)[-1 if isinstance(key, str) else 0]
        name = _dotted(name, str(key)) if isinstance(key, str) else f"{name}[{key}]"
    kind, value = error["type"], error["input"]
    if kind == UNKNOWN:
        return f"{name} (now {show(value)}) is not a parameter, {nearest(name, known)}"
    if kind == "missing":
        return f"{name} is missing, allowed: {describe(hint)}"
    if kind == "value_error":  # of a dataclass's own checks
        return _dotted(name, str(error["ctx"]["error"]))
    alike = f"; {nearest(value, get_args(hint))}" if kind == "literal_error" and isinstance(value, str) else ""
    shown = "of another type (not shown)" if name.startswith(PRIVATE) else show(value)
    return f"{name} is {shown}, allowed: {describe(hint)}{alike}"


def _find(params: dict[str, Any], name: str) -> Any:
    """The value at a dotted name."""
    value: Any = params
    for key in name.split(".") if name else []:
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"{name} is missing")
        value = value[key]
    return value


def _correct(value: Any, example: Any, errors: Sequence[ErrorDetails]) -> tuple[Any, set[str]]:
    """The value with those of the example where the errors are, and the keys of these; unknown keys are left out."""
    corrected, replaced = copy.deepcopy(value), set[str]()
    for error in errors:
        keys = [key for key in error["loc"] if isinstance(key, str)]  # a list is corrected as a whole
        if error["type"] == "value_error" or not keys:
            continue
        section, good = corrected, example
        for key in keys[:-1]:
            section, good = section[key], good[key]
        section.pop(keys[-1], None)
        if keys[-1] in good:
            section[keys[-1]] = good[keys[-1]]
        replaced.add(keys[-1])
    return corrected, replaced


def _errors(value: Any, kind: type) -> list[ErrorDetails]:
    """What pydantic finds wrong with the value of that type."""
    try:
        _validate(value, kind)
    except ValidationError as error:
        return error.errors()
    return []


def _problems(name: str, value: Any, kind: type, path: Path) -> list[str]:
    """What is wrong with the value at a dotted name, unknown keys first.

    pydantic does not run a dataclass's own checks while a value of it has the wrong type. So they run once more with
    a preset's values in place of those; what they say of such a value is left out, for it is not in the file.
    """
    errors = _errors(value, kind)
    problems = [_problem(name, kind, error) for error in sorted(errors, key=lambda one: one["type"] != UNKNOWN)]
    try:
        corrected, replaced = _correct(value, _find(read_params(path.parent / EXAMPLE), name), errors)
    except (KeyError, TypeError, OSError, ValueError):  # the preset is not like it
        return problems
    for error in _errors(corrected, kind):
        problem = _problem(name, kind, error)
        if problem not in problems and not replaced & set(re.findall(r"\w+", problem)):
            problems.append(problem)
    return problems


def _validate(value: Any, kind: type[T]) -> T:
    # Handed over as JSON, a section may be a dataclass and a list a tuple also where pydantic is strict; handed over in
    # a tuple, because a dataclass alone takes no configuration.
    adapter = TypeAdapter(tuple[kind], config=ConfigDict(strict=True, extra="forbid"))  # type: ignore[valid-type]
    return adapter.validate_json(json.dumps([value], ensure_ascii=False).encode())[0]


def load(name: str, kind: type[T], path: Path = PARAMS) -> T:
    """The section or the single value at a dotted name, `train` or `model.context_length`; for "" the whole file.

    Raises ValueError for unknown, missing, mistyped, out-of-range or inconsistent values, naming each with what is
    allowed.
    """
    params = read_params(path)
    try:
        value = _find(params, name)
        return _validate(value, kind)
    except ValidationError:
        problems = "; ".join(_problems(name, value, kind, path))
    except ValueError as error:
        problems = str(error)
    raise ValueError(f"{problems}; {path} still holds this: correct it there")
