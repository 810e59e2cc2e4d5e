import math

import pytest
import torch

from llm.models.gpt import GPT
from llm.models.registry import n_parameters
from llm.models.shape import ModelConfig

SHAPE = ModelConfig("gpt2", n_layer=3, n_head=4, n_embd=32, context_length=24, dropout=0.1, attn_dropout=0.0)


def gpt(shape: ModelConfig = SHAPE, vocab_size: int = 61, seed: int = 1) -> GPT:
    return GPT(shape, vocab_size, torch.Generator().manual_seed(seed)).eval()


def copy_to_transformers(model: GPT):
    from transformers import GPT2Config, GPT2LMHeadModel

    c = model.config
    sizes = {"n_layer": c.n_layer, "n_head": c.n_head, "n_embd": c.n_embd, "n_positions": c.context_length}
    reference = GPT2LMHeadModel(GPT2Config(vocab_size=model.vocab_size, **sizes)).eval()
    state = {
        "wte.weight": model.tokens.weight,
        "wpe.weight": model.positions.weight,
        "ln_f.weight": model.ln_f.weight,
        "ln_f.bias": model.ln_f.bias,
    }
    for i, block in enumerate(model.blocks):
        names = {"ln_1": block.ln_1, "ln_2": block.ln_2, "attn.c_attn": block.attn.qkv, "attn.c_proj": block.attn.proj}
        names |= {"mlp.c_fc": block.mlp.fc, "mlp.c_proj": block.mlp.proj}
        for name, module in names.items():
            linear = isinstance(module, torch.nn.Linear)  # GPT-2's Conv1D holds the transposed matrix
            state[f"h.{i}.{name}.weight"] = module.weight.T if linear else module.weight
            state[f"h.{i}.{name}.bias"] = module.bias
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms start at 0 and 1: make them count
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    reference.transformer.load_state_dict(state, strict=False)
    return reference


def test_logits_equal_those_of_transformers_with_the_same_weights():
    model = gpt()
    reference = copy_to_transformers(model)
    ids = torch.randint(0, 61, (3, 24), generator=torch.Generator().manual_seed(2))
    assert torch.allclose(model(ids), reference(ids).logits, atol=1e-5)


def test_gradients_equal_those_of_transformers():
    model = gpt()
    reference = copy_to_transformers(model)
    ids = torch.randint(0, 61, (2, 10), generator=torch.Generator().manual_seed(2))
    model(ids).square().mean().backward()
    reference(ids).logits.square().mean().backward()
    assert torch.allclose(model.tokens.weight.grad, reference.transformer.wte.weight.grad, atol=1e-5)


def test_the_coursework_shape_has_124_million_parameters_with_the_vocabulary_of_gpt_2():
    shape = ModelConfig("gpt2", n_layer=12, n_head=12, n_embd=768, context_length=1024, dropout=0.1, attn_dropout=0.1)
    with torch.device("meta"):
        assert n_parameters(GPT(shape, 50257)) == 124_439_808  # Radford et al. 2019, as released


def test_an_untrained_model_is_about_uniform():
    ids = torch.randint(0, 61, (4, 24), generator=torch.Generator().manual_seed(2))
    loss = torch.nn.functional.cross_entropy(gpt()(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(61), rel=0.02)


def test_a_token_does_not_see_the_tokens_after_it():
    model = gpt()
    ids = torch.randint(0, 61, (1, 12), generator=torch.Generator().manual_seed(2))
    changed = ids.clone()
    changed[0, 8:] = (changed[0, 8:] + 1) % 61
    assert torch.equal(model(ids)[0, :8], model(changed)[0, :8])


def test_packed_dialogues_get_the_hidden_states_they_get_alone():
    model = gpt()
    a, b = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[5, 6, 7]])
    packed = model.hidden(
        torch.cat([a, b], dim=1),
        positions=torch.tensor([[0, 1, 2, 3, 0, 1, 2]]),
        documents=torch.tensor([[0, 0, 0, 0, 1, 1, 1]]),
    )
    alone = torch.cat([model.hidden(a), model.hidden(b)], dim=1)
    assert torch.allclose(packed, alone, atol=1e-6)


def test_dropout_works_in_training_only():
    model, ids = gpt(), torch.arange(8)[None]
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


def test_equal_seeds_give_equal_weights():
    assert torch.equal(gpt(seed=5).blocks[1].mlp.fc.weight, gpt(seed=5).blocks[1].mlp.fc.weight)
    assert not torch.equal(gpt(seed=5).blocks[1].mlp.fc.weight, gpt(seed=6).blocks[1].mlp.fc.weight)
