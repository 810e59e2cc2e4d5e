import pytest
import torch

from llm.files import write_json
from llm.models.gpt import GPT
from llm.models.kernel_choice import Kernels
from llm.models.llama import Llama
from llm.models.registry import build_model, describe_model, load_gpt, n_parameters
from llm.models.shape import ModelConfig
from llm.training.checkpoint import save_tensors
from tests.machines.doubles import using

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "context_length": 16, "dropout": 0.0, "attn_dropout": 0.0}


@pytest.mark.parametrize(("name", "kind"), [("gpt2", GPT), ("llama", Llama), ("qwen3", Llama)])
def test_a_saved_model_gives_the_same_logits(tmp_path, name, kind):
    model = build_model(ModelConfig(architecture=name, **SHAPE), 30, torch.Generator().manual_seed(1)).eval()
    save_tensors(tmp_path / "best.safetensors", dict(model.named_parameters()))
    write_json(tmp_path / "config.json", describe_model(model))
    loaded = load_gpt(tmp_path)
    ids = torch.arange(12)[None]
    assert isinstance(loaded, kind)
    assert torch.equal(loaded(ids), model(ids))


PACKED = {
    "positions": torch.tensor([[*range(7), *range(9)]] * 3),
    "documents": torch.tensor([[0] * 7 + [1] * 9] * 3),
}


def states_and_gradients(model, ids):
    states = model.hidden(ids, **{name: t.to(ids.device) for name, t in PACKED.items()})
    states.square().sum().backward()
    return states.float(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_every_machine_computes_the_states_and_gradients_of_our_own_kernels(machine, name):
    model = build_model(ModelConfig(architecture=name, **SHAPE), 30, torch.Generator().manual_seed(1)).double()
    ids = torch.randint(0, 30, (3, 16), generator=torch.Generator().manual_seed(2))
    with using(Kernels(*8 * [True])):
        expected = states_and_gradients(model, ids)
    model.zero_grad()
    # cosines and masks are made in fp32
    torch.testing.assert_close(states_and_gradients(model, ids), expected, rtol=1e-6, atol=1e-6)
    model = model.float()
    if machine.device != "cpu":
        with torch.autocast("cpu", torch.bfloat16):  # as on CUDA; bf16 keeps 8 bits
            torch.testing.assert_close(states_and_gradients(model, ids)[0], expected[0].float(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_another_device_computes_everything_itself(name):
    shape = ModelConfig(architecture=name, **{**SHAPE, "dropout": 0.1, "attn_dropout": 0.1})
    with torch.device("meta"):  # no numbers, but every operation has to find its tensors there
        model = build_model(shape, 30)
        states, gradients = states_and_gradients(model, torch.zeros(3, 16, dtype=torch.long))
    assert states.shape == (3, 16, 16) and states.is_meta
    assert all(gradient.is_meta for gradient in gradients)


@pytest.mark.parametrize("other", ["lacks a setting", "has an unknown one", "has no vocabulary", "has other weights"])
def test_a_model_of_another_version_is_called_that_in_a_sentence(tmp_path, other):
    model = build_model(ModelConfig(architecture="gpt2", **SHAPE), 30, torch.Generator().manual_seed(1))
    weights, config = dict(model.named_parameters()), describe_model(model)
    if other == "lacks a setting":
        del config["attn_dropout"]
    elif other == "has an unknown one":
        config["n_kv_head"] = 2
    elif other == "has no vocabulary":
        del config["vocab_size"]
    else:
        weights["renamed"] = weights.popitem()[1]
    save_tensors(tmp_path / "best.safetensors", weights)
    write_json(tmp_path / "config.json", config)
    with pytest.raises(ValueError, match=r"is of another version: run `dvc repro train_scratch` \(") as refused:
        load_gpt(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_missing_model_names_the_stage_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="dvc repro train_scratch"):
        load_gpt(tmp_path)


def test_tied_weights_count_once():
    # embedding 30*16, positions 16*16, two blocks of 12*16*16 + 13*16, closing norm 2*16
    model = build_model(ModelConfig(architecture="gpt2", **SHAPE), 30)
    assert n_parameters(model) == 30 * 16 + 16 * 16 + 2 * (12 * 16 * 16 + 13 * 16) + 2 * 16


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="n_embd 192 is not a multiple of n_head 5"):
        ModelConfig("gpt2", n_layer=1, n_head=5, n_embd=192, context_length=16, dropout=0.0, attn_dropout=0.0)
