"""samples.md, what a person reads first: ten prompts answered by all models, their best and worst replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm.evaluation.figure_files import show_number, show_text
from llm.inference.replies import Reply
from llm.judge.overlap import best_f1

LOOP_ROUNDS = 3  # from so many on, only two are shown
LOOP_WORDS = 6  # in all; "no, no, no" is said by people
NOTHING = "*(nothing)*"
UNTRAINED_CHARS = 120  # of what it says: enough to see that it is noise


@dataclass(frozen=True)
class Speaker:
    """A model, or a baseline, and what it replied."""

    name: str
    real_name: str
    greedy: Sequence[Reply]  # to the prompts of the page
    sampled: Sequence[Reply]  # to the same
    decoding: Mapping[str, float]  # temperature and top_p of these


@dataclass(frozen=True)
class Sample:
    """A text of the test set, what really follows it, and what each model made of it, by name."""

    source: str
    text: str
    real: str
    replies: Mapping[str, Reply]


@dataclass(frozen=True)
class Overlap:
    """How many words a model's replies to all test prompts share with the real ones, on average (token F1)."""

    value: float
    low: float | None
    high: float | None
    unrelated: float  # the same replies held to the real replies to other prompts
    n: int


@dataclass(frozen=True)
class Page:
    """Everything that samples.md shows."""

    prompts: Sequence[str]  # the project's own
    models: Sequence[Speaker]
    baselines: Sequence[Speaker]  # that only look a reply up
    untrained: Speaker
    max_reply_bytes: int
    tested: Sequence[Sample]  # prompts of the test set
    overlaps: Mapping[str, Overlap]  # of the replies to these, by name
    own: Sequence[Sample] = ()
    continued: Sequence[Sample] = ()


