"""How an episode is told: the host's words, which depend on what happened, between the models' own."""

import random

from llm.app.ear import spoken_size, two_digits
from llm.app.heard import Asked, Heard
from llm.app.quote import Quote
from llm.app.script import Line

HOST, PIP, OAK = "Host", "Pip", "Oak"
LARGER = 2.0  # so many times the weights make a model larger for the ear
TOYS = 1e9  # with fewer weights in both, the host says that those on a phone are far larger

STUCK = "The same thing again. Always taking the likeliest next word can do that."
NO_MARKS = "I give no marks for these. Hold each reply against the answer, and you be the judge."
TITLES = ("Sure Is Not the Same as Right", "It Talks. Does It Know?", "Two Programs and a Straight Face")


def title(rng: random.Random) -> str:
    """What the episode is called."""
    return rng.choice(TITLES)


def host(*sentences: str) -> Line:
    """The host says these sentences."""
    return Line(HOST, " ".join(sentence for sentence in sentences if sentence))


def says(speaker: str, reply: Quote, heard: Heard, after: str = "") -> list[Line]:
    """A model says what it replied, and the host what there is to say of how it goes on.

    Where the data are the user's own, a reply may hold them: the host tells what kind it was instead.
    """
    if reply.kind == "silent":
        return [host(f"{speaker} said nothing. Not a word.")]
    if heard.private:
        kind = "went round in circles" if reply.loops else "gave an answer"
        return [host(f"{speaker} {kind}. I do not read it out: this run learned from somebody's own texts.")]
    return [Line(speaker, reply.text), *([host(after)] if after else [])]


def going_on(reply: Quote, rng: random.Random) -> str:
    """What the host says after a reply that loops."""
    if not reply.loops:
        return ""
    return rng.choice(
        (
            "And so on, round and round. I stop it here.",
            "It goes on like that, the same again and again. Once is enough.",
            "Then it starts over. And over. You have heard all of it.",
        )
    )


def verdict(asked: Asked, reply: Quote) -> str:
    """`right` or `wrong` by the first word, yes or no; empty where that does not tell."""
    if not asked.starts or reply.kind not in ("yes", "no"):
        return ""
    return "right" if reply.kind == asked.starts else "wrong"


def cold_open(asked: Asked, heard: Heard, rng: random.Random) -> list[Line]:
    """The first half minute: one question, two answers."""
    first = rng.choice(
        (
            f"{asked.question} Here is what a small computer program told us, word for word.",
            f"{asked.question} We put that to a small computer program, and it did not hesitate.",
        )
    )
    between = "And here is a second program. Same question." if not asked.small.loops else rng.choice(
        (
            "It went on like that, round and round. Now a second program. Same question.",
            "There was more, and it was more of the same. Now a second program. Same question.",
        )
    )  # fmt: skip
    doubts = {asked.small.kind, asked.large.kind} & {"silent", "unsure"}
    if doubts:
        last = "How would you know what to make of that? This is what this episode is about."
    elif asked.small.loops:
        last = "The first one is easy to see through. The second is not. How would you know whether to trust it?"
    else:
        last = rng.choice((
            "Two answers, one tone of voice. How would you know which one to trust? That is our question today.",
            "Both sound sure of themselves. Sounding sure is easy. Today we find out what it is worth.",
        ))  # fmt: skip
    return [
        host(first),
        *says(PIP, asked.small, heard),
        host(between),
        *says(OAK, asked.large, heard),
        host(last),
    ]


def introduction(heard: Heard, rng: random.Random) -> list[Line]:
    """Who the two are, and that both can chat."""
    lines = [host(*sizes(heard)), host(*upbringing(heard)), *([host(*toys())] if are_toys(heard) else [])]
    if heard.talk:
        talk = rng.choice(heard.talk)
        lines += [
            host("Neither of them looks anything up. They guess the next bit of text, and the next.",
                 f"First, some small talk. I say: {talk.question}"),
            *says(PIP, talk.small, heard, STUCK if talk.small.loops else ""),
            *says(OAK, talk.large, heard, STUCK if talk.large.loops and not talk.small.loops else ""),
            host(rng.choice((
                "That is chat. Nobody can be wrong about a greeting. So now we ask for facts.",
                "In small talk nothing has to be true. It only has to sound like talk. So let us raise the stakes.",
            ))),
        ]  # fmt: skip
    return lines


def are_toys(heard: Heard) -> bool:
    """Whether both models are far smaller than what people have on their phones."""
    return all(model.parameters and model.parameters < TOYS for model in (heard.small, heard.large))


def toys() -> list[str]:
    """Sentences on what carries over from small models to those that people use."""
    return [
        "Both are toys. The chatbots that most people use are many hundred times larger, and make few of the blunders "
        "that you will hear.",
        "What carries over is how they are made: they guess how a text goes on. That is why we, who built Pip on an "
        "ordinary computer, find toys worth a visit.",
    ]


