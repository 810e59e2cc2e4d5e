"""Sections of Markdown to one HTML page: no script, no request, its pictures inside it.

What comes from data or models is text: markup in it is shown, not obeyed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from llm.app.markdown import Section

STYLE = Path(__file__).parent / "report.css"
ALLOWED = ("<sub>", "</sub>")  # of the markup in Markdown: what our own tables hold
WIDE = '<div class="wide" role="region" aria-label="Table" tabindex="0">'  # scrolls by itself
DESCRIPTION = "The tables and sentences of this page give the same figures."


def html_page(title: str, introduction: str, sections: Sequence[Section], pictures: Mapping[str, str]) -> str:
    """The page; `pictures` holds SVG by the name of its file, in place of which it stands."""
    to_html = MarkdownToHtml(pictures)
    links = "".join(f'<li><a href="#{anchor(one.title)}">{escape(one.title)}</a></li>' for one in sections)
    parts = "".join(_section(one, to_html) for one in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f"<header>\n<h1>{escape(title)}</h1>\n{to_html.render(introduction)}</header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main id="content">\n{parts}</main>\n</body>\n</html>\n'
    )


def anchor(title: str) -> str:
    """The name of a heading in links, as GitHub makes it.  anchor("In short") == "in-short\""""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _section(section: Section, to_html: "MarkdownToHtml") -> str:
    name = anchor(section.title)
    folds = "".join(
        f"<details><summary>{escape(title)}</summary>\n{to_html.render(text, deeper=1)}</details>\n"
        for title, text in section.folds
    )
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n<h2 id="{name}-title">{escape(section.title)}</h2>\n'
        f"{to_html.render(section.body)}{folds}</section>\n"
    )


class MarkdownToHtml:
    """Renders Markdown; keeps count of the pictures, whose names must differ."""

    def __init__(self, pictures: Mapping[str, str]) -> None:
        self.pictures = pictures
        self.parser = MarkdownIt("commonmark").enable("table")
        self.parser.add_render_rule("html_inline", show_markup)
        self.parser.add_render_rule("html_block", show_markup)

    def render(self, text: str, deeper: int = 0) -> str:
        """The text as HTML; its headings go so many levels down."""
        tokens = self.parser.parse(text)
        linked = set(re.findall(r"\]\(#([\w-]+)\)", text))
        for token, content in zip(tokens, _contents_behind(tokens), strict=True):
            if token.type in ("heading_open", "heading_close"):
                token.tag = f"h{int(token.tag[1]) + deeper}"
            if token.type == "heading_open" and anchor(content) in linked:
                token.attrSet("id", anchor(content))
        rendered = self.parser.renderer.render(list(with_headers(tokens)), self.parser.options, {})
        rendered = rendered.replace("<table", f"{WIDE}<table")
        return self._with_pictures(unbroken(rendered.replace("</table>", "</table></div>")))

    def _with_pictures(self, rendered: str) -> str:
        def inline(found: re.Match[str]) -> str:
            return inline_svg(found["name"], self.pictures[found["name"]], found["alt"])

        pattern = r'<p><img src="plots/(?P<name>\w+)\.svg" alt="(?P<alt>[^"]*)" /></p>'
        return re.sub(pattern, inline, rendered)


def unbroken(text: str) -> str:
    """The text with numbers, and what they are of, in one line.  unbroken("n = 5, 3 %") == "n&nbsp;=&nbsp;5, "
    "3&nbsp;%\""""
    return re.sub(r"\bn = (?=\d)", "n&nbsp;=&nbsp;", re.sub(r"(?<=\d) %", "&nbsp;%", text))


def show_markup(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """What Markdown takes for HTML: kept where it is ALLOWED, else shown as text."""
    content = tokens[index].content
    return content if content in ALLOWED else escape(content)


def _contents_behind(tokens: Sequence[Token]) -> list[str]:
    """Of each token what the next one holds: the text of a heading or a cell that it opens."""
    return [one.content for one in tokens[1:]] + [""] * bool(tokens)


def with_headers(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens; of tables each head says that it is one of a column, and the first cell of a row of that row."""
    table, heads, column = None, list[str](), 0
    for token, content in zip(tokens, _contents_behind(tokens), strict=True):
        if token.type == "table_open":
            table, heads = token, []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            heads.append(re.sub(r"<[^>]*>|[*`]", "", content))
            _mark_head(token, heads)
            if table and heads == [""]:
                table.attrSet("class", "texts")  # by model: below one another where there is little room
        elif token.type == "th_close":
            token.tag = "th" if heads[-1] else "td"
        elif token.type == "td_open":
            _mark_cell(token, heads[column], first=column == 0)
        elif token.type == "td_close":
            token.tag = "th" if column == 0 else "td"
            column += 1
        yield token


def _mark_head(token: Token, heads: Sequence[str]) -> None:
    """Make a head one of its column; one that says nothing is none."""
    if heads[-1]:
        token.attrSet("scope", "col")
    else:
        token.tag = "td"


def _mark_cell(token: Token, head: str, first: bool) -> None:
    """Make the first cell the head of its row; let the others say which column they are of."""
    if first:
        token.tag = "th"
        token.attrSet("scope", "row")
    elif head:
        token.attrSet("data-label", head)


def inline_svg(name: str, svg: str, about: str) -> str:
    """The picture as a part of the page: with names of its own, a text for those who do not see it, and free width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    view_box = re.search(r'viewBox="[^"]*"', svg)
    start = (
        f'<svg {view_box[0] if view_box else ""} role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{about}</title><desc id="{name}-desc">{DESCRIPTION}</desc>'
    )
    svg = start + re.sub(r"\s+", " ", svg[svg.index(">") + 1 :])
    return f'<figure class="wide" tabindex="0" role="group" aria-label="Picture">{svg}</figure>\n'
