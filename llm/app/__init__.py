"""What people meet outside of the pipeline: cards of models, and models published."""
