import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from llm.models.shape import ModelConfig
from llm.ranges import check_range
from llm.training.schedule import TrainConfig
from stages.check_params import Params
from stages.params import load, nearest, read_params


@dataclass(frozen=True)
class Inner:
    size: int

    def __post_init__(self) -> None:
        check_range("size", self.size, 1, 9)


@dataclass(frozen=True)
class Section:
    rate: float
    steps: int | None
    kind: Literal["cosine", "stable"]
    names: tuple[str, ...]
    on: bool
    inner: Inner


VALID = {"rate": "0.5", "steps": "null", "kind": "cosine", "names": "[a, b]", "on": "true", "inner": "{size: 3}"}


@pytest.fixture
def write(tmp_path):
    def write_section(**changes: str) -> Path:
        path = tmp_path / "params.yaml"
        lines = [f"  {key}: {value}" for key, value in {**VALID, **changes}.items() if value != "absent"]
        path.write_text("\n".join(["section:", *lines, "seed: 1", ""]), encoding="utf-8")
        return path

    return write_section


def refusal(path, section="section", cls=Section):
    with pytest.raises(ValueError) as caught:
        load(section, cls, path)
    return str(caught.value)


def test_a_section_becomes_its_dataclass(write):
    assert load("section", Section, write()) == Section(0.5, None, "cosine", ("a", "b"), True, Inner(3))


@pytest.mark.parametrize(
    ("spelling", "value"),
    [("1e-4", 1e-4), ("1e-05", 1e-5), ("3e-05", 3e-5), ("3.0e-4", 3e-4), ("3E+2", 300.0), (".5", 0.5), ("-2", -2.0)],
)
def test_every_spelling_of_a_number_is_a_number(write, spelling, value):
    assert load("section", Section, write(rate=spelling)).rate == value


def test_a_whole_number_is_accepted_for_a_float_and_becomes_one(write):
    rate = load("section", Section, write(rate="2")).rate
    assert (rate, type(rate)) == (2.0, float)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rate", "abc", "section.rate is 'abc', a text, allowed: a number"),
        ("rate", "null", "section.rate is null, allowed: a number"),
        ("rate", "true", "section.rate is true, allowed: a number"),
        ("rate", "[1.0]", "section.rate is a list, allowed: a number"),
        ("rate", ".inf", "section.rate is '.inf', a text, allowed: a number"),
        ("rate", "1:30", "section.rate is '1:30', a text, allowed: a number"),
        ("steps", "2.0", "section.steps is 2.0, a number, allowed: a whole number or null"),
        ("steps", "1_000", "section.steps is '1_000', a text, allowed: a whole number or null"),
        ("steps", "true", "section.steps is true, allowed: a whole number or null"),
        ("kind", "cosin", "section.kind is 'cosin', a text, allowed: cosine, stable; did you mean cosine?"),
        ("kind", "1", "section.kind is 1, a whole number, allowed: cosine, stable"),
        ("names", "a", "section.names is 'a', a text, allowed: a list, each entry a text"),
        ("names", "[a, 1]", "section.names[1] is 1, a whole number, allowed: a text"),
        ("on", "no", "section.on is 'no', a text, allowed: true or false"),
        ("on", "1", "section.on is 1, a whole number, allowed: true or false"),
        ("inner", "fast", "section.inner is 'fast', a text, allowed: a section with the keys size"),
        ("inner", "{size: 10}", "section.inner.size is 10, allowed: 1 to 9"),
        ("inner", "{size: 3, sise: 3}", "section.inner.sise (now 3, a whole number) is not a parameter, "
                                        "did you mean section.inner.size?"),
        ("raet", "0.1", "section.raet (now 0.1, a number) is not a parameter, did you mean section.rate?"),
        ("zzz", "{}", "section.zzz (now a section) is not a parameter, known: section.rate, section.steps"),
        ("rate", "absent", "section.rate is missing, allowed: a number"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_key_its_value_and_what_is_allowed(write, key, value, message):
    assert refusal(write(**{key: value})).startswith(message)


def test_a_refusal_says_that_the_file_still_holds_the_bad_value(write):
    path = write(rate="abc")
    assert refusal(path).endswith(f"; {path} still holds this: correct it there")


def test_all_problems_of_a_section_are_named_at_once(write):
    message = refusal(write(rate="abc", inner="{size: 10}"))
    assert "section.rate is 'abc'" in message
    assert "section.inner.size is 10" in message


@pytest.fixture
def example(tmp_path):
    """The committed preset, whose values stand in for those of a wrong type."""
    (tmp_path / "presets").mkdir()
    lines = "".join(f"  {key}: {value}\n" for key, value in {**VALID, "low": 4, "high": 6}.items())
    (tmp_path / "presets/laptop.yaml").write_text(f"section:\n{lines}", encoding="utf-8")


@dataclass(frozen=True)
class Ranges:
    rate: float
    low: int
    high: int

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 1)
        check_range("low", self.low, 1, 9)
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


