"""The hallucination judge: is an answer false? Features, fitting, checks."""
