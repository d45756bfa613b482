"""The version of the four distributions; their `pyproject.toml` files read it here."""

__version__ = "0.1.0"