def sizes(heard: Heard) -> list[str]:
    """Sentences on the two models' numbers of weights, as far as the run states them."""
    small, large = heard.small.parameters, heard.large.parameters
    if not small or not large:
        return ["I call them Pip and Oak. Each is a program that writes text."]
    pip = "The first program I call Pip, like the seed of an apple."
    found = [pip, f"It is made of about {spoken_size(small)} numbers, its weights."]
    second = f"The second one I call Oak. It has about {spoken_size(large)}."
    if large >= LARGER * small:
        return [*found, second, f"That is {two_digits(large / small)} times as many."]
    return [*found, second]


def upbringing(heard: Heard) -> list[str]:
    """Sentences on what the two have learned from."""
    pip = "Pip started from nothing. It has read only the texts of this one project."
    if not heard.finetuned:
        return [pip, "Oak was raised elsewhere, on far more text, and is here just as it came."]
    return [pip, "Oak was raised elsewhere, and then had some lessons from the same texts as Pip."]


def chapter_title(place: int) -> str:
    """What the chapter of a question is called."""
    return ("A plain question", "A second question", "A third one", "One more", "A last question")[place]


def question(asked: Asked, heard: Heard, place: int, rng: random.Random) -> list[Line]:
    """A question, what the models reply, and what is right."""
    leads = (("Here is the first one.", "Let us start with this."), ("Next.", "Now this one."))[place > 0]
    return [
        host(rng.choice(leads), asked.question, "Pip first." if place == 0 else ""),
        *says(PIP, asked.small, heard, comment(asked, asked.small, place, rng)),
        host("And Oak?" if place == 0 else rng.choice(("Oak's turn.", "And what says Oak?"))),
        *says(OAK, asked.large, heard, comment(asked, asked.large, place, rng)),
        host(rng.choice(("So, what is right?", "Here is what holds.", "Now the answer.")), asked.right, asked.why),
        *([host(weighed(asked) or NO_MARKS)] if weighed(asked) or place == 0 else []),
    ]


def comment(asked: Asked, reply: Quote, place: int, rng: random.Random) -> str:
    """What the host says on a reply before the answer is told; of loops once."""
    if verdict(asked, reply):
        return rng.choice((
            f"A clear {reply.kind}. Keep it in mind.",
            f"It begins with {reply.kind}, without a moment's doubt.",
        ))  # fmt: skip
    if reply.kind == "unsure":
        return "Not sure. I wish every shaky answer began like that."
    return going_on(reply, rng) if place == 0 else ""


def weighed(asked: Asked) -> str:
    """What the host says on the larger model's reply once the answer is told."""
    kind, found = asked.large.kind, verdict(asked, asked.large)
    if found == "wrong":
        return f"So {OAK}'s {kind} was wrong, and nothing in the tone of it would have told you."
    if found == "right":
        return f"So {OAK}'s {kind} was right. Whether the rest of it is, hold it against what I said."
    if kind == "unsure":
        return (
            f"And do not take {OAK}'s doubt for modesty. It has read that people say so. It cannot tell when it should."
        )
    return ""


def lesson(heard: Heard, opener: Asked, rng: random.Random) -> list[Line]:
    """What there is to learn from it, and goodbye."""
    return [
        host(*summed_up(heard)),
        host("And when it sounds sure? Then texts usually go on like that. It does not mean that anybody checked."),
        host(rng.choice((
            "So, three habits. Ask where a claim comes from. Ask again in other words, and see whether the answer "
            "stays. And ask what is wrong with your own question.",
            "Three things you can do. Look for a source that stands behind the claim. Ask twice, in different words, "
            "and watch for two answers. And before you ask, check what your question takes for granted.",
        ))),
        host(goodbye(opener, rng)),
    ]  # fmt: skip


def summed_up(heard: Heard) -> list[str]:
    """Sentences on what the two models have learned, as far as the pairs tell."""
    small, large = heard.small.literacy, heard.large.literacy
    found = []
    if small is not None:
        found.append(
            "Pip learned what talk sounds like. What is true, it did not learn from that."
            if small.side <= 0
            else "Pip learned what talk sounds like, and a little of what is true."
        )
    if large is not None:
        found.append(
            "Oak knows more, and some of what it is sure of is wrong."
            if large.side > 0
            else "Oak talks better than it knows, too."
        )
    return [*found, "Fluent is not the same as true."]


def goodbye(opener: Asked, rng: random.Random) -> str:
    """The last words."""
    thanks = rng.choice(("Thanks to Pip and Oak, who were good sports.", "Thank you, Pip. Thank you, Oak."))
    fact = (
        "And the sky? Air scatters blue light more than red."
        if "sky" in opener.question
        else "And the vaccines? They show the body a weakened germ, or a piece of one, so that it knows the real one."
    )
    return f"{thanks} {fact} Hold that against what you heard at the start. But do not take my word for it. Check."
