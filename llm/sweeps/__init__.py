"""Searches over parameters: the space, the study that proposes trials, and the clones in which workers run them."""
