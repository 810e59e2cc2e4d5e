"""Faults at random moments of real runs of the pipeline: `python -m tests.chaos --help`."""
