"""The show notes of an episode: which models speak, and the figures to their last digit that counts."""

from llm.app.heard import Heard, Share


def notes(heard: Heard) -> list[str]:
    """Show notes, Markdown."""
    found = [
        f"Pip is `{heard.small.name}`: {heard.small.description}.",
        f"Oak is `{heard.large.name}`: {heard.large.description}.",
        "What Pip and Oak say is what the models replied, likeliest token by token, to the letter; it is shortened at "
        "ends of sentences, and a loop is heard once, up to …, where it begins anew. The ready-made answer to the "
        "question with a trap alone is ours.",
        "True answers come from `data/curated/` (CC BY 4.0) and from the authors of this project.",
    ]
    if heard.judge_doubt:
        found.append(f"No rate of true answers is given: {heard.judge_doubt}.")
    for model in (heard.small, heard.large):
        for what, share in (("true statements", model.literacy), ("corrections of false premises", model.premises)):
            if share is not None:
                found.append(f"`{model.name}` finds {what} likelier in {show(share)}.")
        if model.own_bits is not None:
            found.append(f"`{model.name}` needs {model.own_bits:.2f} bits for each byte of its own answers.")
    return [*found, "The voices are synthetic. Nobody lent theirs."]


def show(share: Share) -> str:
    """A share with its interval and the number of items."""
    interval = "" if share.low is None or share.high is None else f", 95 % interval {share.low:.2f} to {share.high:.2f}"
    return f"{share.value:.2f} (n = {share.n}{interval})"
