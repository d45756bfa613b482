"""The server's models that a request needs, and the server may do without."""

from __future__ import annotations

from slimsam_client.contract import ModelSpec
from slimsam_client.relay import Relay
from slimsam_gateway.problems import NOT_READY, Problem


async def require(relay: Relay, *specs: ModelSpec) -> None:
    """Ask whether the server serves models, before a picture is sent in vain.

    Raises:
        Problem: it does not serve one of them, or not yet.
    """
    missing = await relay.first_missing(*specs)
    if missing is not None:
        raise Problem(
            NOT_READY,
            f"expected a server that serves {missing.name}, this one does not (yet); "
            f"{NOT_READY.advice}, or have the operator add the model",
        )
