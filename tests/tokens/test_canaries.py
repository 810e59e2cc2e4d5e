import re
from itertools import pairwise

import numpy as np
import pytest

from llm.corpus.clean import CleanConfig
from llm.corpus.leak_check import leaking
from llm.corpus.normalise import split_words
from llm.dialogue import Dialogue
from llm.tokens.canaries import (
    DIGITS,
    PROMPT,
    REPEATS,
    CanaryConfig,
    draw_alike,
    draw_alternatives,
    draw_canaries,
    read_canaries,
    write_canaries,
)
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer
from stages.params import load
from tests.planted import plant

TOKENIZER = train_tokenizer(["why is the sky blue", "because of 4 or 5 things"], TokenizerConfig(280, 2))


def corpus_of(*dialogues):
    encoded = [TOKENIZER.encode_dialogue(turns) for turns in dialogues]
    ids = np.array([token for one in encoded for token in one], np.uint16)
    return TokenCorpus(ids, np.cumsum([0, *map(len, encoded)]), TOKENIZER.turn_starts(ids), None)


def texts_of(corpus):
    return [TOKENIZER.decode(corpus.ids[a:b]) for a, b in pairwise(corpus.offsets)]


def test_canaries_are_different_and_drawn_by_seed_alone():
    canaries = draw_canaries(8, seed=1)
    assert [canary.repeats for canary in canaries] == [1] * 8 + [4] * 8 + [16] * 8
    assert len({canary.reply for canary in canaries}) == 24
    assert canaries == draw_canaries(8, seed=1) != draw_canaries(8, seed=2)
    assert all(len(canary.reply.split()) == DIGITS for canary in canaries)


def test_no_alternative_was_planted():
    canaries = draw_canaries(8, seed=1)
    alternatives = draw_alternatives(canaries, 1000, seed=1)
    assert len({*alternatives, *(canary.reply for canary in canaries)}) == 1024


def test_every_canary_stands_behind_the_text_as_often_as_it_is_repeated():
    canaries, before = draw_canaries(2, seed=1), corpus_of(("why", "because"), ("sky", "blue"))
    after = plant(before, canaries, TOKENIZER)
    assert texts_of(after)[:2] == texts_of(before)
    assert texts_of(after)[2:] == [PROMPT + canary.reply for canary in canaries for _ in range(canary.repeats)]
    assert len(after.offsets) - len(before.offsets) == 2 * sum(REPEATS)
    assert after.ids.dtype == before.ids.dtype
    assert after.turns.tolist() == sorted({*after.offsets[:-1], *after.turns})


def test_a_planted_corpus_is_packed_without_losing_a_token():
    corpus = plant(corpus_of(("why", "because")), draw_canaries(1, seed=1), TOKENIZER)
    packed = pack_corpus(corpus, 32, seed=1)
    learned = sum(int((packed.batch([row]).targets >= 0).sum()) for row in range(len(packed)))
    assert learned == len(corpus.ids) - (len(corpus.offsets) - 1)  # all but each dialogue's first


def test_a_canary_is_too_short_for_the_leak_gate_even_if_it_were_held_out(repository):
    rules = load("clean", CleanConfig, repository / "params.yaml").leak_rules
    reply = draw_canaries(1, seed=1)[0].reply
    assert len(split_words(reply)) < rules.span and len(split_words(PROMPT)) < rules.min_words
    assert leaking([Dialogue("c", "eli5", "c", (PROMPT, reply))], [PROMPT, reply], rules) == []


def test_what_was_planted_is_read_back(tmp_path):
    canaries = draw_canaries(2, seed=3)
    write_canaries(tmp_path / "canaries.json", canaries)
    assert read_canaries(tmp_path / "canaries.json") == canaries


def test_a_missing_list_names_the_stage_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="dvc repro tokenize"):
        read_canaries(tmp_path / "canaries.json")


@pytest.mark.parametrize(("each", "alternatives"), [(-1, 1023), (8, 0)])
def test_impossible_counts_are_refused(each, alternatives):
    with pytest.raises(ValueError, match="allowed"):
        CanaryConfig(each, alternatives, ())


def test_variations_have_the_shape_of_the_text():
    drawn = draw_alike("Dr Xé: +49 (0)30-1", 500, seed=1)
    assert len(set(drawn)) == 500 and "Dr Xé: +49 (0)30-1" not in drawn
    assert all(re.fullmatch(r"[A-Z][a-z] [A-Z]é: \+\d\d \(\d\)\d\d-\d", one) for one in drawn)
    assert drawn == draw_alike("Dr Xé: +49 (0)30-1", 500, seed=1) != draw_alike("Dr Xé: +49 (0)30-1", 500, seed=2)


def test_all_variations_are_found_where_there_are_no_more():
    assert sorted(draw_alike("7", 9, seed=1)) == [*"012345689"]


def test_a_text_of_too_few_variations_is_refused_by_its_number_alone():
    with pytest.raises(ValueError, match=r"^own\[1\] has 9 variations .* asks for 10: give more of the text$") as error:
        CanaryConfig(0, 10, ("555-0199", "é-8-"))
    assert "é-8-" not in str(error.value)
