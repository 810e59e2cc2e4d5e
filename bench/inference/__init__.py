"""Benchmarks of llm/inference."""
