"""Benchmarks of llm/training."""
