import numpy as np
import pytest

from llm.evaluation.baselines import NgramScorer
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scoring import Replier, Scorer, check_lossless, fit_prompt
from tests.evaluation.test_scratch_model import LONG, SHORT, TEXTS, TOKENIZER, make_examples, make_model


def test_a_reply_that_the_tokenizer_loses_is_refused():
    with pytest.raises(ValueError, match="reply 0/1 into 'a to'"):
        check_lossless(make_examples(("Hi", "a token")), ["a to"])


def test_a_prompt_loses_its_oldest_exchanges():
    history = ("Why?", "So.", "What is a word?")
    last = TOKENIZER.encode_prompt(history[2:])
    assert fit_prompt(history, len(last), TOKENIZER.encode_prompt) == last
    assert fit_prompt(history, 1, TOKENIZER.encode_prompt) == last
    assert fit_prompt(history, 1000, TOKENIZER.encode_prompt) == TOKENIZER.encode_prompt(history)


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
