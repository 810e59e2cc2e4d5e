"""Benchmarks of llm/tokens."""
