"""The hallucination judge: is an answer false? Features, trees, fitting, checks."""
