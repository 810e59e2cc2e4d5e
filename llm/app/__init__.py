"""Talking to the models: in the terminal, and by a server with a page."""
