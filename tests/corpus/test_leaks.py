from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.corpus.dedup import hash_words
from llm.corpus.leak_check import check_no_leaks, leaking
from llm.corpus.leaks import (
    DOCUMENT,
    LEAK_RULES,
    OPENING,
    REPLY,
    SYSTEM,
    LeakRules,
    find_leaks,
    find_links,
    find_overlaps,
    given_away,
    leaking_exchanges,
    learned_texts,
    list_exchanges,
)
from llm.corpus.split import join_groups
from llm.dialogue import Dialogue

RULES = LeakRules(span=13, near_ngram=2, near=0.6, min_words=8)
SPAN = "one two three four five six seven eight nine ten eleven twelve thirteen"
PROMPT = "why does the moon look larger near the horizon"  # nine words


def dialogues(*turns):
    return [Dialogue(f"d{i}", "eli5", f"g{i}", tuple(each)) for i, each in enumerate(turns)]


def document(text, name="book"):
    return Dialogue(name, "mine", name, (text,), kind="document")


def told(system, *turns):
    return Dialogue("told", "mine", "told", turns, system=system)


def found(train, held_out, rules=RULES):
    """Ids of the train dialogues that leak, by rule, rules that find none left out."""
    texts = [text for dialogue in train for text in learned_texts(dialogue)]
    exchanges = list_exchanges(train)
    overlaps = find_overlaps(hash_words([*texts, *held_out]), rules)
    held = np.arange(len(texts) + len(held_out)) >= len(texts)
    leaks = find_leaks(overlaps, exchanges, held)
    assert tuple(leaks) == LEAK_RULES
    return {rule: {train[i].id for i in exchanges.owner[mask]} for rule, mask in leaks.items() if mask.any()}


def links(train, rules=RULES):
    texts = [text for dialogue in train for text in learned_texts(dialogue)]
    return find_links(find_overlaps(hash_words(texts), rules), list_exchanges(train))


def tied(train):
    """How many units the links leave of the dialogues."""
    return len(set(join_groups([dialogue.group for dialogue in train], links(train), 0.1)))


def test_exchanges_are_each_turn_with_the_next():
    exchanges = list_exchanges(dialogues("ab", "abcd", "ab"))
    assert exchanges.prompt.tolist() == [0, 2, 3, 4, 6]
    assert exchanges.reply.tolist() == [1, 3, 4, 5, 7]
    assert exchanges.dialogue.tolist() == [0, 1, 1, 1, 2]
    assert exchanges.owner.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


def test_system_turns_and_documents_are_texts_too():
    exchanges = list_exchanges([told("Be kind.", "a", "b", "c"), document("d"), *dialogues("ab")])
    assert exchanges.role.tolist() == [SYSTEM, OPENING, REPLY, REPLY, DOCUMENT, OPENING, REPLY]
    assert exchanges.prompt.tolist() == [1, 2, 4, 5]
    assert exchanges.reply.tolist() == [2, 3, 4, 6]
    assert exchanges.owner.tolist() == [0, 0, 0, 0, 1, 2, 2]


@pytest.mark.parametrize(("reply", "leaks"), [(f"Well: {SPAN.upper()}!", True), (SPAN.replace("ten", "10"), False)])
def test_a_reply_leaks_when_it_shares_thirteen_words_in_a_row(reply, leaks):
    assert found(dialogues(("Hi", reply)), [f"so {SPAN} or so"]) == ({"leak_ngram": {"d0"}} if leaks else {})


@pytest.mark.parametrize(
    ("dialogue", "rule"),
    [
        (dialogues((f"{SPAN} and {PROMPT}", "Hm."))[0], "leak_ngram_prompt"),
        (dialogues(("Hi", "Yes?", SPAN))[0], "leak_ngram"),
        (dialogues(("Hi", "Yes?", SPAN, "So?"))[0], "leak_ngram"),
        (told(f"Know that {SPAN}.", "Hi", "Yes?"), "leak_ngram_system"),
        (document(f"Chapter one. {SPAN}!"), "leak_ngram_document"),
    ],
)
def test_a_span_leaks_wherever_it_is_learned(dialogue, rule):
    held_out = [" ".join([SPAN, *(f"other{i}" for i in range(27))])]
    assert found([dialogue], held_out) == {rule: {dialogue.id}}
    assert len(leaking([dialogue], held_out, RULES)) == 1


def test_forty_words_of_a_reply_in_a_long_question_leak():
    reply = " ".join(f"word{i}" for i in range(60))
    question = f"Why do they say that {' '.join(reply.split()[10:50])} when nobody knows it?"
    assert found(dialogues((question, "No idea.")), [reply]) == {"leak_ngram_prompt": {"d0"}}


def test_a_span_without_spaces_leaks():
    text = "".join(chr(0x4E00 + i) for i in range(40))
    held_out = [text[:30]]
    for shared, leaks in ((13, True), (12, False)):
        train = dialogues(("\u3042", "\u3044" + text[:shared] + "\u3046" + text[30:]))
        assert found(train, held_out) == ({"leak_ngram": {"d0"}} if leaks else {})
        assert bool(leaking(train, held_out, RULES)) is leaks


def test_a_document_leaks_when_it_is_nearly_a_held_out_text():
    assert found([document(PROMPT.replace("larger", "bigger"))], [PROMPT]) == {"leak_prompt": {"book"}}


def test_a_system_turn_before_every_dialogue_holds_nothing_out():
    first, second = (told(f"Remember: {SPAN}.", *turns) for turns in ("ab", "cd"))
    assert tied([first, replace(second, id="second", group="second")]) == 2


