import pytest
import torch

from llm.checkpoint import save_tensors
from llm.files import write_json
from llm.gpt import GPT
from llm.llama import Llama
from llm.models import build_model, describe_model, load_gpt, n_parameters
from llm.shape import ModelConfig

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "context_length": 16, "dropout": 0.0, "attn_dropout": 0.0}


@pytest.mark.parametrize(("name", "kind"), [("gpt2", GPT), ("llama", Llama)])
def test_a_saved_model_gives_the_same_logits(tmp_path, name, kind):
    model = build_model(ModelConfig(architecture=name, **SHAPE), 30, torch.Generator().manual_seed(1)).eval()
    save_tensors(tmp_path / "best.safetensors", dict(model.named_parameters()))
    write_json(tmp_path / "config.json", describe_model(model))
    loaded = load_gpt(tmp_path)
    ids = torch.arange(12)[None]
    assert isinstance(loaded, kind)
    assert torch.equal(loaded(ids), model(ids))


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
