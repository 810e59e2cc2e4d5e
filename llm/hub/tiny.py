"""A Mistral of two layers with random weights: for tests, and to see in seconds that everything runs."""

from pathlib import Path

from llm.hub import smollm2

NAME = "tiny Mistral of random weights"
SEED = 1
STD = 0.02
STEPS = 2**16  # to either side of 0: whole numbers are drawn alike on every processor, normal ones are not
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}


def generate_tiny(folder: Path) -> None:
    """Write the model and its tokenizer over single bytes in Hugging Face form; equal each time, no network."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import MistralConfig, MistralForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>"]
    tokenizer = smollm2.byte_level_tokenizer(
        {token: i for i, token in enumerate([*special, *alphabet])},
        merges=[],
        special=special,
        split_digits=False,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )
    config = MistralConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        sliding_window=None,
        tie_word_embeddings=True,
        **SHAPE,  # type: ignore[arg-type]
    )
    model = MistralForCausalLM(config)
    generator = torch.Generator().manual_seed(SEED)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            steps = torch.randint(-STEPS, STEPS + 1, parameter.shape, generator=generator)
            parameter.data = steps * (3**0.5 * STD / STEPS)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
