"""Typed access to params.yaml, the only place of defaults: one section becomes one frozen dataclass."""

import difflib
import re
from collections.abc import Hashable, Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

PARAMS = Path("params.yaml")
KIND_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}

T = TypeVar("T")


class ParamsLoader(yaml.SafeLoader):
    """YAML 1.2 scalars, as DVC reads and writes them; a key given twice is refused.

    PyYAML alone follows YAML 1.1, where `1e-4` and `3e-05` are strings, `010` is 8 and `no` is false.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping; ValueError when a key occurs twice in it."""
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if lines.setdefault(key, line) != line:
                raise ValueError(f"{key} stands in line {lines[key]} and again in line {line}")
        return super().construct_mapping(node, deep)


ParamsLoader.yaml_implicit_resolvers = {}
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
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), ParamsLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {show(content)}, allowed: sections of parameters")
    return content


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


def _key(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _convert(name: str, value: Any, hint: Any) -> Any:
    """The value in the hinted type; only a whole number is accepted for another type, a float."""
    if is_dataclass(hint):
        return _convert_section(name, value, hint)
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        if get_origin(option) is Literal and isinstance(value, str) and value in get_args(option):
            return value
        if get_origin(option) is tuple and isinstance(value, list):
            return tuple(_convert(f"{name}[{i}]", item, get_args(option)[0]) for i, item in enumerate(value))
        if option is float and type(value) is int:
            return float(value)
        if type(value) is option:
            return value
    choices = [str(c) for option in options if get_origin(option) is Literal for c in get_args(option)]
    hint_text = f"; {nearest(value, choices)}" if choices and isinstance(value, str) else ""
    raise ValueError(f"{name} is {show(value)}, allowed: {describe(hint)}{hint_text}")


def _convert_section(section: str, values: Any, cls: Any) -> Any:
    """The dataclass filled from a section; ValueError naming everything wrong in it."""
    if not isinstance(values, dict):
        raise ValueError(f"{section} is {show(values)}, allowed: {describe(cls)}")
    hints = {_key(section, key): hint for key, hint in get_type_hints(cls).items()}
    given = {_key(section, str(key)): value for key, value in values.items()}
    problems = [
        f"{name} (now {show(value)}) is not a parameter, {nearest(name, hints)}"
        for name, value in given.items()
        if name not in hints
    ]
    converted = {}
    for name, hint in hints.items():
        if name not in given:
            problems.append(f"{name} is missing, allowed: {describe(hint)}")
            continue
        try:
            converted[name.removeprefix(f"{section}.")] = _convert(name, given[name], hint)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    try:
        return cls(**converted)
    except ValueError as error:
        raise ValueError(_key(section, str(error))) from None


def _find(params: dict[str, Any], name: str) -> Any:
    """The value at a dotted name."""
    value: Any = params
    for key in name.split(".") if name else []:
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"{name} is missing")
        value = value[key]
    return value


def _load(name: str, hint: Any, path: Path) -> Any:
    params = read_params(path)
    try:
        return _convert(name, _find(params, name), hint)
    except ValueError as error:
        raise ValueError(f"{error}; {path} still holds this: correct it there") from None


def load(section: str, cls: type[T], path: Path = PARAMS) -> T:
    """The section, `train` or `download.eli5`, as its dataclass; the whole file for the empty name.

    Raises ValueError for unknown, missing, mistyped, out-of-range or inconsistent values, naming each with what is
    allowed.
    """
    return _load(section, cls, path)


def load_value(name: str, kind: type[T], path: Path = PARAMS) -> T:
    """The single value at a dotted name, `seed` or `model.context_length`; ValueError when it is of another type."""
    return _load(name, kind, path)
