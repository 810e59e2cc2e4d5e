"""Markup to plain text."""

import pytest

from llm.sources import plaintext
from llm.sources.plaintext import html_text, reddit_text, script_text, without_eli5
from tests.growth import growth


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("That's <u>all</u> you've   got?", "That's all you've got?"),
        ("He said\t<I>no</I>.", "He said no."),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("<breathing> I <b>am</b> here", "<breathing> I am here"),
        ("  ", ""),
    ],
)
def test_script_lines_lose_layout_and_keep_speech(line, text):
    assert script_text(line) == text


@pytest.mark.parametrize(
    ("post", "text"),
    [
        ("see [this atom](_URL_1_) now", "see this atom now"),
        ("see [this](https://example.org/a?b=1) now", "see this now"),
        ("It is here: _URL_0_", "It is here:"),
        ("a source (_URL_0_). Then", "a source. Then"),
        ("1 &amp;lt; 2 &gt; 0", "1 < 2 > 0"),
        ("one\n\n\n\ntwo  three ", "one\n\ntwo three"),
        ("costs $5 ... or more?", "costs $5 ... or more?"),
    ],
)
def test_reddit_posts_lose_links_entities_and_placeholders(post, text):
    assert reddit_text(post) == text


@pytest.mark.parametrize(
    "question",
    [
        "ELI5: how do magnets work?",
        "[ELI5] How do magnets work?",
        "(ELI5) how do magnets work?",
        "Eli5 - How do magnets work?",
        "ELI5, how do magnets work?",
        "How do magnets work? ELI5",
        "How do magnets work? (ELI5)",
        "ELI 5: How do magnets work?",
    ],
)
def test_eli5_marks_are_removed_from_questions(question):
    assert without_eli5(question) == "How do magnets work?"


@pytest.mark.parametrize("question", ["What is Delhi known for?", "What did Eli 50 years ago?", "Why r/eli5fans?"])
def test_words_that_only_look_like_the_mark_stay(question):
    assert without_eli5(question) == question


def test_html_paragraphs_lists_and_inline_code_become_lines():
    items = "<ul>\n<li>first</li>\n<li>the <b>second</b></li>\n</ul>"
    markup = f"<p>Use\n<code>fit</code> &amp; wait:</p>\n{items}\n<p>Done<br>now</p>"
    assert html_text(markup) == "Use fit & wait:\n\n- first\n- the second\n\nDone\nnow"


def test_code_blocks_are_kept_as_they_stand():
    markup = (
        "<p>Try:</p>\n<pre><code>for i in x:\n    print(i &lt; 2)\n\n    # after an empty line\n</code></pre><p>ok</p>"
    )
    assert html_text(markup) == "Try:\n\nfor i in x:\n    print(i < 2)\n\n    # after an empty line\n\nok"


def test_links_show_their_text_and_pictures_and_scripts_vanish():
    markup = '<p>See <a href="http://x.org/y">the paper</a>.<img src="a.png"><script>alert(1)</script></p>'
    assert html_text(markup) == "See the paper."


def test_formulas_between_dollars_stay():
    assert html_text("<p>As $x_1 &lt; x_2$ holds</p>") == "As $x_1 < x_2$ holds"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<ul><li><p>First.</p></li>\n<li><p>Second.</p></li></ul>", "- First.\n\n- Second."),
        ("<ol><li>one</li>\n<li>two</li></ol>", "1. one\n2. two"),
        ('<ol start="7"><li><p>a</p>\n<p>more</p></li>\n<li>b</li></ol>', "7. a\n\nmore\n\n8. b"),
        ('<ol start="x"><li>a<li>b</ol><ul><li>c</ul>', "1. a\n2. b\n\n- c"),
        ("<ul><li>a<ol><li>b</li></ol></li><li></li><li>c</li></ul>", "- a\n\n1. b\n\n- c"),
        ("<li><pre><code>pip install x\n</code></pre></li>", "- pip install x"),
    ],
)
def test_list_items_keep_their_marks_in_the_line_of_their_text(markup, text):
    assert html_text(markup) == text


@pytest.mark.parametrize(("name", "first"), [("loose.html", "- "), ("loose_numbered.html", "1. ")])
def test_a_reported_loose_list_keeps_its_marks(real_data, name, first):
    text = html_text((real_data / "reports" / "04-loose-list" / name).read_text(encoding="utf-8"))
    assert f"{first}First." in text and not {"-", "1.", "2."} & {line.strip() for line in text.split("\n")}


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<!-- never closed", "a"),
        ("a <b>b</i> c", "a b c"),
        ("a < b &unknown; c & d", "a < b &unknown; c & d"),
        ("a\x00b \ud83d c", "a\ufffdb \ufffd c"),
        ("&#" + "1" * 5000 + "; &#65;", "\ufffd A"),
        ("<pre>never\n  closed", "never\n  closed"),
        ("<td>a</td><td>b</td>", "a b"),
        ("</", "</"),
        ("", ""),
        ("<div>" * 100_000 + "deep &amp; <b>down</b>" + "</div>" * 100_000, "deep & down"),
    ],
    ids=lambda text: text[:20],
)
def test_ill_formed_markup_has_a_text(markup, text):
    assert " ".join(html_text(markup).split()) == " ".join(text.split())


@pytest.mark.parametrize("markup", ["<p>see <![foo[ x ]]> y</p>", "<![CDATA[ x ]]>", "a <!["])
def test_a_marked_section_leaves_no_text_rather_than_part_of_it(markup):
    assert html_text(markup) == ""


def test_where_markup_is_cut_to_be_read_does_not_matter(monkeypatch):
    markup = "<ul><li>a &amp; b</li></ul><!-- c --><pre>d\r\n  é😀</pre><a href='x>y'>f</a> &notit; i"
    whole = html_text(markup)
    for size in range(1, 8):
        monkeypatch.setattr(plaintext, "CHUNK", size)
        assert html_text(markup) == whole


def test_what_stands_in_a_code_span_is_no_markup():
    markup = "<p>Use <code>List&lt;i&gt;</code> or <code>soup.find(&quot;&lt;a href=1&gt;&quot;)</code></p>"
    assert html_text(markup) == 'Use List<i> or soup.find("<a href=1>")'


@pytest.mark.parametrize("read", [script_text, reddit_text, html_text])
def test_a_number_of_no_character_is_no_error(read):  # Python reads no number of more than 4,300 digits
    assert read("a&#" + "1" * 5000 + ";") == "a\ufffd"


GROWING = {
    "unclosed paragraphs": (html_text, lambda n: "<p>" * n),
    "paragraphs": (html_text, lambda n: "<p>a</p>" * n),
    "list items": (html_text, lambda n: "<ul>" + "<li>a</li>" * n),
    "nested": (html_text, lambda n: "<div>" * n + "a" + "</div>" * n),
    "ends that fit nothing": (html_text, lambda n: "<i>" * n + "</b>" * n),
    "unclosed links": (reddit_text, lambda n: "[a](http://x" * n),
    "spaces": (reddit_text, lambda n: " " * n + "a"),
    "digits of a post": (reddit_text, lambda n: "&#" + "1" * n),
    "brackets": (without_eli5, lambda n: "a" + "(" * n),
    "unclosed tags": (script_text, lambda n: "<u " * n),
}


@pytest.mark.parametrize(("function", "make"), GROWING.values(), ids=GROWING)
def test_the_time_grows_as_the_text_does(function, make):
    assert growth(function, make) <= 8
