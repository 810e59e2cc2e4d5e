"""A GPT from scratch and a fine-tuned Mistral, trained and compared on the same conversations."""
