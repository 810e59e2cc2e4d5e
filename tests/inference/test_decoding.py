import pytest
import torch

from llm.inference.decoding import Decoding, item_draws, mark_seen, next_ids

V = 50
NO_STOP = torch.tensor([], dtype=torch.long)


def decoding(**changes):
    plain = {"max_reply_bytes": 4, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 1}
    return Decoding(**{**plain, **changes})


def allowed(logits, how):
    """Which tokens can be drawn, and how often: sampling with evenly spread draws."""
    draws = (torch.arange(20_000) + 0.5) / 20_000
    ids = next_ids(logits.expand(len(draws), -1), None, NO_STOP, draws, how)
    return torch.bincount(ids, minlength=logits.numel()) / len(draws)


@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.6}, {"temperature": 1.5, "top_k": 20, "top_p": 0.8}]
)
def test_frequencies_are_those_of_the_filters_of_transformers(changes):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    how = decoding(**changes)
    logits = torch.randn(V, generator=torch.Generator().manual_seed(3)) * 2
    expected = TemperatureLogitsWarper(how.temperature)(None, logits[None])
    if how.top_k:
        expected = TopKLogitsWarper(how.top_k)(None, expected)
    expected = TopPLogitsWarper(how.top_p)(None, expected).softmax(1)[0]
    assert allowed(logits, how).sub(expected).abs().max() < 1e-3


@pytest.mark.parametrize("spread", [0.01, 3.0])  # almost even: far more than the first are needed; or few
def test_of_a_large_vocabulary_the_same_tokens_are_drawn_as_when_all_are_sorted(spread, monkeypatch):
    logits = torch.randn(6, 4000, generator=torch.Generator().manual_seed(3)) * spread
    draws = torch.rand(6, generator=torch.Generator().manual_seed(4))
    found = next_ids(logits, None, NO_STOP, draws, decoding(top_p=0.9))
    monkeypatch.setattr("llm.inference.decoding.SORTED", 4000)
    assert torch.equal(found, next_ids(logits, None, NO_STOP, draws, decoding(top_p=0.9)))


def test_penalty_is_that_of_transformers():
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(4))
    prompts = [[1, 2, 3], [4, 5, 6], [int(logits[2].argmax())] * 3]
    expected = RepetitionPenaltyLogitsProcessor(5.0)(torch.tensor(prompts), logits).argmax(1)
    how = decoding(temperature=0.0, repetition_penalty=5.0)
    assert torch.equal(next_ids(logits, mark_seen(prompts, V), NO_STOP, torch.zeros(3), how), expected)


def test_the_end_token_is_never_penalised():
    logits = torch.tensor([[2.0, 1.9, 0.0]])
    how = decoding(temperature=0.0, repetition_penalty=3.0)
    seen = mark_seen([[0]], 3)
    assert next_ids(logits, seen, NO_STOP, torch.zeros(1), how).item() == 1
    assert next_ids(logits, seen, torch.tensor([0]), torch.zeros(1), how).item() == 0


def test_top_k_of_one_is_greedy():
    logits = torch.randn(8, V, generator=torch.Generator().manual_seed(5))
    ids = next_ids(logits, None, NO_STOP, torch.rand(8), decoding(top_k=1))
    assert torch.equal(ids, logits.argmax(1))


def test_the_largest_draw_stays_among_the_kept_tokens():
    logits = torch.tensor([[3.0, 2.0, -20.0, -20.0]])
    draw = torch.tensor([1.0]).nextafter(torch.tensor([0.0]))
    assert next_ids(logits, None, NO_STOP, draw, decoding(top_p=0.9)).item() == 1


def test_draws_of_an_item_do_not_depend_on_the_others():
    a, b = ("How are you?",), ("What is a token?", "A piece of text.", "Why?")
    assert torch.equal(item_draws([a, b], decoding())[1], item_draws([b], decoding())[0])
    assert not torch.equal(item_draws([b], decoding())[0], item_draws([b], decoding(seed=2))[0])


@pytest.mark.parametrize(("name", "value"), [("temperature", -1.0), ("top_p", 0.0), ("max_reply_bytes", 0)])
def test_an_impossible_setting_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}"):
        decoding(**{name: value})


def test_the_first_items_are_greedy_where_that_is_asked_for():
    histories = [("How are you?",), ("Why?",), ("Who?",)]
    draws = item_draws(histories, decoding(), n_greedy=2)
    assert torch.equal(draws[2], item_draws(histories, decoding())[2])
    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(5))
    for draw in draws.T:
        ids = next_ids(logits, None, NO_STOP, draw, decoding(temperature=3.0))
        assert torch.equal(ids[:2], logits[:2].argmax(1))
        assert ids[2] == next_ids(logits[2:], None, NO_STOP, draw[2:], decoding(temperature=3.0))
