"""What texts have in common, and which trained dialogues would give a held-out text away.

An exchange is a turn (the prompt) and the turn after it (the reply). A trained exchange leaks when its reply shares a
span of 13 words with a held-out text (GPT-3, Brown et al. 2020, appendix C), or when its prompt, of 8 words or more, is
nearly a held-out text. GPT-3 forgives spans that many documents share; here nothing is forgiven: `find_links` lets the
split keep together what shares a text, so that little is left to remove.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.dedup import Ints, Words, shared_ngrams, similar_forms, text_forms

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LeakRules:
    """When two texts count as sharing."""

    span: int  # words in a row
    near_ngram: int  # words of the n-grams whose sets are compared
    near: float  # Jaccard similarity of those sets
    min_words: int  # shorter texts are near to nothing


@dataclass(frozen=True)
class Overlaps:
    """Which of T texts share words."""

    form: Ints  # (T,) texts of the same words have the same number
    is_long: Mask  # (T,) whether a text has enough words to be near another
    has_span: Mask  # (T,) whether a text has as many words as a span
    near: Ints  # (P, 2) pairs of forms that are similar, not equal
    span: Ints  # (S,) number of a span that stands in two or more texts
    span_text: Ints  # (S,) a text it stands in


@dataclass(frozen=True)
class Exchanges:
    """The E exchanges of D dialogues, whose M turns are the first texts; held-out questions may follow."""

    prompt: Ints  # (E,) number of the text; the reply is the text after it
    dialogue: Ints  # (E,) the exchange's dialogue
    owner: Ints  # (M,) every turn's dialogue


def list_exchanges(n_turns: Ints) -> Exchanges:
    """All exchanges of dialogues of so many turns, in order."""
    owner = np.repeat(np.arange(len(n_turns)), n_turns)
    prompt = np.flatnonzero(owner[:-1] == owner[1:])
    return Exchanges(prompt, owner[prompt], owner)


def find_overlaps(words: Words, rules: LeakRules) -> Overlaps:
    """Everything the texts have in common, found once."""
    form = text_forms(words)
    is_long = words.counts >= rules.min_words
    near = similar_forms(words, form, rules.near_ngram, rules.near, rules.min_words)
    spans = shared_ngrams(words, rules.span)
    return Overlaps(form, is_long, words.counts >= rules.span, near, spans.gram, spans.text)


def near_texts(overlaps: Overlaps, to: Mask) -> Mask:
    """(T,) whether a text of enough words is one of the masked texts, word by word or nearly."""
    there = np.zeros(overlaps.form.max(initial=-1) + 1, dtype=bool)
    there[overlaps.form[to]] = True
    near = there.copy()
    a, b = overlaps.near.T
    near[a[there[b]]] = True
    near[b[there[a]]] = True
    return near[overlaps.form] & overlaps.is_long


def spanning_texts(overlaps: Overlaps, to: Mask) -> Mask:
    """(T,) whether a text has a span in common with a masked text; with itself too, if it is masked and long enough."""
    known = np.zeros(overlaps.span.max(initial=-1) + 1, dtype=bool)
    known[overlaps.span[to[overlaps.span_text]]] = True
    spanning = to & overlaps.has_span
    spanning[overlaps.span_text[known[overlaps.span]]] = True
    return spanning


def mark(n: int, numbers: Ints) -> Mask:
    """(n,) True at these numbers."""
    mask = np.zeros(n, dtype=bool)
    mask[numbers] = True
    return mask


def find_leaks(overlaps: Overlaps, prompt: Ints, held: Mask) -> dict[str, Mask]:
    """Which of the exchanges that begin at the texts `prompt` give a held-out text away, by rule; (E,) each."""
    return {
        "leak_ngram": spanning_texts(overlaps, held)[prompt + 1],
        "leak_prompt": near_texts(overlaps, held)[prompt],
    }


def given_away(overlaps: Overlaps, prompt: Ints) -> Mask:
    """(T,) which texts, were they held out, these exchanges would give away: `find_leaks` seen from the other side."""
    n = len(overlaps.form)
    return spanning_texts(overlaps, mark(n, prompt + 1)) | near_texts(overlaps, mark(n, prompt))


def _chain(keys: Ints, dialogues: Ints) -> Ints:
    """Pairs that tie all dialogues of one key, (K, 2): each with the next, since all with all would be quadratic."""
    order = np.lexsort((dialogues, keys))
    keys, dialogues = keys[order], dialogues[order]
    return np.stack([dialogues[:-1], dialogues[1:]], axis=1)[keys[:-1] == keys[1:]]


def find_links(overlaps: Overlaps, exchanges: Exchanges) -> Ints:
    """(L, 2) pairs of dialogues of which one would leak if the other were held out; enough pairs to tie all that do."""
    n, n_forms = len(overlaps.form), overlaps.form.max(initial=-1) + 1
    owner = np.full(n, -1)
    owner[: len(exchanges.owner)] = exchanges.owner
    ours = owner >= 0
    reply = mark(n, exchanges.prompt + 1)
    answered = mark(overlaps.span.max(initial=-1) + 1, overlaps.span[reply[overlaps.span_text]])
    use = ours[overlaps.span_text] & answered[overlaps.span]
    by_span = _chain(overlaps.span[use], owner[overlaps.span_text[use]])
    is_prompt = mark(n_forms, overlaps.form[exchanges.prompt])
    near_prompts = overlaps.near[is_prompt[overlaps.near].any(axis=1)]
    use = ours & overlaps.is_long & (is_prompt | mark(n_forms, near_prompts.ravel()))[overlaps.form]
    by_form = _chain(overlaps.form[use], owner[use])  # all holders of a form, so that one stands for them below
    holder = np.full(n_forms, -1)
    holder[overlaps.form[ours]] = owner[ours]
    by_near = holder[near_prompts]
    links = np.concatenate([by_span, by_form, by_near[(by_near >= 0).all(axis=1)]])
    return links[links[:, 0] != links[:, 1]]
