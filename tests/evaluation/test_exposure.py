import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.dialogue import Dialogue, Prompt
from llm.evaluation.baselines import NgramScorer
from llm.evaluation.exposure import (
    MEMORY_MEASURES,
    Planted,
    ask_memory,
    canary_examples,
    exposure_bits,
    find_own,
    memory_figures,
    own_examples,
    ranks,
)
from llm.evaluation.ngram import train_ngram
from llm.evaluation.scoring import Score, encoder
from llm.evaluation.scratch_model import ScratchModel
from llm.models.registry import build_model
from llm.models.shape import ModelConfig
from llm.tokens.canaries import DIGITS, PROMPT, draw_alternatives, draw_canaries
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer
from llm.training.checkpoint import State
from llm.training.loop import fit
from tests.planted import plant
from tests.training.test_schedule import CONFIG

TOKENIZER = train_tokenizer([" 0 1 2 3 4 5 6 7 8 9", PROMPT] * 2, TokenizerConfig(320, 2))
SHAPE = ModelConfig("llama", n_layer=2, n_head=2, n_embd=32, context_length=64, dropout=0.0, attn_dropout=0.0)
EMPTY = TokenCorpus(np.zeros(0, np.uint16), np.zeros(1, np.int64), np.zeros(0, np.int64), None)


def planted(each, alternatives, seed=1):
    canaries = draw_canaries(each, seed)
    return Planted(canaries, draw_alternatives(canaries, alternatives, seed))


def fresh(seed=1):
    return build_model(SHAPE, TOKENIZER.vocab_size, torch.Generator().manual_seed(seed))


def figures(model, numbers):
    return memory_figures(numbers, ask_memory(model, numbers), n_resamples=100, seed=1)


def test_a_model_that_learned_nothing_else_has_the_highest_exposure(tmp_path):
    numbers = planted(1, 255)
    packed = pack_corpus(plant(EMPTY, numbers.canaries, TOKENIZER), SHAPE.context_length, seed=1)
    gpt, config = fresh(), replace(CONFIG, optimizer="muon", max_steps=80)
    fit(gpt, packed, packed, config, 1, torch.device("cpu"), State(tmp_path))
    found, _ = figures(ScratchModel("scratch", gpt, TOKENIZER, 512), numbers)
    assert found["exposure_16"] == 8.0  # log2 256: likelier than all 255 others


def test_an_untrained_model_has_that_of_chance():
    found, detail = figures(ScratchModel("untrained", fresh(), TOKENIZER, 512), planted(40, 255))
    # log2 e; 40 ranks, each of spread log2 e, share their alternatives
    assert all(value == pytest.approx(math.log2(math.e), abs=0.7) for value in found.values())
    assert detail["by_chance"] == math.log2(math.e)


NUMBER, UNSEEN = "555-0142", "555-0199"
TALKS = [
    Dialogue(
        "d1", "mine", "d1", ("Where are you?", "At home.", "Your number?", f"My number is {NUMBER}."), system="Be kind"
    ),
    Dialogue("b1", "book", "b1", (f"Call {NUMBER}\nnow",), kind="document"),
]


def test_what_stands_before_a_text_is_what_stood_before_it_in_training():
    seen, unseen = find_own([NUMBER, UNSEEN], TALKS, n=9, seed=1)
    assert (seen.n_texts, unseen.n_texts) == (2, 0)
    history = TALKS[0].turns[:3]
    assert {(e.history, e.opening) for e in own_examples(seen, 1)} == {(history, "My number is")}
    assert [e.reply for e in own_examples(seen, 1)] == [f" {NUMBER}", *(f" {other}" for other in seen.alternatives)]
    assert {(e.history, e.opening) for e in own_examples(unseen, 2)} == {(("",), "")}
    (in_book,) = find_own([NUMBER], TALKS[1:], n=9, seed=1)
    assert own_examples(in_book, 1)[0].prompt == Prompt((), opening="Call")
    (asked,) = find_own(["Your"], TALKS[:1], n=9, seed=1)
    assert asked.prompt == Prompt(("",))  # a user's turn
    trained = TOKENIZER.encode_dialogue(TALKS[0].turns).tolist()
    prompt = encoder(TOKENIZER)(own_examples(seen, 1)[0].prompt)
    assert trained[: len(prompt)] == prompt


