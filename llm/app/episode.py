"""An episode on a run: which of its questions are told, in which order, and the chapters that they become."""

import random
import re
from collections.abc import Sequence

from llm.app import telling
from llm.app.heard import Asked, Heard, Pair, Trap
from llm.app.known import OPENERS
from llm.app.rounds import game, trapped
from llm.app.script import Chapter, Episode
from llm.app.show_notes import notes

MIN_WORDS, MAX_WORDS = 600, 900  # four to six minutes
SURELY_WRONG = 6  # of the pairs with the greatest likelihood for the false statement, one is told
ABOUT_AI = re.compile(r"\b(AI|chatbots?|language models?|neural networks?|robots?)\b")
MIN_QUESTIONS, MAX_QUESTIONS = 2, 5


def make_episode(heard: Heard, seed: int) -> Episode:
    """The episode: the same for the same run and seed, other turns of phrase for another run."""
    replies = [one.small.text + one.large.text for one in (*heard.talk, *heard.shown, *heard.quiz)]
    rng = random.Random(f"{seed} {' '.join(replies)}")
    opener = choose_opener(heard.shown, rng)
    questions = choose_questions(heard, opener, rng)
    before = [
        Chapter("Cold open", telling.cold_open(opener, heard, rng)),
        Chapter("Meet Pip and Oak", telling.introduction(heard, rng)),
    ]
    after = [
        *pair_chapter(heard, rng),
        *trap_chapter(heard, rng),
        Chapter("What to take home", telling.lesson(heard, opener, rng)),
    ]
    total, middle = sum(chapter.words for chapter in (*before, *after)), list[Chapter]()
    for asked in questions:
        if total >= MIN_WORDS and len(middle) >= MIN_QUESTIONS:
            break
        place = len(middle)
        chapter = Chapter(telling.chapter_title(place), telling.question(asked, heard, place, rng))
        if total + chapter.words <= MAX_WORDS:  # else a shorter one may fit
            total += chapter.words
            middle.append(chapter)
    return Episode(telling.title(rng), [*before, *middle, *after], notes(heard))


def choose_opener(shown: Sequence[Asked], rng: random.Random) -> Asked:
    """The question of the cold open: one that the smaller model runs in circles on, where there is one.

    Raises ValueError where the run has none of them.
    """
    openers = [one for one in shown if one.question in OPENERS]
    if not openers:
        raise ValueError("the run holds no reply to the fixed prompts: run `dvc repro evaluate`")
    return rng.choice([one for one in openers if one.small.loops] or openers)


def choose_questions(heard: Heard, opener: Asked, rng: random.Random) -> list[Asked]:
    """Questions to be told, the best first: what the larger model got wrong in its first word, then by turns."""
    shown = [one for one in heard.shown if one.question not in OPENERS and one is not opener]
    ranked = [sorted(rng.sample(group, len(group)), key=interest) for group in (shown, list(heard.quiz))]
    turns = [one for both in zip(*ranked, strict=False) for one in both]
    rest = [one for group in ranked for one in group if one not in turns]
    return [*turns, *rest][:MAX_QUESTIONS]


def interest(asked: Asked) -> int:
    """The rank of a question: a wrong or right yes or no first, then an admitted doubt, then the others."""
    verdict = telling.verdict(asked, asked.large)
    return {"wrong": 0, "right": 1}.get(verdict, 2 if asked.large.kind == "unsure" else 3)


def pair_chapter(heard: Heard, rng: random.Random) -> list[Chapter]:
    """The game of two sentences, where the run has pairs."""
    if not heard.pairs or heard.large.literacy is None:
        return []
    pair = choose_pair(heard.pairs, rng)
    return [Chapter("Two sentences", game(pair, heard, rng))]


def choose_pair(pairs: Sequence[Pair], rng: random.Random) -> Pair:
    """One of the pairs on which the larger model is most surely wrong."""
    return rng.choice(sorted(pairs, key=lambda pair: pair.large_nats)[:SURELY_WRONG])


def trap_chapter(heard: Heard, rng: random.Random) -> list[Chapter]:
    """The question with a mistake in it, where the run has such."""
    if not heard.traps or heard.large.premises is None:
        return []
    return [Chapter("A question with a trap", trapped(choose_trap(heard.traps, rng), heard, rng))]


def choose_trap(traps: Sequence[Trap], rng: random.Random) -> Trap:
    """One that the larger model walks into and that is about AI, where there are such, explained in few words."""
    fell = [trap for trap in traps if trap.fell] or list(traps)
    about = [trap for trap in fell if ABOUT_AI.search(trap.question)] or fell
    told = sorted(about, key=lambda trap: len(trap.right + trap.why))
    return rng.choice(told[: max(1, len(told) // 2)])
