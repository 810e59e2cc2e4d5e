"""The two rounds in which the models do not talk: it is measured which of some given texts they find likelier."""

import math
import random

from llm.app.ear import spoken_number, times, times_in_ten
from llm.app.heard import Heard, Pair, Share, Trap
from llm.app.script import Line
from llm.app.telling import OAK, host

SURE_NATS = math.log(10)  # from ten times as likely on, a model is called sure


def game(pair: Pair, heard: Heard, rng: random.Random) -> list[Line]:
    """Two sentences of almost the same words: which one is true, and which one the models find likelier."""
    first = rng.randrange(2)
    texts = [pair.false, pair.true] if first else [pair.true, pair.false]
    literacy = heard.large.literacy
    assert literacy is not None  # else there is no game
    return [
        host("Time for a game, and you play too. I read two sentences. One is true."),
        host(f"One. {texts[0]}"),
        host(f"Two. {texts[1]}"),
        host("Which one? I give you a moment. Say it aloud."),
        host(f"The true one is number {('one', 'two')[first]}.", pair.note),
        host("For this we did not let the models talk. We measured which sentence they find likelier.", *choice(pair)),
        host(*scores(heard, literacy)),
    ]


def choice(pair: Pair) -> list[str]:
    """Sentences on what the two models find likelier."""
    if pair.large_nats < 0:
        oak = f"Oak went for the false one. It found it {times(-pair.large_nats)} the true one."
        return [
            oak,
            "That is sure. And it is wrong." if -pair.large_nats > SURE_NATS else "",
            pip_choice(pair, "Pip, too,", "Pip"),
        ]
    oak = f"Oak went for the true one. It found it {times(pair.large_nats)} the false one."
    return [oak, pip_choice(pair, "Pip", "Pip, too,")]


def pip_choice(pair: Pair, falsely: str, rightly: str) -> str:
    """A sentence on which of the two the smaller model finds likelier."""
    name, which = (falsely, "false") if pair.small_nats < 0 else (rightly, "true")
    return f"{name} picked the {which} one."


def scores(heard: Heard, large: Share) -> list[str]:
    """Sentences on all pairs of the run."""
    found = [
        f"We picked that pair, and one pair proves nothing. In all we measured {spoken_number(large.n)} such pairs.",
        f"Oak picked the true one {times_in_ten(large.value)}.",
        against_coin("Oak", large),
    ]
    if (small := heard.small.literacy) is not None:
        found += [f"Pip, {times_in_ten(small.value)}.", against_coin("Pip", small)]
    return found


def against_coin(name: str, share: Share) -> str:
    """A sentence on whether a model does better than a tossed coin; empty where nothing can be said."""
    if share.low is None:
        return "On so few, that is a hint at most."
    return {
        1: "That is better than tossing a coin.",
        0: "A tossed coin would do as well, as far as we can tell.",
        -1: "A tossed coin would do better.",
    }[share.side]


def trapped(trap: Trap, heard: Heard, rng: random.Random) -> list[Line]:
    """A question that assumes something false, and which ready-made answer the larger model finds likeliest."""
    share = heard.large.premises
    assert share is not None  # else there is no such chapter
    walked = (
        "That answer plays along. It is smooth, and it is nonsense."
        if trap.fell
        else "That answer does not play along. Well done, Oak."
    )
    return [
        host(rng.choice(("Some questions have a mistake built in. Listen closely.", "Now a nasty one. Mind the trap.")),
             trap.question),
        host("Did you catch it?", trap.right, trap.why),
        host(f"We showed Oak {spoken_number(trap.n_answers)} ready-made answers. Some put the question right.",
             "Some play along. This is the one that it found likeliest. Its words are ours, the choice is Oak's."),
        Line(OAK, trap.likeliest),
        host(walked),
        host(*trap_scores(heard, share)),
    ]  # fmt: skip


def trap_scores(heard: Heard, large: Share) -> list[str]:
    """Sentences on all false premises of the run."""
    found = [
        f"Over {spoken_number(large.n)} such questions, Oak preferred the correction {times_in_ten(large.value)}.",
    ]
    if (small := heard.small.premises) is not None:
        same = times_in_ten(small.value) == times_in_ten(large.value)
        found.append("So did Pip." if same else f"Pip, {times_in_ten(small.value)}.")
    found.append("Picking blindly gives five.")
    if large.side < 0:
        found.append("Ask a crooked question, and you may well get a crooked answer.")
    return found
