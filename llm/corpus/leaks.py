"""What texts have in common, and which trained dialogues would give a held-out text away.

Held out are the turns of validation and test dialogues, prompts as well as replies, and the questions of the question
sets with their answers. A trained dialogue leaks when any text that it teaches shares a span of 13 words with a
held-out text (GPT-3, Brown et al. 2020, appendix C). That may be a turn, the system turn or a document: the GPT learns
them all. It leaks too when one of its prompts, or a document, has 8 words or more and is nearly a held-out text. System
turns are not held out: they are not scored, and one may stand before every dialogue of a source. GPT-3 forgives spans
that many documents share. Here nothing is forgiven: `find_links` lets the split keep together what shares a text, so
that little is left to remove.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.dedup import Ints, Numbers, SharedNgrams, Words, shared_ngrams, text_forms
from llm.corpus.near import near_any, similar_pairs
from llm.dialogue import Dialogue

Mask = NDArray[np.bool_]
SYSTEM, OPENING, REPLY, DOCUMENT = range(4)  # what a text is in its dialogue
SPAN_RULES = {  # by what the trained text is that shares a span
    "leak_ngram": REPLY,
    "leak_ngram_prompt": OPENING,
    "leak_ngram_system": SYSTEM,
    "leak_ngram_document": DOCUMENT,
}
LEAK_RULES = (*SPAN_RULES, "leak_prompt")  # the last: nearly a held-out text


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
    long_form: Ints  # (L,) forms of so many words
    ngrams: SharedNgrams  # of the L long forms
    near: Ints  # (P, 2) pairs of forms that are similar, not equal
    near_from: float  # the similarity that is near
    span: Numbers  # (S,) number of a span that stands in two or more texts
    span_text: Numbers  # (S,) a text it stands in


@dataclass(frozen=True)
class Exchanges:
    """The E exchanges of D dialogues, whose M texts are the first ones; held-out questions may follow.

    An exchange is a turn with the turn before it. A document is one too, its text being prompt and reply.
    """

    prompt: Ints  # (E,) number of the text
    reply: Ints  # (E,)
    dialogue: Ints  # (E,) the exchange's dialogue
    owner: Ints  # (M,) every text's dialogue
    role: NDArray[np.int8]  # (M,) SYSTEM, OPENING (the first turn), REPLY (any later turn) or DOCUMENT


def learned_texts(dialogue: Dialogue) -> tuple[str, ...]:
    """All that the dialogue teaches: its system turn, if it has one, and its turns."""
    return dialogue.turns if dialogue.system is None else (dialogue.system, *dialogue.turns)


def list_exchanges(dialogues: Iterable[Dialogue]) -> Exchanges:
    """All exchanges of the dialogues, in order; their texts are numbered as `learned_texts` gives them."""
    roles, counts = array("b"), array("q")
    for dialogue in dialogues:
        system = dialogue.system is not None
        counts.append(system + len(dialogue.turns))
        roles.extend([SYSTEM] * system)
        first = DOCUMENT if dialogue.kind == "document" else OPENING
        roles.extend([first] + [REPLY] * (len(dialogue.turns) - 1))
    role = np.array(roles, dtype=np.int8)
    owner = np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))
    reply = np.flatnonzero((role == REPLY) | (role == DOCUMENT))
    prompt = reply - (role[reply] == REPLY)
    return Exchanges(prompt, reply, owner[reply], owner, role)


def find_overlaps(words: Words, rules: LeakRules) -> Overlaps:
    """Everything the texts have in common, found once."""
    form = text_forms(words)
    is_long = words.counts >= rules.min_words
    forms, first = np.unique(form, return_index=True)
    long_form, first = forms[is_long[first]], first[is_long[first]]
    ngrams = shared_ngrams(words, rules.near_ngram, first)
    near = long_form[similar_pairs(ngrams, rules.near)]
    spans = shared_ngrams(words, rules.span)
    has_span = words.counts >= rules.span
    return Overlaps(form, is_long, has_span, long_form, ngrams, near, rules.near, spans.gram, spans.text)


def near_texts(overlaps: Overlaps, texts: Mask, to: Mask) -> Mask:
    """(T,) which of the masked texts, if they have enough words, are one of the texts `to`, word by word or nearly."""
    n_forms = overlaps.form.max(initial=-1) + 1
    there = mark(n_forms, overlaps.form[to])
    near = there.copy()
    a, b = overlaps.near.T
    near[a[there[b]]] = True
    near[b[there[a]]] = True
    # The pairs leave out what shares common n-grams alone; the held-out texts are fewer, so the same n-grams are rarer.
    left = np.flatnonzero((mark(n_forms, overlaps.form[texts]) & ~near)[overlaps.long_form])
    found = near_any(overlaps.ngrams, left, np.flatnonzero(there[overlaps.long_form]), overlaps.near_from)
    near[overlaps.long_form[left[found]]] = True
    return near[overlaps.form] & overlaps.is_long & texts


def spanning_texts(overlaps: Overlaps, to: Mask) -> Mask:
    """(T,) whether a text has a span in common with a masked text; with itself too, if it is masked and long enough."""
    known = np.zeros(overlaps.span.max(initial=-1) + 1, dtype=bool)
    known[overlaps.span[to[overlaps.span_text]]] = True
    spanning = to & overlaps.has_span
    spanning[overlaps.span_text[known[overlaps.span]]] = True
    return spanning


def mark(n: int, numbers: Ints | Numbers) -> Mask:
    """(n,) True at these numbers."""
    mask = np.zeros(n, dtype=bool)
    mask[numbers] = True
    return mask


def find_leaks(overlaps: Overlaps, exchanges: Exchanges, held: Mask) -> dict[str, Mask]:
    """Which of the M texts give one of the held-out texts away, by rule; (M,) each."""
    n = len(exchanges.owner)
    spanning = spanning_texts(overlaps, held)[:n]
    found = {rule: spanning & (exchanges.role == role) for rule, role in SPAN_RULES.items()}
    return found | {"leak_prompt": near_texts(overlaps, mark(len(overlaps.form), exchanges.prompt), held)[:n]}


def leaking_exchanges(leaks: dict[str, Mask], exchanges: Exchanges) -> Mask:
    """(E,) whether an exchange's prompt or reply gives a held-out text away."""
    spanning = np.logical_or.reduce([leaks[rule] for rule in SPAN_RULES])
    return spanning[exchanges.prompt] | spanning[exchanges.reply] | leaks["leak_prompt"][exchanges.prompt]


