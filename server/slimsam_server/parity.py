"""Whether a server answers as the build of its artifacts did."""

from __future__ import annotations

from slimsam_client import ModelNotReadyError, SlimSam, SlimSamError
from slimsam_server.errors import ServerError
from slimsam_server.probe import may_serve

SECONDS = 60.0


def check_parity(url: str) -> None:
    """Compare a running server with the reference answer that slimsam_info has.

    A repository may do without slimsam_info, or have artifacts of before there was one: nothing is
    compared then, as `slimsam health` says. Nor is it where a server that was started again
    has so much to do that no answer comes in time.

    Args:
        url: host:port of the gRPC service.

    Raises:
        ServerError: it answers otherwise, or not at all.
    """
    with SlimSam(url, SECONDS) as sam:
        try:
            parity = sam.measure_parity()
        except ModelNotReadyError:
            return
        except SlimSamError as error:
            if may_serve(error):
                return
            raise ServerError(f"expected the build's reference answer, got: {error}") from error
    if parity.missed:
        info = parity.info
        raise ServerError(
            f"expected answers of {info.checkpoint} in {info.precision}, as the build of target "
            f"{info.target} measured, got others: {'; '.join(parity.missed)}; build the artifacts "
            "again, and with --backends look at the precision that they compute in"
        )