def test_a_span_of_twelve_words_is_no_leak():
    twelve = SPAN.removesuffix(" thirteen")
    assert found(dialogues(("Hi", f"{twelve} a")), [f"{twelve} b"]) == {}


@pytest.mark.parametrize(
    "prompt",
    [
        PROMPT.upper() + "?!",
        PROMPT.replace("larger", "bigger"),  # bigrams: 6 of 10
        "please tell me, " + PROMPT,  # 8 of 11
        PROMPT.replace("near ", ""),  # 6 of 9
    ],
)
def test_a_prompt_leaks_when_it_is_nearly_a_held_out_text(prompt):
    assert found(dialogues((prompt, "Because.")), [PROMPT]) == {"leak_prompt": {"d0"}}


def test_a_prompt_of_seven_words_is_no_leak():
    assert found(dialogues(("what do you mean by that now", "Well.")), ["What do you mean by that now?"]) == {}


def test_a_last_turn_is_nobodys_prompt():
    assert found(dialogues(("Hi", PROMPT)), [PROMPT]) == {}


def test_a_prompt_near_several_held_out_texts_is_found_by_any_of_them():
    train = dialogues((PROMPT, "a"))
    others = [PROMPT.replace("larger", word) for word in ("bigger", "wider", "huge")]
    texts = [*train[0].turns, *others]
    overlaps = find_overlaps(hash_words(texts), RULES)
    for i in range(2, 5):
        held = np.arange(len(texts)) == i
        leaks = find_leaks(overlaps, list_exchanges(train), held)
        assert leaks["leak_prompt"].tolist() == [True, False]
        assert leaking_exchanges(leaks, list_exchanges(train)).tolist() == [True]


def test_what_is_given_away_is_what_leaks_seen_from_the_other_side():
    train = dialogues(("Hi", SPAN), (PROMPT, "Hm."))
    texts = [*(turn for d in train for turn in d.turns), f"so {SPAN}", PROMPT + " then", "What?"]
    exchanges = list_exchanges(train)
    given = given_away(find_overlaps(hash_words(texts), RULES), exchanges, np.ones(2, dtype=bool))
    assert given[4:].tolist() == [True, True, False]


def test_dialogues_that_share_a_text_are_linked():
    assert tied(dialogues(("a", SPAN), ("b", f"so {SPAN}"))) == 1
    assert tied(dialogues((PROMPT, "a"), (PROMPT.replace("larger", "bigger"), "b"))) == 1
    assert tied(dialogues((PROMPT, "a"), (PROMPT, "b"), ("c", PROMPT))) == 1


def test_every_reply_that_a_prompt_is_near_to_is_linked_to_it():
    assert tied(dialogues(("a", PROMPT), ("b", PROMPT), (PROMPT.replace("larger", "bigger"), "c"))) == 1


def test_dialogues_that_share_only_short_texts_are_not_linked():
    assert tied(dialogues(("What?", "Nothing."), ("What?", "Nothing at all."))) == 2


def test_openings_that_share_a_long_phrase_are_linked():
    assert tied(dialogues((f"{SPAN} red green blue " + "x y z " * 5, "a"), (f"{SPAN} what is that", "b"))) == 1


def test_a_system_turn_is_linked_to_the_turn_it_quotes():
    assert tied([told(f"Never say {SPAN}.", "a", "b"), *dialogues(("c", SPAN))]) == 1


WORDS = st.lists(st.sampled_from("abc"), max_size=7).map(" ".join)
DIALOGUE = st.tuples(st.none() | WORDS, st.lists(WORDS, min_size=1, max_size=4))


def build(drawn):
    """Dialogues of drawn (system turn, turns); one turn alone is a document."""
    return [
        Dialogue(f"d{i}", "eli5", f"g{i}", tuple(turns), system)
        if len(turns) > 1
        else Dialogue(f"d{i}", "eli5", f"g{i}", tuple(turns), kind="document")
        for i, (system, turns) in enumerate(drawn)
    ]


@given(st.lists(DIALOGUE, min_size=1, max_size=4), st.lists(WORDS, max_size=4), st.sampled_from([0.5, 0.8]))
def test_gate_and_check_agree_on_any_text(turns, held_out, near):
    rules, train = LeakRules(span=4, near_ngram=2, near=near, min_words=3), build(turns)
    by_gate = set().union(*found(train, held_out, rules).values())
    assert {line.split(" ")[0] for line in leaking(train, held_out, rules)} == by_gate


@given(st.lists(DIALOGUE, min_size=2, max_size=6))
def test_units_of_the_links_leave_nothing_to_leak(turns):
    rules, train = LeakRules(span=4, near_ngram=2, near=0.5, min_words=3), build(turns)
    units = join_groups([d.group for d in train], links(train, rules), 0.1)
    for unit in set(units):
        held_out = [turn for d, u in zip(train, units, strict=True) if u == unit for turn in d.turns]
        assert leaking([d for d, u in zip(train, units, strict=True) if u != unit], held_out, rules) == []


def test_the_check_names_the_rows_that_leak():
    train = dialogues(("Hi", "Fine."), (PROMPT, SPAN))
    with pytest.raises(
        ValueError, match=r"^1 train dialogues .*: d1 \(leak_ngram in turns \[1\], leak_prompt in .* \[0\]"
    ):
        check_no_leaks(train, [SPAN, PROMPT], RULES)
    check_no_leaks(train[:1], [SPAN, PROMPT], RULES)
