"""Clients whose server is killed, stopped and attacked, and whether each gets its own answer."""
