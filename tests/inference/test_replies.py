import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.decoding import Decoding
from llm.inference.replies import Draft, Reply, TokenTexts, cut_reply, write_replies
from llm.tokens.tokenizer import TokenizerConfig, train_tokenizer

TOKENIZER = train_tokenizer(["why is it so déjà vu ☃ it is so"] * 4, TokenizerConfig(vocab_size=300, min_frequency=2))
END, V = TOKENIZER.end_id, TOKENIZER.vocab_size
EXACT = TokenTexts(TOKENIZER.token_bytes(), TOKENIZER.decode)
AT_MOST = TokenTexts([4 * n for n in EXACT.n_bytes], TOKENIZER.decode)  # as of a tokenizer that is no byte-level BPE
UNICODE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=40)


def cap(max_bytes):
    return Decoding(max_bytes, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)


class Spelling:
    """A model that writes the given ids whatever it reads, its window as long as you like."""

    def __init__(self, ids):
        self.ids, self.read_n = ids, []

    def read(self, contexts, more):
        (context,) = contexts
        self.read_n.append(len(context))
        return self, self.logits(context[-1])

    def logits(self, last):
        return torch.nn.functional.one_hot(torch.tensor([self.ids.pop(0)]), V).float()

    def step(self, ids):
        return self.logits(int(ids))

    def keep(self, rows):
        pass


def write(text, max_bytes, texts=EXACT, window=10**6):
    """The reply of a model that wants to write this text, its draft and the model."""
    model = Spelling([*TOKENIZER.encode(text), END, *[END] * 9])
    draft = Draft([1], torch.zeros(max_bytes + 1), (END,))
    write_replies([draft], cap(max_bytes), texts, window, 10**6, model.read)
    return texts.reply(draft, max_bytes), draft, model


@pytest.mark.parametrize("texts", [EXACT, AT_MOST])
@given(UNICODE, st.integers(1, 60))
def test_a_reply_is_the_text_or_its_longest_beginning_of_so_many_bytes(texts, text, max_bytes):
    if len(TOKENIZER.encode(text)) > max_bytes:  # space alone, that is no part of a reply
        text = text.strip()
    reply = write(text, max_bytes, texts)[0]
    whole = text.strip()
    if len(whole.encode()) <= max_bytes:
        assert reply == Reply(whole, True)
        return
    longest = max(i for i in range(len(whole)) if len(whole[:i].encode()) <= max_bytes)
    assert reply == Reply(whole[:longest].rstrip(), False)


def test_a_row_stops_with_the_first_token_behind_the_cap():
    text = "why is it so " * 50
    _, draft, _ = write(text, 30)
    assert len(TOKENIZER.decode(draft.ids[:-1]).strip()) <= 30 < len(TOKENIZER.decode(draft.ids).strip())


def test_a_reply_as_long_as_the_cap_has_ended():
    assert write("it is", 5)[0] == Reply("it is", True)
    assert write("it is so", 5)[0] == Reply("it is", False)


def test_tokens_without_text_do_not_go_on_for_ever():
    model = Spelling([TOKENIZER.user_id] * 99)
    draft = Draft([1], torch.zeros(9), (END,))
    write_replies([draft], cap(8), EXACT, 10**6, 10**6, model.read)
    assert EXACT.reply(draft, 8) == Reply("", False) and len(draft.ids) == 9


@pytest.mark.parametrize(("text", "expected"), [("a☃b", "a"), ("ab☃", "ab"), ("☃☃", "☃"), ("a  bcd", "a")])
def test_a_reply_is_cut_between_two_characters(text, expected):
    assert cut_reply(text, True, 3) == Reply(expected, False)


def test_half_a_window_is_read_again_whenever_it_is_full():
    text = "why is it so " * 8
    n = len(TOKENIZER.encode(text))
    reply, _, model = write(text, 10**4, window=16)
    assert reply == Reply(text.strip(), True)
    assert model.read_n == [1, *[8] * ((n - 16) // 9 + 1)]  # 16 tokens, then 9 from each half window: 8 + 9 - 1 = 16
