import lzma
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.corpus.normalise import split_words
from llm.dialogue import Dialogue, Example, Prompt
from llm.evaluation.baselines import (
    K1,
    B,
    Compressor,
    Frequent,
    NgramScorer,
    draw_prime,
    index_texts,
    make_retrieval,
    most_frequent,
)
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scoring import Replier, Scorer
from llm.inference.decoding import Decoding
from llm.inference.replies import Reply
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer

TEXTS = ["What is a token?", "A token is a piece of text.", "Why does it rain?", "Water falls from the clouds."]
TOKENIZER = train_tokenizer(TEXTS * 4, TokenizerConfig(vocab_size=300, min_frequency=2))
SHORT = Decoding(max_reply_bytes=3, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
LONG = Decoding(max_reply_bytes=300, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)


def make_example(history, reply):
    return Example("1/1", "eli5", "1", history, reply)


def make_dialogue(source, i, length=40):
    return Dialogue(f"{source}{i}", source, "g", (source * length, f"{i}"))


def test_each_source_has_its_share_of_the_prime():
    dialogues = [make_dialogue("a", i) for i in range(200)] + [make_dialogue("b", i) for i in range(20)]
    prime = draw_prime(dialogues, 300)
    assert len(prime) == 300
    assert abs(prime.count(b"a") - prime.count(b"b")) < 45  # a turn more or less


def test_the_prime_does_not_depend_on_the_order_of_the_dialogues():
    dialogues = [make_dialogue("a", i) for i in range(20)] + [make_dialogue("b", i) for i in range(20)]
    assert draw_prime(dialogues, 500) == draw_prime(dialogues[::-1], 500)
    assert draw_prime([], 500) == b""


def test_a_reply_costs_what_it_adds_to_the_compressed_history():
    example = make_example(("What is a token?",), "A token is a piece of text.")
    (score,) = Compressor(b"no idea\n").loglik([example])
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 6, "dict_size": 1 << 20, "lc": 4, "pb": 0}]
    sizes = [
        len(lzma.compress(text, lzma.FORMAT_RAW, filters=filters))
        for text in (b"no idea\nWhat is a token?\n", b"no idea\nWhat is a token?\nA token is a piece of text.")
    ]
    assert score.logprob == -8 * (sizes[1] - sizes[0]) * math.log(2)
    assert (score.end_logprob, score.n_tokens) == (0.0, 0)


def test_a_compressor_knows_what_it_has_read():
    example = make_example(("Tell me.",), "The quick brown fox jumps over the lazy dog")
    cold, primed = (Compressor(prime).loglik([example])[0].logprob for prime in (b"", example.reply.encode() + b"\n"))
    reminded = Compressor(b"").loglik([make_example((example.reply,), example.reply)])[0].logprob
    assert cold < 3 * primed and cold < 3 * reminded
    n_bytes = len(example.reply)
    assert -cold / math.log(2) > 4 * n_bytes  # bits


def test_compressed_scores_do_not_depend_on_company():
    examples = [make_example((TEXTS[0],), TEXTS[1]), make_example((TEXTS[2],), TEXTS[3]), make_example(("Hm",), "")]
    compressor = Compressor(TEXTS[1].encode())
    assert compressor.loglik(examples) == [compressor.loglik([example])[0] for example in examples]


def test_unigrams_are_the_discounted_frequencies_of_the_tokens():
    # counts 4 2 1 1 of 8; 2 tokens occur once and 1 twice: D = 2 / (2 + 2 * 1) = 1/2; 4 types share 4 * D / 8 evenly
    ngram = train_ngram([5, 5, 5, 5, 6, 6, 7, 8], [0, 8], TOKENIZER.vocab_size, order=1)
    spread = 4 * 0.5 / 8 / TOKENIZER.vocab_size
    expected = [3.5 / 8 + spread, 1.5 / 8 + spread, 0.5 / 8 + spread, spread]
    assert np.exp(ngram.token_logprobs([5, 6, 7, 9])).tolist() == pytest.approx(expected)


def test_unigrams_find_nothing_impossible_and_do_not_care_about_the_history():
    ids = TOKENIZER.encode_dialogue(TEXTS)
    unigram = NgramScorer("unigram", train_ngram(ids, [0, len(ids)], TOKENIZER.vocab_size, order=1), TOKENIZER)
    one, other = unigram.loglik(
        [make_example(("Why?",), "zebra \u2603"), make_example(("Hi", "Hi", "?"), "zebra \u2603")]
    )
    assert one == other
    assert -np.inf < one.logprob < 0


def test_the_most_frequent_reply_in_any_spelling():
    assert most_frequent(["Yes", "no", "No!", "No!", "yes?"]) == "No!"
    assert most_frequent([":)", ":)", "...", "Hm"]) == "Hm"  # no words are no reply
    assert most_frequent([]) == ""


def test_the_frequent_reply_is_said_to_everyone():
    frequent = Frequent("Yes")
    assert frequent.generate([Prompt(("Why?",)), Prompt(("Who?", "Me", "Really?"))], LONG) == [Reply("Yes", True)] * 2
    assert isinstance(frequent, Replier) and not isinstance(frequent, Scorer)


def test_a_baseline_may_say_as_many_bytes_as_the_models():
    retrieval = make_retrieval([make_example((TEXTS[0],), TEXTS[1])])
    assert retrieval.generate([Prompt((TEXTS[0],))], LONG) == [Reply(TEXTS[1], True)]
    assert retrieval.generate([Prompt((TEXTS[0],))], SHORT) == [Reply(TEXTS[1][:3], False)]
    assert Frequent("déjà vu").generate([Prompt(("Why?",))], SHORT) == [Reply("dé", False)]


def test_the_nearest_prompt_is_found_by_its_last_turn():
    known = [make_example((TEXTS[0],), TEXTS[1]), make_example(("Hello", "Hi", TEXTS[2]), TEXTS[3])]
    retrieval = make_retrieval(known)
    histories = [("why, oh why?",), ("WHAT is a Token",), ("What is a token?", "No idea", "Does it rain?"), ("zzz",)]
    found = retrieval.generate([Prompt(history) for history in histories], LONG)
    assert [reply.text for reply in found] == [TEXTS[3], TEXTS[1], TEXTS[3], ""]


def bm25(texts, query):
    """Scores by the formula (Robertson & Zaragoza 2009), text by text."""
    words = [split_words(text) for text in texts]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for text in words:
        score = 0.0
        for word in set(split_words(query)):
            n_with, times = sum(word in other for other in words), text.count(word)
            rarity = math.log(1 + (len(words) - n_with + 0.5) / (n_with + 0.5))
            score += rarity * times * (K1 + 1) / (times + K1 * (1 - B + B * len(text) / mean))
        scores.append(score)
    return scores


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=6).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=8).filter(any), WORDS)
def test_the_nearest_text_is_that_of_the_highest_bm25(texts, query):
    found, scores = index_texts(texts).nearest(query), bm25(texts, query)
    if found is None:
        assert max(scores) == 0
    else:
        assert scores[found] == pytest.approx(max(scores)) and max(scores) > 0


def test_an_index_of_nothing_finds_nothing():
    assert index_texts(["", "?!"]).nearest("why") is None
