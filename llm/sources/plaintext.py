"""Markup to plain text: film scripts, Reddit posts, HTML pages."""

import html
import re
from collections.abc import Iterator, Mapping
from itertools import count

REMOVED = re.compile(r"\[(removed|deleted)( by user)?\]", re.IGNORECASE)
_LAYOUT_TAG = re.compile(r"</?(?:u|i|b|pre|html|em|strong)\s*/?>", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"&#(?:\d{8,}|x[0-9a-f]{8,});?", re.IGNORECASE)  # of no character, and slow to read
_URL = re.compile(r"_?URL_\d+_?|https?://\S+")
_LINK = re.compile(r"\[([^\[\]]+)\]\(\s*(?:_?URL_\d+_?|https?://[^)\s]*)[^)]*\)")
_EMPTY_BRACKETS = re.compile(r"\(\s*\)|\[\s*\]|<\s*>")
_ELI5_BEFORE = re.compile(r"^[\s\[(]*eli\s?5\b[\])]*[\s:;,.\-\u2013\u2014]*", re.IGNORECASE)
_ELI5_BEHIND = re.compile(r"(?<![\s(\[])[\s(\[]+eli\s?5[\])]?[?.!]?\s*$", re.IGNORECASE)
_BLOCKS = {"p", "div", "blockquote", "ul", "ol", "table", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "dl", "pre"}
_LINES, _CELLS, _HIDDEN = {"li", "dt", "dd"}, {"td", "th"}, {"script", "style"}
_ANY_TAG = re.compile(r"<[^<>]*>")
CHUNK = 1 << 13  # characters read before what `_Lines` raises is heard of
MAX_DEPTH = 1000  # of tags in tags; with n of them open, libxml2 looks through all n for each end tag that fits none


def one_space(text: str) -> str:
    """The text with every run of white space as one space.

    >>> one_space(" Can we\\tmake  this quick? ")
    'Can we make this quick?'
    """
    return " ".join(text.split())


def without_layout_tags(text: str) -> str:
    """The text without the tags by which people who type plain text mark words; others may be speech and stay.

    >>> without_layout_tags("<sighs> That's <u>all</u>?")
    "<sighs> That's all?"
    """
    return _LAYOUT_TAG.sub("", text)


def unescape(text: str) -> str:
    """The text with its HTML entities as characters.

    >>> unescape("Tom &amp; Jerry &#39;95")
    "Tom & Jerry '95"
    """
    return html.unescape(_without_long_numbers(text)) if "&" in text else text


def _without_long_numbers(text: str) -> str:
    """Python refuses to read one of more than 4,300 digits."""
    return _LONG_NUMBER.sub("\ufffd", text)


def script_text(text: str) -> str:
    """A film line without the tags of the script's layout.

    >>> script_text("That's <u>all</u>   you've got?")
    "That's all you've got?"
    """
    return one_space(without_layout_tags(unescape(text)))


