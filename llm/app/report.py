"""The report on a run: one page as HTML that needs nothing else, and as Markdown for git."""

from collections.abc import Callable, Sequence

from llm.app import evidence, sections
from llm.app.markdown import Section, list_items
from llm.app.report_html import html_page
from llm.app.report_run import ReportedRun
from llm.app.verdicts import WRITERS
from llm.evaluation.figure_files import show_text

TITLE = "Report on a run"
MADE: tuple[Callable[[ReportedRun], Section], ...] = (
    *(sections.in_short, sections.table_section, sections.comparisons, sections.meanings, sections.losses),
    *(sections.literacy, evidence.instruments, evidence.samples, evidence.data, evidence.cost),
    *(evidence.parameters, evidence.versions, evidence.limits),
)


def introduction(run: ReportedRun) -> str:
    """Who is compared here."""
    shown = [f"`{name}`: {show_text(run.details[name]['name'])}." for name in WRITERS if run.is_there(name)]
    asked = "Which of these models is better at what, and how sure is that? All of it comes from the run's files."
    return f"{asked}\n\n{list_items(shown)}"


def report_sections(run: ReportedRun) -> list[Section]:
    """All sections in their order."""
    return [make(run) for make in MADE]


def report_markdown(run: ReportedRun) -> str:
    """The report for git: without what depends on the machine, and with links in place of other pages."""
    parts = [f"# {TITLE}", introduction(run)]
    for section in report_sections(run):
        if section.in_markdown:
            parts += [f"## {section.title}", section.body]
    return "\n\n".join(parts) + "\n"


def report_html(run: ReportedRun, first: Sequence[Section] = ()) -> str:
    """The report as one HTML page, whose first sections after the summary are those given."""
    summary, *others = report_sections(run)
    return html_page(TITLE, introduction(run), [summary, *first, *others], run.pictures)
