import math

import pytest

from llm.app.streamed_reply import Alternative, Token
from llm.app.terminal import explain
from llm.failures import printable


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\x08\x08", "\u202egnirts\u202c", "\x00", "\u2066x"]
)
def test_nothing_that_steers_a_terminal_is_left(text):
    left = printable(text)
    assert not any(c < " " or "\x7f" <= c <= "\x9f" or c in "\u202e\u202c\u2066" for c in left)


def test_text_is_left_as_it_is():
    assert printable("naïve ☃\n\tfine 中文") == "naïve ☃\n\tfine 中文"


def test_why_tells_each_token_s_probability_and_what_else_was_likely():
    others = (Alternative(5, " cat", math.log(0.5), False), Alternative(6, "\x1b\n", math.log(0.25), False))
    lines = explain([Token(5, " cat", math.log(0.5), others), Token(9, " dog", math.log(0.01), others)]).splitlines()
    assert lines[0].split() == ['"', 'cat"', "50%", "##########", '"\\n"', "25%"]
    assert lines[1].startswith('" dog"') and " 1% #" in lines[1] and '" cat" 50%' in lines[1]
