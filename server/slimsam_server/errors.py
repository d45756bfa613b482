"""What can keep the embedded server from serving."""

from __future__ import annotations


class ServerError(Exception):
    """The server cannot start or has stopped; the message says why and what to do."""
