"""What a terminal shows of what a model wrote: nothing that moves its cursor or colours its text."""

import math
from collections.abc import Sequence

from llm.app.streamed_reply import Token
from llm.failures import printable

SHOWN = 5  # alternatives of a token
BAR = 20  # characters of a bar for 100 %


def quoted(text: str) -> str:
    r"""A token's text on one line.  quoted(" the\n") == '" the\\n"'"""
    return '"' + printable(text).replace("\n", "\\n").replace("\t", "\\t") + '"'


def explain(tokens: Sequence[Token]) -> str:
    """For each token how probable it was, and what was likelier or nearly so."""
    return "\n".join(_explain(token) for token in tokens)


def _explain(token: Token) -> str:
    p = math.exp(token.logprob)
    others = [
        f"{quoted(one.text)} {math.exp(one.logprob):.0%}" for one in token.alternatives if one.token != token.token
    ]
    bar = "#" * max(1, round(p * BAR))
    return f"{quoted(_own_text(token)):<18} {p:>4.0%} {bar:<{BAR}}  {'  '.join(others[:SHOWN])}"


def _own_text(token: Token) -> str:
    """The token's own text: what was shown with it may begin with another's bytes, or be held back."""
    return next((one.text for one in token.alternatives if one.token == token.token), token.text)
