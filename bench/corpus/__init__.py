"""Benchmarks of llm/corpus."""
