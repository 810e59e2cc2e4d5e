"""Benchmarks of llm/evaluation."""
