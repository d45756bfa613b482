"""What the answers to small inferences mean, and the first one after a start."""

from __future__ import annotations

from typing import Final

from slimsam_client import (
    AccessDeniedError,
    ContractError,
    RequestTimeoutError,
    ServerBusyError,
    ServerError as ClientServerError,
    ServerUnavailableError,
    SlimSam,
    SlimSamError,
    Tls,
)
from slimsam_client.contract import ENSEMBLE
from slimsam_client.probes import probe_model

FIRST_PROBE_SECONDS: Final = 60.0
"""How long the first inference after a start may take."""


def ask(sam: SlimSam, model: str, seconds: float) -> SlimSamError | None:
    """Have a model answer once.

    Args:
        sam: a client of the server, with this timeout.
        model: a key of `PROBES`.
        seconds: the timeout.

    Returns:
        None if it answered, else what came instead.
    """
    try:
        probe_model(sam, model, seconds)
    except SlimSamError as error:
        return error
    return None


def probe(
    url: str, timeout: float = FIRST_PROBE_SECONDS, tls: bool | Tls = False
) -> SlimSamError | None:
    """Segment an empty image by one click.

    Args:
        url: host:port of the gRPC service.
        timeout: seconds that it may take.
        tls: as for `SlimSam`.

    Returns:
        None if masks came back, else what came instead.
    """
    with SlimSam(url, timeout, tls=tls) as sam:
        return ask(sam, ENSEMBLE.name, timeout)


def may_serve(error: SlimSamError) -> bool:
    """Say whether a server that serves answers so, too: if it has much to do, or wants a key."""
    return isinstance(error, RequestTimeoutError | ServerBusyError | AccessDeniedError)


def is_broken(error: SlimSamError) -> bool:
    """Say whether only a broken model gives this answer: INTERNAL and its kin, or nonsense.

    Timeouts, full queues and connections that break are no sign of it: load does that.
    """
    return isinstance(error, ClientServerError | ContractError)


def is_silence(error: SlimSamError | None) -> bool:
    """Say whether nothing came at all."""
    return isinstance(error, RequestTimeoutError | ServerUnavailableError)
