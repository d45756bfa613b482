"""When a request is worth another attempt, and after what pause.

Not gRPC's own retry policy (grpc/proposal A6): it ends after five attempts, which a restart of a
server outlasts, and it makes those who have the wrong address wait as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from tritonclient.utils import InferenceServerException

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0


def pauses() -> Iterator[float]:
    """Give the seconds to wait before each further attempt, without end.

    They double up to a limit, and are jittered, so that the clients of a server that comes back
    do not all arrive at once.
    """
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST_PAUSE)


def is_passing(error: InferenceServerException) -> bool:
    """Whether a server that is away, or about to go, may be the reason of an error.

    Such a request has not been answered, and repeating an inference does no harm.
    """
    said = str(error.message())
    if error.status() == "StatusCode.UNAVAILABLE":
        # Triton says so for a missing header, too: --grpc-restricted-protocol.
        return "protocol is restricted" not in said
    # And this (2.51) between unloading its models and closing its port.
    return error.status() == "StatusCode.NOT_FOUND" and "has no available versions" in said
