"""A Mistral checkpoint of the layout of mistralai/Mistral-7B-v0.3, reduced in width alone: a model that tests can run.

32 layers of 32 heads that share 8 keys and values, three bf16 shards with their index, a tokenizer of the true kind
(BPE over ▁-marked words with byte fallback, control tokens before the bytes), no padding token, no chat template.
"""

import json
from pathlib import Path
from typing import Any

import torch

SEED = 1
SHARD_BYTES = 1_400_000
SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
INDEX = "model.safetensors.index.json"
# Ids 0 to 9 as published; 761 of the control tokens are left out here.
CONTROL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[control_8]"),
)
LEARNED = 150  # ids of the vocabulary behind the control tokens and the bytes
PUBLISHED: dict[str, Any] = {  # config.json of mistralai/Mistral-7B-v0.3
    "architectures": ["MistralForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.0.dev0",
    "use_cache": True,
    "vocab_size": 32768,
}
CONFIG = PUBLISHED | {"hidden_size": 64, "intermediate_size": 224, "vocab_size": len(CONTROL) + 256 + LEARNED}
TOKENIZER_CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "clean_up_tokenization_spaces": False,
    "eos_token": "</s>",
    "legacy": False,
    "model_max_length": 1000000000000000019884624838656,
    "pad_token": None,
    "sp_model_kwargs": {},
    "spaces_between_special_tokens": False,
    "tokenizer_class": "LlamaTokenizer",
    "unk_token": "<unk>",
    "use_default_system_prompt": False,
}
TEXTS = [
    "What is a neuron? A neuron sums its inputs and passes the sum on.",
    "Why is the sky blue? Air scatters blue light more than red light.",
    "How do you do? I am well, thank you, and how are you today?",
    "Say it again, please. Then we talk about the weather, the river and the town.",
]
CARD = "README.md"
EXTRA = {
    "consolidated.safetensors": b"the weights once more",
    "params.json": b"{}",
    CARD: b"---\nlicense: apache-2.0\n---\n# Mistral\n",
}


def write_sharded_mistral(folder: Path) -> None:
    """Write the checkpoint, and beside it what the hub's repository holds that nobody here wants."""
    _write_weights(folder)
    _write_json(folder / "config.json", CONFIG)
    generation = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}
    _write_json(folder / "generation_config.json", generation | {"transformers_version": "4.42.0.dev0"})
    _write_tokenizer(folder)
    for name, content in EXTRA.items():
        (folder / name).write_bytes(content)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _write_weights(folder: Path) -> None:
    """Write the shards and their index."""
    from transformers import MistralConfig, MistralForCausalLM

    model = MistralForCausalLM(MistralConfig(**CONFIG))
    generator = torch.Generator().manual_seed(SEED)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=CONFIG["initializer_range"], generator=generator)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=SHARD_BYTES)


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids and merges learned on TEXTS, behind the control tokens and the 256 bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    fixed = [*CONTROL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=len(fixed) + LEARNED, special_tokens=fixed, show_progress=False)
    learner.train_from_iterator(TEXTS, trainer)
    learned = json.loads(learner.to_str())["model"]
    return learned["vocab"], [tuple(pair) for pair in learned["merges"]]


def _write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json as Mistral's converter does from its SentencePiece model."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    vocab, merges = _vocabulary()
    assert len(vocab) == CONFIG["vocab_size"]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    replace, strip = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse(), strip])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROL])
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {
        str(i): {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
        | {"special": True}
        for i, token in enumerate(CONTROL)
    }
    _write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG | {"added_tokens_decoder": added})
    specials = {name: TOKENIZER_CONFIG[name] for name in ("bos_token", "eos_token", "unk_token")}
    _write_json(folder / "special_tokens_map.json", specials)