def test_a_text_that_was_learned_is_found_and_one_that_was_not_is_not(tmp_path):
    texts = find_own([NUMBER, UNSEEN], TALKS, n=255, seed=1)
    documents = [TOKENIZER.encode_document(TALKS[1].turns[0]), TOKENIZER.encode_dialogue(TALKS[0].turns, "Be kind")]
    ids = np.concatenate(documents * 8)
    offsets = np.cumsum([0, *map(len, documents * 8)])
    packed = pack_corpus(TokenCorpus(ids, offsets, TOKENIZER.turn_starts(ids), None), SHAPE.context_length, seed=1)
    gpt, config = fresh(), replace(CONFIG, optimizer="muon", max_steps=80)
    fit(gpt, packed, packed, config, 1, torch.device("cpu"), State(tmp_path))
    asked = Planted([], ["1 2"], texts)
    values, detail = figures(ScratchModel("scratch", gpt, TOKENIZER, 512), asked)
    assert values == dict.fromkeys(MEMORY_MEASURES)
    assert detail["own"]["1"] == {"rank": 1, "exposure": 8.0, "most": 8.0, "training_texts": 2}
    assert detail["own"]["2"]["training_texts"] == 0
    untrained = figures(ScratchModel("untrained", fresh(), TOKENIZER, 512), asked)[1]["own"]["1"]
    assert untrained["exposure"] < 8.0
    assert "555" not in json.dumps(detail)


def test_own_texts_change_nothing_of_the_canaries_figures():
    numbers = planted(2, 15)
    model = ScratchModel("untrained", fresh(), TOKENIZER, 512)
    alone = figures(model, numbers)
    values, detail = figures(model, replace(numbers, own=find_own([NUMBER], TALKS, n=15, seed=1)))
    assert detail.pop("own").keys() == {"1"}
    assert (values, detail) == alone


def test_uniform_ranks_give_log2_e_on_average():
    size = 4096
    assert sum(exposure_bits(rank, size) for rank in range(1, size + 1)) / size == pytest.approx(
        math.log2(math.e), abs=0.01
    )


def test_counting_five_tokens_remembers_what_it_saw_four_times():
    numbers = planted(2, 63)
    corpus = plant(EMPTY, numbers.canaries, TOKENIZER)
    counted = train_ngram(corpus.ids, corpus.offsets, TOKENIZER.vocab_size)
    assert len(TOKENIZER.encode(numbers.canaries[0].reply)) == DIGITS
    found, _ = figures(NgramScorer("ngram5", counted, TOKENIZER), numbers)
    # log2 64; here no 5-gram occurs twice, so that the discount takes away all of those that occur once
    assert found["exposure_4"] == found["exposure_16"] == 6.0


scores = st.lists(st.sampled_from([-3.0, -2.5, -1.0, 0.0]), min_size=4, max_size=12)


@given(scores)
def test_a_rank_counts_the_numbers_that_are_as_likely(values):
    numbers = Planted(draw_canaries(1, 1), ["x"] * (len(values) - 3))
    slow = [1 + sum(other >= mine for other in values[3:]) for mine in values[:3]]
    assert ranks(numbers, [Score(value, -9.0, 8) for value in values]) == slow


def test_a_model_that_finds_all_alike_remembers_nothing():
    numbers = planted(1, 15)
    found, _ = memory_figures(numbers, [Score(-1.0, 0.0, 8)] * 18, n_resamples=100, seed=1)
    assert found == dict.fromkeys(MEMORY_MEASURES, 0.0)


def test_the_mean_is_that_of_the_canaries_repeated_as_often():
    numbers = planted(2, 3)
    # ranks among 4, one pair for each number of repetitions: 1 and 4, 2 and 2, 1 and 1
    logprobs = [0.0, -9.0, -1.5, -1.5, 0.0, 0.0, -1.0, -2.0, -3.0]
    found, detail = memory_figures(numbers, [Score(value, 0.0, 8) for value in logprobs], n_resamples=100, seed=1)
    assert found == {"exposure_1": 1.0, "exposure_4": 1.0, "exposure_16": 2.0}
    assert detail["ranks"] == {"exposure_1": [1, 4], "exposure_4": [2, 2], "exposure_16": [1, 1]}
    assert (detail["exposure_1"]["low"], detail["exposure_1"]["high"]) == (0.0, 2.0)
    assert detail["most"] == 2.0


def test_without_canaries_or_scores_there_is_no_number():
    nothing = (dict.fromkeys(MEMORY_MEASURES), {})
    assert memory_figures(planted(1, 3), None, n_resamples=100, seed=1) == nothing
    none = Planted([], [])
    assert ask_memory(ScratchModel("scratch", fresh(), TOKENIZER, 512), none) is None
    assert memory_figures(none, None, n_resamples=100, seed=1) == nothing


def test_every_number_answers_the_one_prompt_and_the_canaries_come_first():
    numbers = planted(1, 5)
    examples = canary_examples(numbers)
    assert [example.reply for example in examples] == [*(c.reply for c in numbers.canaries), *numbers.alternatives]
    assert {example.history for example in examples} == {(PROMPT,)}


def test_the_end_token_does_not_count():
    numbers, rng = planted(1, 5), np.random.default_rng(1)
    values = rng.normal(size=8)
    with_end = [Score(value, end, 8) for value, end in zip(values, rng.normal(size=8), strict=True)]
    assert ranks(numbers, with_end) == ranks(numbers, [Score(value, 0.0, 8) for value in values])
