"""Serves the SlimSAM model repository with a real tritonserver on one machine."""

from __future__ import annotations

from slimsam_server.errors import ServerError
from slimsam_server.launch import EmbeddedServer

__all__ = ["EmbeddedServer", "ServerError"]
