"""Markup to plain text."""

import pytest

from llm.sources.plaintext import html_text, reddit_text, script_text, without_eli5


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
