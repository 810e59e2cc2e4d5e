"""The one training loop and its parts: optimizers, schedule, checkpoints, processes, LoRA."""
