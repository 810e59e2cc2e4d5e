"""Markup to plain text: film scripts, Reddit posts, HTML pages."""

import html
import re

REMOVED = re.compile(r"\[(removed|deleted)( by user)?\]", re.IGNORECASE)
_SCRIPT_TAG = re.compile(r"</?(?:u|i|b|pre|html|em|strong)\s*/?>", re.IGNORECASE)
_URL = re.compile(r"_?URL_\d+_?|https?://\S+")
_LINK = re.compile(r"\[([^\[\]]+)\]\(\s*(?:_?URL_\d+_?|https?://[^)\s]*)[^)]*\)")
_EMPTY_BRACKETS = re.compile(r"\(\s*\)|\[\s*\]|<\s*>")
_ELI5 = re.compile(r"^[\s\[(]*eli\s?5\b[\])]*[\s:;,.\-\u2013\u2014]*|[\s(\[]+eli\s?5[\])]?[?.!]?\s*$", re.IGNORECASE)
_BLOCKS = ("p", "div", "blockquote", "ul", "ol", "table", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "hr")


def one_space(text: str) -> str:
    """The text with every run of white space as one space.

    >>> one_space(" Can we\\tmake  this quick? ")
    'Can we make this quick?'
    """
    return " ".join(text.split())


def script_text(text: str) -> str:
    """A film line without the tags of the script's layout; words in angle brackets that are speech stay.

    >>> script_text("That's <u>all</u> you've got?")
    "That's all you've got?"
    """
    return one_space(_SCRIPT_TAG.sub("", html.unescape(text)))


def tidy_lines(text: str) -> str:
    """The text without space at line ends and with at most one empty line in a row."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def reddit_text(text: str) -> str:
    """A Reddit post without entities, link targets and the data set's URL placeholders.

    >>> reddit_text("See [this atom](_URL_1_) &amp; that _URL_0_ .")
    'See this atom & that.'
    """
    text = _LINK.sub(r"\1", html.unescape(html.unescape(text)))
    text = _EMPTY_BRACKETS.sub("", _URL.sub("", text))
    return tidy_lines(re.sub(r"[ \t]+", " ", re.sub(r"[ \t]+([.,;:!?])(?=\s|$)", r"\1", text)))


def without_eli5(question: str) -> str:
    """The question without "ELI5:" before or "ELI5" after it, its first letter large.

    >>> without_eli5("ELI5: how do magnets work?"), without_eli5("How is union rugby different? ELI5")
    ('How do magnets work?', 'How is union rugby different?')
    """
    text = _ELI5.sub("", question).strip()
    return text[:1].upper() + text[1:]


def html_text(markup: str) -> str:
    """An HTML fragment as plain text: paragraphs apart, list items dashed, code blocks kept as they stand.

    >>> html_text("<p>Use <code>fit</code>:</p><pre><code>a = 1\\n  b</code></pre>")
    'Use fit:\\n\\na = 1\\n  b'
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(markup, "html.parser")
    for tag in soup(["script", "style", "img"]):
        tag.decompose()
    blocks = []
    for tag in soup("pre"):
        blocks.append(tag.get_text().strip("\n"))
        tag.replace_with(f"\n\n\x00{len(blocks) - 1}\x00\n\n")
    for tag in soup("br"):
        tag.replace_with("\x01")
    for tag in soup("li"):
        tag.insert_before("\x01")
        tag.insert(0, "- ")
    for tag in soup(_BLOCKS):
        tag.insert_before("\x02")
        tag.insert_after("\x02")
    text = re.sub(r"\s+", " ", soup.get_text())  # line breaks of the source mean nothing in HTML
    text = re.sub(r" *\x01 *", "\n", re.sub(r"[\x01 ]*\x02[\x01\x02 ]*", "\n\n", text))
    text = re.sub(r"\s*\x00(\d+)\x00\s*", lambda match: f"\n\n{blocks[int(match[1])]}\n\n", text)
    return tidy_lines(text)
