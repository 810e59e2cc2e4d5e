"""Predicted hours and memory on GPUs, held to counts by other means."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llm.models.gpt import GPT
from llm.models.shape import ModelConfig
from stages.cards import CARDS, Card, finetune_flop, hours, most_rows, table, train_flop
from stages.estimate import corpus_tokens, scratch_weights
from stages.preset import preset_params

PAGE = "docs/full_scale.md"


@pytest.fixture
def coursework(monkeypatch, repository):
    monkeypatch.chdir(repository)
    return preset_params("coursework")


def test_the_page_has_the_table(coursework, repository):
    page = (repository / PAGE).read_text(encoding="utf-8")
    assert "\n".join(table(coursework)) in page


def test_a_step_takes_the_operations_that_torch_counts(coursework):
    """torch counts the square of attention too, and no embedding: together a tenth at 256 tokens."""
    shape = ModelConfig(**coursework["model"])
    with torch.device("meta"):
        model = GPT(dataclasses.replace(shape, dropout=0.0, attn_dropout=0.0), 30_000, torch.Generator())
        ids = torch.zeros(2, shape.context_length, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            (model.hidden(ids) @ model.head.T).sum().backward()
    counted = counter.get_total_flops() / ids.numel()
    assert counted == pytest.approx(6 * scratch_weights(coursework), rel=0.1)


def test_the_run_is_30_epochs_of_all_tokens_with_their_validations(coursework):
    training = 6 * scratch_weights(coursework) * 30 * corpus_tokens(coursework)
    assert training < train_flop(coursework) < 1.05 * training


def test_a_frozen_base_with_checkpointing_takes_three_forward_passes(coursework):
    tokens = corpus_tokens(coursework)
    assert finetune_flop(coursework) == pytest.approx(3 * 2 * 7.25e9 * tokens, rel=0.05)
    coursework["finetune"]["gradient_checkpointing"] = False
    assert finetune_flop(coursework) == pytest.approx(2 * 2 * 7.25e9 * tokens, rel=0.05)


def test_a_card_that_is_too_small_is_said_to_be(coursework):
    assert most_rows([(1, 16.6e9), (2, 17e9)], Card("small", 8, 30)) == "does not fit (16.6 GB)"
    assert most_rows([(1, 7e9), (2, 9e9)], Card("small", 8, 30)) == "7.0 GB at 1 row"


def test_a_card_of_twice_the_speed_takes_half_the_hours():
    assert hours(9e17, Card("a", 8, 100)) == "5.6 to 12.5"
    assert hours(9e17, Card("b", 8, 200)) == "2.8 to 6.2"
    assert len({card.name for card in CARDS}) == len(CARDS)
