"""Intervals, verdicts and the figures of a detector: numbers in, numbers out."""