def fold_loop(text: str) -> tuple[str, int]:
    """The text without the rounds of a loop at its end behind the second, and how many rounds there were; 0 without.

    >>> fold_loop("Well, it is fun, it is fun, it is fun, it is f")
    ('Well, it is fun, it is fun,', 3)
    """
    words = text.split()
    for period in range(1, len(words) // LOOP_ROUNDS + 1):
        end = len(words)
        if end > period and words[end - 1 - period].startswith(words[end - 1]):  # the last word may be cut
            start = end - 1
            while start > period and words[start - 1] == words[start - 1 - period]:
                start -= 1
            start -= period
            # A round may start anywhere: it is shown from the start of a sentence, where it has one.
            start += next((i for i in range(period) if start + i == 0 or words[start + i - 1][-1] in ".!?"), 0)
            cut = words[end - 1] != words[end - 1 - period]
            rounds = (end - cut - start) // period
            if rounds >= LOOP_ROUNDS and rounds * period >= LOOP_WORDS:
                return " ".join(words[: start + 2 * period]), rounds
    return text, 0


def show_reply(reply: Reply) -> str:
    """A reply as it stands in a table: a loop folded, an ellipsis where it was cut.

    >>> show_reply(Reply("It was a dark", False))
    'It was a dark …'
    """
    text, rounds = fold_loop(reply.text)
    again = f" *({rounds} times)*" if rounds else ""
    return f"{show_text(text) or NOTHING}{again}{'' if reply.ended else ' …'}"


def samples_markdown(page: Page) -> str:
    """The page; what the user's own data hold comes first, for that is looked for first."""
    lines = ["# Samples", "", *_introduction(page)]
    for heading, samples in (
        ("Prompts of the test set", page.own),
        ("Documents of the test set, gone on with", page.continued),
    ):
        lines += ["", f"## {heading}"] if samples else []
        for number, sample in enumerate(samples):
            lines += ["", f"### {number + 1}. {sample.source}: {show_text(sample.text)}", *_sample_table(page, sample)]
    lines += ["", "## Prompts of the project, the same in every run"]
    for number, prompt in enumerate(page.prompts):
        lines += ["", f"### {number + 1}. {show_text(prompt)}", *_prompt_table(page, number)]
    lines += ["", "## Best and worst", *_best_and_worst(page)] if page.overlaps else []
    return "\n".join(lines) + "\n"


def _introduction(page: Page) -> list[str]:
    lines = [
        f"{len(page.prompts)} prompts, the same in every run. Each model answers twice: with the likeliest words,",
        "and with words drawn by their probability, in the way that was chosen for it on other prompts (below).",
        f"Nothing is picked by hand. An ellipsis stands where a reply was cut, at {page.max_reply_bytes} bytes;",
        "of a loop there are two rounds, and how many it went.",
        "At the end: [each model's best and worst reply](#best-and-worst) to prompts of the test set.",
        "",
        "| model | what it is | words drawn at | likeliest words end by themselves | drawn ones |",
        "|---|---|---|---|---|",
    ]
    for one in page.models:
        how = f"temperature {one.decoding['temperature']}, top-p {one.decoding['top_p']}"
        ended = (f"{sum(reply.ended for reply in replies)} of {len(replies)}" for replies in (one.greedy, one.sampled))
        lines.append(f"| **{one.name}** | {show_text(one.real_name)} | {how} | {' | '.join(ended)} |")
    lines += ["", "No model, but what a model has to beat, below each table:", ""] if page.baselines else []
    lines += [f"- *{one.name}*: {show_text(one.real_name)}" for one in page.baselines]
    return [*lines, "", *_introduce_untrained(page.untrained)]


def _introduce_untrained(untrained: Speaker) -> list[str]:
    """Once, not at every prompt: it says the same to each."""
    silent, n = sum(not reply.text for reply in untrained.greedy), len(untrained.greedy)
    drawn = Reply(untrained.sampled[0].text[:UNTRAINED_CHARS], False) if untrained.sampled else Reply("", True)
    name = f"*{untrained.name}* ({show_text(untrained.real_name)})"
    return [
        f"{name} is left out below: its likeliest reply is empty {silent} of {n} times,",
        f"and drawn by chance it says: {show_reply(drawn)}",
    ]


def _prompt_table(page: Page, number: int) -> list[str]:
    lines = ["", "| | likeliest words | drawn words |", "|---|---|---|"]
    for one in page.models:
        sampled = show_reply(one.sampled[number]) if one.sampled else ""
        lines.append(f"| **{one.name}** | {show_reply(one.greedy[number])} | {sampled} |")
    return lines + [
        part for one in page.baselines for part in ("", f"> *{one.name}*: {show_reply(one.greedy[number])}")
    ]


def _sample_table(page: Page, sample: Sample) -> list[str]:
    """The real text, the models' replies, and below them the baselines'."""
    lines = ["", "| | likeliest words |", "|---|---|", f"| *the real text* | {show_text(sample.real)} |"]
    lines += [
        f"| **{one.name}** | {show_reply(sample.replies[one.name])} |"
        for one in page.models
        if one.name in sample.replies
    ]
    found = [one.name for one in page.baselines if one.name in sample.replies]
    return lines + [part for name in found for part in ("", f"> *{name}*: {show_reply(sample.replies[name])}")]


def _best_and_worst(page: Page) -> list[str]:
    n = next(iter(page.overlaps.values())).n
    lines = [
        "",
        f"Of {n} prompts of the test set, answered with the likeliest words. The figure is the share of words that",
        "reply and real reply have in common, 0 to 1 (token F1): it sees words, not sense. By chance means: the same",
        "replies held to the real replies to other prompts.",
    ]
    for one in (*page.models, *page.baselines):
        if one.name in page.overlaps:
            lines += [
                "",
                f"### {one.name}",
                "",
                _overlap_line(page.overlaps[one.name]),
                *_extremes(one.name, page.tested),
            ]
    return lines


def _overlap_line(found: Overlap) -> str:
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f" (95 % interval {show_number(found.low, 2)} to {show_number(found.high, 2)})"
    chance = show_number(found.unrelated, 2)
    return f"On average {show_number(found.value, 2)}{interval} over n = {found.n}, by chance {chance}."


def _extremes(name: str, tested: Sequence[Sample]) -> list[str]:
    """The reply that shares most words with the real one beside that with the fewest, the longest of equal ones."""
    rated = [(best_f1(sample.replies[name].text, [sample.real]), sample) for sample in tested]
    best = max(rated, key=lambda one: (one[0], len(one[1].replies[name].text)))
    worst = min(rated, key=lambda one: (one[0], -len(one[1].replies[name].text)))
    rows = {
        "prompt": [show_text(sample.text) for _, sample in (best, worst)],
        "real reply": [show_text(sample.real) for _, sample in (best, worst)],
        f"**{name}**": [show_reply(sample.replies[name]) for _, sample in (best, worst)],
    }
    head = f"| | best: {show_number(best[0], 2)} | worst: {show_number(worst[0], 2)} |"
    return ["", head, "|---|---|---|", *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows.items())]
