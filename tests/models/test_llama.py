import pytest
import torch

from llm.models.layers import mlp_width
from llm.models.llama import Llama
from llm.models.shape import ModelConfig

SHAPE = ModelConfig("llama", n_layer=3, n_head=4, n_embd=64, context_length=32, dropout=0.0, attn_dropout=0.0)


def weights_for_transformers(model: Llama) -> dict[str, torch.Tensor]:
    state = {"model.embed_tokens.weight": model.tokens.weight, "lm_head.weight": model.tokens.weight}
    state["model.norm.weight"] = model.norm_f.weight
    for i, block in enumerate(model.blocks):
        q, k, v = block.attn.qkv.weight.chunk(3)
        parts = {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v}
        parts |= {"self_attn.o_proj": block.attn.proj.weight, "mlp.down_proj": block.mlp.proj.weight}
        parts |= {"mlp.gate_proj": block.mlp.gate.weight, "mlp.up_proj": block.mlp.up.weight}
        parts |= {"input_layernorm": block.norm_1.weight, "post_attention_layernorm": block.norm_2.weight}
        state |= {f"model.layers.{i}.{name}.weight": weight for name, weight in parts.items()}
    return state


@pytest.mark.parametrize("family", ["Llama", "Mistral"])
def test_logits_equal_those_of_transformers_with_the_same_weights(family):
    import transformers

    config = getattr(transformers, f"{family}Config")(
        vocab_size=100, hidden_size=64, intermediate_size=mlp_width(64), num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=32, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    reference = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    model = Llama(SHAPE, 100, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    reference.load_state_dict(weights_for_transformers(model))
    ids = torch.randint(0, 100, (2, 20), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(model(ids), reference(ids).logits, atol=1e-5)


def test_packed_dialogues_get_the_hidden_states_they_get_alone():
    model = Llama(SHAPE, 100, torch.Generator().manual_seed(0)).eval()
    a, b = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[5, 6, 7]])
    packed = model.hidden(
        torch.cat([a, b], dim=1),
        positions=torch.tensor([[0, 1, 2, 3, 0, 1, 2]]),
        documents=torch.tensor([[0, 0, 0, 0, 1, 1, 1]]),
    )
    alone = torch.cat([model.hidden(a), model.hidden(b)], dim=1)
    assert torch.allclose(packed, alone, atol=1e-6)
