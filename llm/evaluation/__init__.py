"""What is asked of a model, what its answers amount to, and the pictures of it."""
