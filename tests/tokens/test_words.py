import string

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import llm.tokens.words
from llm.sources.chitchat import read_chitchat
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer
from llm.tokens.words import WordTable

TEXTS = [
    "I'm sure that it's 12:30, isn't it? They'll see, he'd said:  we've 1,000 of them.",
    "a = b[1:];\n\treturn x",
] * 2
TOKENIZER = train_tokenizer(TEXTS, TokenizerConfig(vocab_size=400, min_frequency=2))

spaces = st.text(alphabet=" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0", max_size=4)
words = st.sampled_from(["I'm", "it's", "'s", "'S", "12", "1st", "a1b2", "?!", "'", "''ll", "_x_", "<|end|>", "né"])
quotes = st.text(alphabet="a1 '‘’“”–—…")
anything = st.text(alphabet=string.printable + "\x00\x1c\x1f\x7f")
texts = st.lists(st.one_of(spaces, words, quotes, anything, st.text()), max_size=8).map("".join)


@settings(deadline=None, max_examples=1000)
@given(texts)
@example("a  b \n\n c\x1c d ")
def test_words_give_the_ids_of_the_whole_text(text):
    found = np.frombuffer(WordTable(TOKENIZER.encode).encode(text), np.uint16).tolist()
    assert found == TOKENIZER.encode(text)


def test_every_turn_of_the_installed_conversations_has_the_ids_of_the_tokenizer():
    turns = [turn for dialogue in read_chitchat("dialogue").dialogues for turn in dialogue.turns]
    tokenizer = train_tokenizer(turns, TokenizerConfig(vocab_size=4096, min_frequency=2))
    assert tokenizer.encode_batch(turns) == [e.ids for e in tokenizer._bpe.encode_batch_fast(turns)]


def test_a_text_with_curled_quotes_is_looked_up_by_word():
    encoded = []
    table = WordTable(lambda text: encoded.append(text) or [])
    table.encode("It’s “new” – so")
    assert encoded == ["It", "’", "s", " “", "new", "”", " –", " so"]


def test_a_full_table_still_encodes(monkeypatch):
    monkeypatch.setattr(llm.tokens.words, "MOST", 1)
    table = WordTable(TOKENIZER.encode)
    assert np.frombuffer(table.encode("one two three"), np.uint16).tolist() == TOKENIZER.encode("one two three")
    assert len(table) == 1
