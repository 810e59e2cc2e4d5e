import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.dialogue import Example, Prompt
from llm.evaluation.baselines import NgramScorer
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scoring import Replier, Scorer, check_lossless, encoder, fit_prompt
from tests.evaluation.test_scratch_model import LONG, SHORT, TEXTS, TOKENIZER, make_examples, make_model


def test_a_reply_that_the_tokenizer_loses_is_refused():
    with pytest.raises(ValueError, match="reply 0/1 into 'a to'"):
        check_lossless(make_examples(("Hi", "a token")), ["a to"])


def test_a_prompt_loses_the_oldest_of_its_history():
    history = ("Why?", "So.", "What is a word?")
    last = TOKENIZER.encode_prompt(history[2:])
    prompt, encode = Prompt(history), encoder(TOKENIZER)
    assert fit_prompt(prompt, len(last), encode) == last
    assert fit_prompt(prompt, 1, encode) == TOKENIZER.encode_prompt(("?",))
    assert fit_prompt(prompt, 1000, encode) == TOKENIZER.encode_prompt(history)


def test_a_long_first_turn_leaves_its_end_and_what_follows():
    history = ("What is a token, I said? " * 30, "A token is a piece of text.", "Why?")
    encode = encoder(TOKENIZER)
    behind = len(TOKENIZER.encode_prompt(history[1:]))
    ids = fit_prompt(Prompt(history), behind + 12, encode)
    assert behind + 5 < len(ids) <= behind + 12
    text = TOKENIZER.decode(ids)
    assert text.endswith("I said?A token is a piece of text.Why?") and text.count("I said?") == 1


@given(
    st.lists(st.text("ab cé", min_size=1, max_size=60), min_size=1, max_size=7).filter(lambda turns: len(turns) % 2),
    st.integers(10, 80),
)
def test_a_prompt_fits_and_keeps_as_much_as_fits(turns, room):
    encode = encoder(TOKENIZER)
    ids = fit_prompt(Prompt(tuple(turns)), room, encode)
    assert len(ids) <= room
    assert len(encode(Prompt(tuple(turns)))) > room or ids == encode(Prompt(tuple(turns)))


def test_a_prompt_that_loses_its_exchanges_keeps_its_system_turn():
    prompt = Prompt(("Why?", "So.", "What is a word?"), "A word")
    told = TOKENIZER.encode_prompt(prompt.history[2:], "A word")
    assert fit_prompt(prompt, len(told), encoder(TOKENIZER)) == told
    assert fit_prompt(prompt, 1, encoder(TOKENIZER)) == TOKENIZER.encode_prompt(("?",), "A word")


def test_an_opening_stands_behind_what_opens_a_document():
    ids = encoder(TOKENIZER)(Prompt((), opening="What is"))
    assert ids == TOKENIZER.encode_document("What is").tolist()[:-1]


@pytest.mark.parametrize("order", [1, 5])
def test_a_counting_model_scores_a_document_as_it_counted_it(order):
    document = Example("d/0", "book", "d", (), "a token is a piece of text")
    ids = TOKENIZER.encode_document(document.reply)
    ngram = train_ngram([*ids, *ids], [0, len(ids), 2 * len(ids)], TOKENIZER.vocab_size, order)
    (score,) = NgramScorer("n", ngram, TOKENIZER).loglik([document])
    logprobs = ngram.token_logprobs(ids.tolist())
    assert (score.logprob, score.end_logprob) == (logprobs[1:-1].sum(), logprobs[-1])
    assert score.n_tokens == len(ids) - 2


def test_a_counting_model_is_scored_on_the_reply_alone():
    dialogues = [TOKENIZER.encode_dialogue(TEXTS[:2]), TOKENIZER.encode_dialogue(TEXTS[1:])]
    offsets = np.cumsum([0, *map(len, dialogues)])
    ngram = train_ngram(np.concatenate(dialogues), offsets, TOKENIZER.vocab_size, order=3)
    (example,) = make_examples(("Why?", "A token", "What?", "a piece of text"))
    (score,) = NgramScorer("ngram5", ngram, TOKENIZER).loglik([example])
    whole = ngram.token_logprobs(TOKENIZER.encode_dialogue([*example.history, example.reply])).sum()
    prompt = ngram.token_logprobs(TOKENIZER.encode_prompt(example.history)).sum()
    assert score.logprob + score.end_logprob == pytest.approx(whole - prompt, rel=1e-12)  # it reads 2 tokens of it
    assert score.n_tokens == len(TOKENIZER.encode(example.reply))


@pytest.mark.parametrize("order", [1, 2, 5])
def test_a_counting_model_reads_no_more_of_a_prompt_than_it_depends_on(order):
    ids = np.concatenate([TOKENIZER.encode_dialogue(TEXTS[:2]), TOKENIZER.encode_dialogue(TEXTS[1:])])
    ngram = train_ngram(ids, [0, len(ids)], TOKENIZER.vocab_size, order)
    for example, score in zip(SHORT + LONG, NgramScorer("n", ngram, TOKENIZER).loglik(SHORT + LONG), strict=True):
        reply = [*TOKENIZER.encode(example.reply), TOKENIZER.end_id]
        logprobs = ngram.token_logprobs([*TOKENIZER.encode_prompt(example.history), *reply])[-len(reply) :]
        assert (score.logprob, score.end_logprob) == (logprobs[:-1].sum(), logprobs[-1])  # bit for bit


def test_a_counting_model_scores_and_does_not_reply():
    counting = NgramScorer("n", train_ngram([1, 2], [0, 2], TOKENIZER.vocab_size), TOKENIZER)
    assert (isinstance(counting, Scorer), isinstance(counting, Replier)) == (True, False)
    assert (isinstance(make_model(), Scorer), isinstance(make_model(), Replier)) == (True, True)
