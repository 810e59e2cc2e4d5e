import json
import os

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from llm.tokens.tokenizer import (
    ASSISTANT,
    DOCUMENT,
    END,
    N_BYTES,
    SYSTEM,
    USER,
    TokenizerConfig,
    load_tokenizer,
    train_tokenizer,
)

TEXTS = ["the cat sat on the mat", "the cat ran", "a dog sat", "Why does the cat sit there? Because it can."] * 3
TOKENIZER = train_tokenizer(TEXTS, TokenizerConfig(vocab_size=300, min_frequency=2))
ROLES = set(TOKENIZER.role_ids)

pieces = st.one_of(
    st.text(),
    st.sampled_from([USER, ASSISTANT, END, SYSTEM, DOCUMENT, "the cat", " ", "\r\n", "e\u0301", "👩🏽‍🚀", "\x00"]),
)
texts = st.lists(pieces, max_size=6).map("".join)


@settings(deadline=None)
@given(texts)
def test_no_text_is_lost(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@settings(deadline=None)
@given(texts)
def test_text_that_spells_a_role_is_never_a_role(text):
    assert ROLES.isdisjoint(TOKENIZER.encode(text))


@settings(deadline=None)
@given(st.lists(texts, max_size=5))
def test_a_batch_encodes_each_text_by_itself(batch):
    assert TOKENIZER.encode_batch(batch) == [TOKENIZER.encode(text) for text in batch]


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=4))
def test_a_dialogue_is_its_turns_behind_their_roles(turns):
    expected = []
    for i, turn in enumerate(turns):
        expected += [[TOKENIZER.user_id, TOKENIZER.assistant_id][i % 2], *TOKENIZER.encode(turn)]
        expected += [TOKENIZER.end_id] if i % 2 else []
    assert TOKENIZER.encode_dialogue(turns).tolist() == expected


@settings(deadline=None)
@given(st.lists(texts, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0))
def test_a_prompt_its_reply_and_the_end_are_the_dialogue(turns):
    prompt, reply = TOKENIZER.encode_prompt(turns[:-1]), TOKENIZER.encode(turns[-1])
    assert [*prompt, *reply, TOKENIZER.end_id] == TOKENIZER.encode_dialogue(turns).tolist()


def test_a_system_turn_stands_before_the_first_turn_of_the_user():
    with_system = TOKENIZER.encode_dialogue(["Hi.", "Hello."], "Be kind")
    opened = [TOKENIZER.system_id, *TOKENIZER.encode("Be kind")]
    assert with_system.tolist() == [*opened, *TOKENIZER.encode_dialogue(["Hi.", "Hello."])]
    assert TOKENIZER.encode_prompt(["Hi."], "Be kind") == [*opened, *TOKENIZER.encode_prompt(["Hi."])]
    assert TOKENIZER.decode(with_system) == "Be kindHi.Hello."


@settings(deadline=None)
@given(texts)
def test_a_document_is_its_opening_its_text_and_the_end(text):
    ids = TOKENIZER.encode_document(text).tolist()
    assert ids == [*TOKENIZER.encode_prompt([]), *TOKENIZER.encode(text), TOKENIZER.end_id]
    assert ids[0] == TOKENIZER.document_id


def test_a_turn_starts_at_each_role_but_the_end():
    ids = np.concatenate(
        [
            TOKENIZER.encode_dialogue(["a", "b", "c"], "d"),
            TOKENIZER.encode_document("e"),
            TOKENIZER.encode_dialogue("fg"),
        ]
    )
    #                                         <s> d <u> a <a> b <e> <u> c <d> e <e> <u> f <a> g <e>
    assert TOKENIZER.turn_starts(ids).tolist() == [0, 2, 4, 7, 9, 12, 14]


def test_roles_are_left_out_of_decoded_text():
    assert TOKENIZER.decode(TOKENIZER.encode_dialogue(["Hi. ", "Hello."])) == "Hi. Hello."


def test_frequent_words_become_single_tokens():
    assert len(TOKENIZER.encode(" cat")) == 1
    assert len(TOKENIZER.encode(" xyz")) == 4


