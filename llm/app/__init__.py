"""What people meet: talking to the models, the report on a run, and models carried elsewhere."""
