import dataclasses

import pytest
import torch

from llm.inference.hub_cache import new_cache
from llm.training.lora import FinetuneConfig, PackedModel, add_lora
from stages.needs import (
    FROZEN,
    GB,
    KNOWN,
    MLP,
    Choice,
    base_shape,
    choice_lines,
    choices,
    disk_bytes,
    finetune_bytes,
    memory_needs,
    read_shape,
)
from stages.params import load, read_params
from stages.preset import render
from tests.sharded_mistral import PUBLISHED

MISTRAL, SMOLLM2 = KNOWN["mistralai/Mistral-7B-v0.3"], KNOWN["smollm2-135m"]
RANK, T = 16, 64


def preset(repository, tmp_path, name):
    path = tmp_path / "params.yaml"
    path.write_text(render(name, repository / "presets"), encoding="utf-8")
    return read_params(path)


def real_model(shape, device="meta", n_layer=None, dtype=torch.float32):
    """The class that is fine-tuned, in that shape; on the device `meta` it has no weights."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.n_embd,
        intermediate_size=shape.inner,
        num_hidden_layers=n_layer or shape.n_layer,
        num_attention_heads=shape.n_embd // 64,
        num_key_value_heads=shape.n_kv // 64,
        head_dim=64,
        tie_word_embeddings=shape.tied,
        sliding_window=None,
    )
    with torch.device(device):
        return MistralForCausalLM(config).to(dtype)


@pytest.fixture
def finetune(repository):
    """The section `finetune` of the preset `laptop`."""
    return load("finetune", FinetuneConfig, repository / "presets/laptop.yaml")


def test_weights_are_those_of_the_real_class_on_the_meta_device():
    assert SMOLLM2.weights == 134_515_008 == real_model(SMOLLM2).num_parameters()


def published_mistral():
    """Mistral 7B v0.3 by its own config.json, without weights."""
    from transformers import MistralConfig, MistralForCausalLM

    with torch.device("meta"):
        return MistralForCausalLM(MistralConfig(**PUBLISHED)).to(torch.bfloat16)


def test_mistral_7b_is_counted_as_its_own_config_makes_it():
    model = published_mistral()
    assert read_shape(PUBLISHED) == MISTRAL
    assert MISTRAL.weights == model.num_parameters() == 7_248_023_552
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    assert 2 * MISTRAL.weights == held == 14_496_047_104  # total_size of the index that the hub has
    blocks = sum(p.numel() for p in model.model.layers.parameters() if p.dim() == 2)
    assert (MISTRAL.block_weights, MISTRAL.other_weights) == (blocks, model.num_parameters() - blocks)


@pytest.mark.parametrize(("shape", "trained"), [(MISTRAL, 41_943_040), (SMOLLM2, 4_884_480)])
def test_adapter_weights_are_those_that_peft_adds(shape, trained, finetune):
    model = add_lora(published_mistral() if shape is MISTRAL else real_model(shape), finetune)
    adapters = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in adapters} == {torch.float32}  # whose updates bf16 would round away
    assert shape.adapter_weights(finetune.lora_r) == sum(p.numel() for p in adapters) == trained


def test_a_batch_of_replies_keeps_the_bytes_that_the_real_cache_does(repository, tmp_path):
    """Keys and values of a pass of the preset coursework, beside the weights, on the card it was made for."""
    model = real_model(dataclasses.replace(MISTRAL, vocab_size=64), n_layer=2).to(torch.bfloat16)
    cache = new_cache(model.config)
    model(torch.zeros(2, T, dtype=torch.long, device="meta"), past_key_values=cache, use_cache=True)
    kept = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    assert 2 * dataclasses.replace(MISTRAL, n_layer=2).cache_numbers == kept / (2 * T)
    params = preset(repository, tmp_path, "coursework")
    tokens, needs = params["evaluate"]["batch_tokens"], memory_needs(params, MISTRAL, "cuda", 2)
    assert 2 * (MISTRAL.weights + tokens * MISTRAL.cache_numbers) < needs["evaluate"] < 24 * 2**30


def test_what_qlora_trained_is_evaluated_where_it_was_trained(repository, tmp_path):
    params = preset(repository, tmp_path, "coursework")
    params["finetune"]["quantize"] = "nf4"
    params["evaluate"]["batch_tokens"] = 4096
    assert memory_needs(params, MISTRAL, "cuda", 2)["evaluate"] < 8 * 2**30 < 2 * MISTRAL.weights


def kept_bytes(shape, n_layer, tokens, dtype, checkpointing, finetune):
    """Bytes of all tensors but parameters that the forward pass of the real model keeps for the backward pass."""
    finetune = dataclasses.replace(finetune, gradient_checkpointing=checkpointing)
    model = PackedModel(add_lora(real_model(shape, "cpu", n_layer, dtype), finetune)).train()
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def note(t):
        if t.untyped_storage().data_ptr() not in weights:
            kept[t.untyped_storage().data_ptr()] = t
        return t

    ids = torch.zeros(1, tokens, dtype=torch.long)
    half = torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t), half:
        model.hidden(ids, torch.arange(tokens)[None], ids)
    return sum(t.untyped_storage().nbytes() for t in kept.values())


@pytest.mark.parametrize(("dtype", "checkpointing"), [(torch.float32, 0), (torch.bfloat16, 0), (torch.float32, 1)])
def test_what_a_block_keeps_of_a_token_is_what_the_real_one_keeps(dtype, checkpointing, finetune):
    """Of one block and one token more: the second differences leave out what does not grow with both."""
    shape = dataclasses.replace(SMOLLM2, vocab_size=64)
    kept = {
        (n, tokens): kept_bytes(shape, n, tokens, dtype, bool(checkpointing), finetune)
        for n in (1, 2)
        for tokens in (T, 2 * T)
    }
    found = (kept[2, 2 * T] - kept[1, 2 * T] - kept[2, T] + kept[1, T]) / T
    number = dtype.itemsize
    widths = shape.n_embd if checkpointing else FROZEN[number] * shape.n_embd + MLP * shape.inner
    assert number * widths == pytest.approx(found, rel=0.02)


def fits(choice, gib):
    return finetune_bytes(MISTRAL, RANK, choice, "cuda", 2) <= gib * 2**30


def test_7b_fits_cards_as_people_know_them():
    assert fits(Choice("none", True, 512, 4), 24)  # the preset coursework's card
    assert fits(Choice("nf4", True, 256, 1), 8)
    assert not fits(Choice("none", True, 256, 1), 8)  # 14.5 GB of weights
    assert not fits(Choice("none", False, 2048, 4), 24)


def test_four_bits_are_offered_on_cuda_only():
    assert {choice.quantize for choice in choices("cuda")} == {"none", "nf4"}
    assert {choice.quantize for choice in choices("cpu")} == {"none"}


def test_each_method_says_what_fits_or_how_much_it_would_take():
    lines = choice_lines(MISTRAL, RANK, "cuda", 2, 8 * 2**30)
    assert [line.partition(":")[0] for line in lines] == [
        *("LoRA", "LoRA, checkpointing", "QLoRA", "QLoRA, checkpointing")
    ]
    assert "does not fit, takes" in lines[0] and " x " in lines[3]


def test_laptop_needs_the_memory_and_disk_that_it_took(repository, tmp_path):
    params = preset(repository, tmp_path, "laptop")
    needs = memory_needs(params, SMOLLM2, "cpu", 4)
    assert needs["finetune_mistral"] / GB == pytest.approx(2.6, rel=0.1)
    assert 0.6 < disk_bytes(params, SMOLLM2) / GB < 1.5


def test_nothing_is_counted_of_a_fine_tune_that_is_switched_off(repository, tmp_path):
    params = preset(repository, tmp_path, "laptop")
    params["finetune"]["enabled"] = False
    assert set(memory_needs(params, SMOLLM2, "cpu", 4)) == {"train_scratch", "evaluate"}


def test_a_local_model_s_shape_is_read_from_its_config(tmp_path):
    from llm.hub.tiny import generate_tiny

    generate_tiny(tmp_path)
    assert base_shape(str(tmp_path)) == KNOWN["tiny"]
    assert base_shape("someone/model") is None
    with pytest.raises(LookupError):
        read_shape({"n_embd": 64})
