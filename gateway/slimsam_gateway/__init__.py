"""The HTTP gateway of SlimSAM on Triton: REST and JSON before the server's gRPC."""

from __future__ import annotations

from slimsam_gateway.app import create_app
from slimsam_gateway.settings import GatewaySettings

__all__ = ["GatewaySettings", "create_app"]
