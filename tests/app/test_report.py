"""The report on what the stages left of tiny models: everything in one file, nothing obeyed, nothing hidden."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from llm.app.markdown import Section
from llm.app.report import report_html, report_markdown
from llm.app.report_html import html_page
from llm.app.report_run import read_reported
from llm.evaluation.figure_files import show_number
from stages import report
from tests.reported import copy_committed
from tests.stages.test_evaluate import project  # noqa: F401  a fixture

MAX_BYTES = 10**6
VOID = {"meta", "br", "hr", "img", "link", "input"}


@pytest.fixture(scope="module")
def run(project, tmp_path_factory):  # noqa: F811
    """A run of tiny models, reported."""
    folder = tmp_path_factory.mktemp("reported")
    shutil.copytree(project / "metrics", folder / "metrics")
    copy_committed(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TANDEM_COST", str(folder / ".cost"))
        report.main()
        return read_reported(Path())


class Page(HTMLParser):
    """What stands in a page: its tags in order, each with its attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        assert self.open == []  # what was opened is closed

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_page_asks_for_nothing_outside_itself(run):
    text = report_html(run)
    page = Page(text)
    assert len(text.encode()) <= MAX_BYTES
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    loads = [attrs[key] for tag, attrs in page.tags for key in ("src", "srcset", "data") if key in attrs]
    loads += [attrs["href"] for tag, attrs in page.tags if tag != "a" and "href" in attrs]
    assert [one for one in loads if not one.startswith("#")] == []
    assert "@import" not in text and re.findall(r"url\((?!#)", text) == []


def test_every_place_that_the_page_points_to_is_in_it(run):
    page = Page(report_html(run))
    names = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(names) == len(set(names))
    targets = {attrs["href"][1:] for _, attrs in page.tags if attrs.get("href", "").startswith("#")}
    targets |= {part for _, attrs in page.tags for part in attrs.get("aria-labelledby", "").split()}
    assert targets <= set(names)


def test_headings_go_down_one_level_at_a_time(run):
    levels = [int(tag[1]) for tag, _ in Page(report_html(run)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_name_their_rows_and_columns_and_pictures_say_what_they_show(run):
    page = Page(report_html(run))
    assert {attrs.get("scope") for attrs in page.all("th")} == {"row", "col"}
    pictures = page.all("svg")
    assert len(pictures) == 4 == len(page.all("desc"))
    assert all(attrs["role"] == "img" for attrs in pictures)


def test_markup_in_names_prompts_and_licences_is_shown_and_not_obeyed(run):
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)"> [x](javascript:alert(3)) <b>'
    details = {name: {**detail, "name": evil} for name, detail in run.details.items()}
    pages = {name: f"{text}\n\n{evil}\n\n| {evil} |\n| --- |\n| {evil} |\n\n{evil}" for name, text in run.pages.items()}
    page = Page(report_html(replace(run, details=details, pages=pages)))
    before = Page(report_html(run))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in before.tags}
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert not [attrs for attrs in page.all("a") if "javascript" in attrs["href"]]
    assert "<script>alert(1)</script>" in page.text


def test_the_markdown_has_every_section_but_what_depends_on_the_machine(run):
    text, page = report_markdown(run), Page(report_html(run))
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert "Cost" in page.text and "Cost" not in titles
    assert all(title in page.text for title in titles) and len(titles) == 12


def test_figures_in_sentences_are_those_of_the_table(run):
    line = run.compared["scratch - ngram5"]["bpb.all"]
    told = f"{show_number(line.a, 3)} against {show_number(line.b, 3)}"
    assert told in report_markdown(run)
    assert show_number(run.figures["scratch"]["bpb"]["all"], 3) == show_number(line.a, 3)


def test_equal_runs_give_equal_pages(run):
    assert report_html(run) == report_html(run)


def test_without_a_fine_tune_the_report_says_so_and_goes_on(run):
    details = {**run.details, "mistral": {"enabled": False, "reason": "finetune.enabled is false"}}
    figures = {**run.figures, "mistral": {name: dict.fromkeys(row) for name, row in run.figures["mistral"].items()}}
    compared = {pair: lines for pair, lines in run.compared.items() if "mistral" not in pair}
    trainings, curves = {**run.trainings, "mistral": {"enabled": False}}, {**run.curves, "mistral": []}
    without = replace(run, details=details, figures=figures, compared=compared, trainings=trainings, curves=curves)
    text = report_markdown(without)
    assert "`mistral` is not there (finetune.enabled is false), so it is held against nothing." in text
    assert "`mistral` was not trained in this run." in text
    Page(report_html(without))


def test_a_password_in_the_address_of_a_parameter_stands_on_no_page(run):
    location = "https://ann:hush0@example.org/base.gguf?token=hush1"
    changed = replace(run, parameters={**run.parameters, "base": {"location": location, "revision": "main"}})
    pages = report_markdown(changed) + report_html(changed)
    assert "https://example.org/base.gguf?..." in pages and "hush" not in pages


def test_differences_from_the_preset_come_first_and_all_parameters_stand_behind(run):
    changed = {**run.parameters, "seed": 7, "canaries": {"each": 0, "own": ["my number is 5550199"]}}
    page = report_html(replace(run, parameters=changed))
    assert re.search(r"<code>seed</code></th>\s*<td[^>]*><code>7</code>", page)
    assert "1 of your own, not shown here" in page
    assert "5550199" not in page


def test_a_page_has_what_stands_in_its_sections_alone():
    page = html_page("T", "", [Section("A & B", "n = 5, 3 % <sub>low</sub>", [("More", "# gone\n\n## deeper")])], {})
    assert '<h2 id="a--b-title">A &amp; B</h2>' in page
    assert "n&nbsp;=&nbsp;5, 3&nbsp;% <sub>low</sub>" in page