NARROW = dict.fromkeys(("steps", "kind", "names", "on", "inner"), "absent")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rate": "abc", "low": "99", "high": "100"}, ["section.rate is 'abc'", "section.low is 99, allowed: 1 to 9"]),
        ({"high": "abc", "low": "99"}, ["section.high is 'abc'", "section.low is 99, allowed: 1 to 9"]),
        ({"rate": "absent", "low": "99", "high": "100"}, ["section.rate is missing", "section.low is 99"]),
        ({"rate": "7", "low": "2", "high": "3", "more": "1"}, ["section.more (now 1", "section.rate is 7.0, allowed"]),
        ({"low": "abc", "high": "1"}, ["section.low is 'abc'"]),  # that 4 is above 1 is of no value in the file
    ],
)
def test_a_type_error_hides_no_range_error_of_its_section(write, example, changes, told):
    *problems, _ = refusal(write(**NARROW, **changes), cls=Ranges).split("; ")
    problems = [problem for problem in problems if not problem.startswith("did you")]
    assert [problem[: len(start)] for problem, start in zip(problems, told, strict=True)] == told


def test_a_type_error_of_one_section_hides_no_range_error_of_another(tmp_path, repository):
    (tmp_path / "presets").mkdir()
    laptop = (repository / "presets/laptop.yaml").read_text(encoding="utf-8")
    (tmp_path / "presets/laptop.yaml").write_text(laptop, encoding="utf-8")
    changed = laptop.replace("\nseed: 1 ", "\nseed: -1 ").replace("  n_head: ", "  n_head: abc # ", 1)
    path = tmp_path / "params.yaml"
    path.write_text(changed, encoding="utf-8")
    message = refusal(path, "", Params)
    assert "n_head is 'abc'" in message
    assert "seed is -1, allowed: 0 to" in message


def test_a_replaced_section_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("section: fast\n", encoding="utf-8")
    assert refusal(path).startswith("section is 'fast', a text, allowed: a section with the keys rate, steps")


def test_a_missing_section_is_refused(write):
    assert refusal(write(), "other").startswith("other is missing")


def test_a_value_is_found_by_its_dotted_name(write):
    assert load("section.inner.size", int, write()) == 3


@pytest.mark.parametrize("name", ["section.inner.sise", "section.rate.x", "zzz"])
def test_a_missing_value_is_refused(write, name):
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load(name, int, write())


def test_a_key_given_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\nb: 2\na: 3\n", encoding="utf-8")
    with pytest.raises(ValueError, match="a stands in line 1 and again in line 3"):
        read_params(path)


@pytest.mark.parametrize("value", ["!!timestamp 2026-01-01", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!thing 1"])
def test_a_value_that_json_has_not_is_refused_with_its_tag_and_line(write, value):
    message = refusal(write(kind=value))
    assert re.search(rf"{value.split()[0].lstrip('!')}'.* line 4", message)


def test_a_list_as_a_key_is_refused_with_its_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\n? [b]\n: 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cannot be read: .*unhashable key.* line 2"):
        read_params(path)


def test_half_a_character_is_refused_in_a_line_that_does_not_show_the_whole_file(write):
    message = refusal(write(names=r'["\ud800"]'))
    assert "surrogates not allowed" in message
    assert "cosine" not in message


@pytest.mark.parametrize(
    ("text", "message"), [("a: [1", "cannot be read"), ("- 1", "holds a list"), ("", "holds null")]
)
def test_a_file_without_sections_is_refused(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_params(path)


@pytest.mark.parametrize(
    "text", ['own: ["my PIN is 4711', "url: https://ann:hush@example.org/a: b", "own:\n- 'my PIN is 4711\nnext: hush"]
)
def test_a_syntax_error_names_its_place_and_shows_nothing_of_the_line(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(f"a: 1\n{text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cannot be read: .* in line \d+, column \d+$") as refused:
        read_params(path)
    assert not re.search("hush|4711|PIN", str(refused.value))


def test_scalars_follow_yaml_1_2_as_dvc_reads_them(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("{a: 010, b: no, c: 2001-01-01, d: ~, e: , f: False, g: '1'}", encoding="utf-8")
    assert read_params(path) == {"a": 10.0, "b": "no", "c": "2001-01-01", "d": None, "e": None, "f": False, "g": "1"}


def test_nearest_lists_what_is_known_where_nothing_is_alike():
    assert nearest("qqq", ["lr", "epochs"]) == "known: lr, epochs"


def test_the_project_s_own_sections_load(repository):
    params = repository / "presets/laptop.yaml"
    assert load("model", ModelConfig, params).n_embd % load("model", ModelConfig, params).n_head == 0
    assert load("finetune.train", TrainConfig, params).batch_size >= 1


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 11))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BOMB, "its aliases stand for more than 100,000 values"),
        ("a: &a [*a]", "nested too deeply"),
        ("[" * 3000, "nested too deeply"),
        ("a: !!bool x", "cannot be read: 'x'"),
        ("a: !!int ''", "cannot be read"),
        ("a: !!python/object/apply:os.system ['id']", "could not determine a constructor"),
    ],
)
def test_yaml_of_strangers_is_refused_in_words(content, told, tmp_path):
    (tmp_path / "params.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        read_params(tmp_path / "params.yaml")
