"""Texts to rows of token ids: tokenizer, packing, canaries."""