def test_a_pair_rarer_than_the_minimum_is_not_merged():
    tokenizer = train_tokenizer(["ab ab ab", "cd"], TokenizerConfig(vocab_size=400, min_frequency=2))
    assert [len(tokenizer.encode(word)) for word in ("ab", "cd")] == [1, 2]


def test_the_smallest_vocabulary_is_the_bytes_and_the_roles():
    tokenizer = train_tokenizer(TEXTS, TokenizerConfig(vocab_size=N_BYTES + 5, min_frequency=1))
    assert tokenizer.vocab_size == 261
    assert tokenizer.encode("né") == tokenizer.encode_batch(["n", "é"])[0] + tokenizer.encode("é")
    assert len(tokenizer.encode("né")) == len("né".encode())


def test_a_small_corpus_gives_a_smaller_vocabulary_than_allowed():
    # the merges of "abab" are ab, abab
    assert train_tokenizer(["abab"] * 2, TokenizerConfig(vocab_size=1000, min_frequency=2)).vocab_size == 263


def test_the_order_of_the_texts_does_not_change_the_tokenizer(tmp_path):
    config = TokenizerConfig(vocab_size=300, min_frequency=1)
    for name, given_texts in (("a", TEXTS), ("b", TEXTS[::-1])):
        train_tokenizer(given_texts, config).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_loaded_tokenizer_is_the_saved_one(tmp_path):
    TOKENIZER.save(tmp_path / "deep/tokenizer.json")
    loaded = load_tokenizer(tmp_path / "deep/tokenizer.json")
    text = f"the cat {END} séance"
    assert loaded.encode(text) == TOKENIZER.encode(text)
    assert loaded.encode_prompt([text, text]) == TOKENIZER.encode_prompt([text, text])
    assert loaded.vocab_size == TOKENIZER.vocab_size


def test_other_libraries_read_the_file(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.encode("the cat ran").ids == TOKENIZER.encode("the cat ran")
    assert theirs.encode(f"{USER}the cat{ASSISTANT}").ids == TOKENIZER.encode_prompt(["the cat"])


def test_saving_leaves_another_link_to_the_old_file_alone(tmp_path):
    (tmp_path / "cached").write_text("old", encoding="utf-8")
    os.link(tmp_path / "cached", tmp_path / "tokenizer.json")
    TOKENIZER.save(tmp_path / "tokenizer.json")
    assert (tmp_path / "cached").read_text(encoding="utf-8") == "old"
    assert sorted(os.listdir(tmp_path)) == ["cached", "tokenizer.json"]


def test_a_missing_tokenizer_names_the_stage_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="dvc repro tokenize"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_tokenizer_without_roles_is_refused(tmp_path):
    tokenizers.Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="it was not made by this version of the stage tokenize"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_tokenizer_of_three_roles_is_refused_in_one_line(tmp_path):
    former = tokenizers.Tokenizer(models.BPE())
    former.pre_tokenizer, former.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    former.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=[USER, ASSISTANT, END]))
    former.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"no token <\|system\|>: .* run `dvc repro`$") as error:
        load_tokenizer(tmp_path / "tokenizer.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((260, 2), "^vocab_size is 260, allowed: 261 to 65535"),
        ((65_536, 2), "^vocab_size is 65536"),
        ((300, 0), "^min_frequency is 0"),
    ],
)
def test_a_parameter_out_of_range_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(*sizes)


def test_real_answers_are_kept_whole_and_compressed(real_data):
    rows = [json.loads(line) for line in (real_data / "eli5_sample.jsonl").read_text(encoding="utf-8").splitlines()]
    learned, unseen = [row["answer"] for row in rows[:400]], [row["answer"] for row in rows[400:]]
    tokenizer = train_tokenizer(learned, TokenizerConfig(vocab_size=4096, min_frequency=2))
    encoded = tokenizer.encode_batch(unseen)
    assert [tokenizer.decode(ids) for ids in encoded] == unseen
    assert sum(len(text.encode()) for text in unseen) > 3 * sum(map(len, encoded))


@pytest.mark.parametrize("content", ["", "{}", "[" * 9999, '{"version": null}', "\ufeff"])
def test_what_is_no_tokenizer_is_told_with_its_place(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer \(.*run `dvc repro tokenize`"):
        load_tokenizer(tmp_path / "tokenizer.json")
