import pytest
import torch
from transformers import MistralConfig
from transformers.cache_utils import DynamicCache, DynamicLayer

from llm.inference.hub_cache import ROOM, new_cache

LENGTHS = [5, 1, 1, ROOM, 1, 1, 2 * ROOM + 3, 1]


@pytest.mark.parametrize("dropped_after", [None, 0, 4])
def test_it_holds_what_the_cache_of_transformers_holds(dropped_after):
    config = MistralConfig(num_hidden_layers=2, sliding_window=None)
    ours, theirs = new_cache(config), DynamicCache(config=config)
    draw, rows = torch.Generator().manual_seed(1), 3
    for step, length in enumerate(LENGTHS):
        for layer in range(2):
            keys, values = (torch.randn(rows, 2, length, 4, generator=draw) for _ in range(2))
            found, expected = (cache.update(keys, values, layer) for cache in (ours, theirs))
            assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        assert ours.get_seq_length() == theirs.get_seq_length() == sum(LENGTHS[: step + 1])
        if step == dropped_after:
            rows = 2
            for cache in (ours, theirs):
                cache.batch_select_indices(torch.tensor([0, 2]))


def test_a_token_is_written_behind_what_is_there():
    cache = new_cache(MistralConfig(num_hidden_layers=1, sliding_window=None))
    states = torch.randn(2, 2, 1, 4)
    places = {cache.update(states, states, 0)[0].data_ptr() for _ in range(ROOM)}
    assert len(places) == 1


def test_layers_with_a_sliding_window_stay_those_of_transformers():
    (layer,) = new_cache(MistralConfig(num_hidden_layers=1, sliding_window=8)).layers
    assert layer.is_sliding and isinstance(layer, DynamicLayer)