def tidy_lines(text: str) -> str:
    """The text without space at line ends and with at most one empty line in a row."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def reddit_text(text: str) -> str:
    """A Reddit post without entities, link targets and the data set's URL placeholders.

    >>> reddit_text("See [this atom](_URL_1_) &amp; that _URL_0_ .")
    'See this atom & that.'
    """
    # Behind the last bracket no link ends: there each beginning of one would be followed to the end of the text.
    head, bracket, tail = unescape(unescape(text)).rpartition(")")
    text = _EMPTY_BRACKETS.sub("", _URL.sub("", _LINK.sub(r"\1", head + bracket) + tail))
    return tidy_lines(re.sub(r" ([.,;:!?])(?=\s|$)", r"\1", re.sub(r"[ \t]+", " ", text)))


def without_eli5(question: str) -> str:
    """The question without "ELI5:" before or "ELI5" after it, its first letter large.

    >>> without_eli5("ELI5: how do magnets work?"), without_eli5("How is union rugby different? ELI5")
    ('How do magnets work?', 'How is union rugby different?')
    """
    text = _ELI5_BEHIND.sub("", _ELI5_BEFORE.sub("", question)).strip()
    return text[:1].upper() + text[1:]


def html_text(markup: str) -> str:
    """An HTML fragment as plain text: paragraphs apart, list items marked, code blocks kept as they stand.

    However ill-formed it is, it is read as browsers do. Empty when it holds a marked section (`<![x[ ... ]]>`), which
    no page may have and whose words would be lost.

    >>> html_text("<p>Use <code>fit</code>:</p><pre><code>a = 1\\n  b</code></pre><ol><li><p>First.</p></li></ol>")
    'Use fit:\\n\\na = 1\\n  b\\n\\n1. First.'
    """
    from lxml import etree

    if "<![" in markup or not markup.strip():
        return ""
    markup = markup.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # no half characters
    whole = _without_long_numbers(markup)
    parser = etree.HTMLParser(target=_Lines(), huge_tree=True)
    try:
        for start in range(0, len(whole), CHUNK):
            parser.feed(whole[start : start + CHUNK])
        return tidy_lines(parser.close())
    except _TooDeepError:
        return tidy_lines(unescape(_ANY_TAG.sub(" ", markup)))


class _TooDeepError(Exception):
    """Tags in tags, deeper than any page is meant to be."""


class _Lines:
    """Plain text of what libxml2 reads; it calls `start`, `data`, `end`, and at the end `close`."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.depth = 0
        self.breaks = 0  # line breaks due before the next text
        self.space = False  # is one due before the next text
        self.mark = ""  # of the list item that has no text yet
        self.numbers: list[Iterator[int] | None] = []  # of the lists we are in; None: not numbered
        self.code: list[str] = []  # text of the `pre` we are in
        self.inside = dict.fromkeys(("pre", *_HIDDEN), 0)  # how many of them we are in

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Open an element."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooDeepError
        if tag in self.inside:
            self.inside[tag] += 1
        self._part(tag)
        if tag in ("ol", "ul"):
            self.numbers.append(count(_first_number(attributes)) if tag == "ol" else None)
        elif tag == "li":
            numbers = self.numbers[-1] if self.numbers else None
            self.mark = "- " if numbers is None else f"{next(numbers)}. "
        elif tag == "br" and self.inside["pre"]:
            self.code.append("\n")
        elif tag == "br":
            self.breaks = min(2, self.breaks + 1)

    def end(self, tag: str) -> None:
        """Close an element; also one that the page left open."""
        self.depth -= 1
        if tag in self.inside:
            self.inside[tag] -= 1
        if tag == "pre" and not self.inside["pre"]:
            code = "".join(self.code).strip("\n")
            self.code.clear()
            if code.strip():
                self._write(code)
        elif tag in ("ol", "ul"):
            self.numbers.pop()
        elif tag == "li":
            self.mark = ""
        self._part(tag)

    def data(self, text: str) -> None:
        """Add text; outside code, line breaks and spaces mean no more than one space."""
        if any(self.inside[tag] for tag in _HIDDEN):
            return
        if self.inside["pre"]:
            self.code.append(text)
            return
        self.space |= text[:1].isspace()
        if words := one_space(text):
            self._write(words)
            self.space = text[-1].isspace()

    def close(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    def _part(self, tag: str) -> None:
        """Part what stands before and in or behind an element."""
        self.breaks = max(self.breaks, 2 if tag in _BLOCKS else 1 if tag in _LINES else 0)
        self.space |= tag in _CELLS

    def _write(self, text: str) -> None:
        if self.pieces:
            self.pieces.append("\n" * self.breaks or " " * self.space)
        self.pieces += [self.mark, text]
        self.breaks, self.space, self.mark = 0, False, ""


def _first_number(attributes: Mapping[str, str]) -> int:
    """Of a numbered list."""
    start = attributes.get("start", "")
    return int(start) if re.fullmatch(r"\d{1,6}", start, re.ASCII) else 1