def given_away(overlaps: Overlaps, exchanges: Exchanges, train: Mask) -> Mask:
    """(T,) which texts, were they held out, the masked exchanges would give away: `find_leaks` from the other side."""
    n, prompt = len(overlaps.form), exchanges.prompt[train]
    learned = mark(n, np.concatenate([prompt, exchanges.reply[train]]))
    return spanning_texts(overlaps, learned) | near_texts(overlaps, np.ones(n, dtype=bool), mark(n, prompt))


def _chain(keys: Ints | Numbers, dialogues: Ints) -> Ints:
    """Pairs that tie all dialogues of one key, (K, 2): each with the next, since all with all would be quadratic."""
    order = np.lexsort((dialogues, keys))
    keys, dialogues = keys[order], dialogues[order]
    return np.stack([dialogues[:-1], dialogues[1:]], axis=1)[keys[:-1] == keys[1:]]


def find_links(overlaps: Overlaps, exchanges: Exchanges) -> Ints:
    """(L, 2) pairs of dialogues of which one would leak if the other were held out; enough pairs to tie all that do.

    A span that stands in system turns alone ties nothing, since no system turn is held out.
    """
    n, n_forms = len(overlaps.form), overlaps.form.max(initial=-1) + 1
    owner = np.full(n, -1)
    owner[: len(exchanges.owner)] = exchanges.owner
    ours = owner >= 0
    turn = mark(n, np.flatnonzero(exchanges.role != SYSTEM))
    in_turn = mark(overlaps.span.max(initial=-1) + 1, overlaps.span[turn[overlaps.span_text]])
    use = ours[overlaps.span_text] & in_turn[overlaps.span]
    by_span = _chain(overlaps.span[use], owner[overlaps.span_text[use]])
    is_prompt = mark(n_forms, overlaps.form[exchanges.prompt])
    near_prompts = overlaps.near[is_prompt[overlaps.near].any(axis=1)]
    use = turn & overlaps.is_long & (is_prompt | mark(n_forms, near_prompts.ravel()))[overlaps.form]
    by_form = _chain(overlaps.form[use], owner[use])  # all holders of a form, so that one stands for them below
    holder = np.full(n_forms, -1)
    holder[overlaps.form[turn]] = owner[turn]
    by_near = holder[near_prompts]
    links = np.concatenate([by_span, by_form, by_near[(by_near >= 0).all(axis=1)]])
    return links[links[:, 0] != links[:, 1]]
