"""What people meet: talking to the models in the terminal and on a page, and the report on a run."""
