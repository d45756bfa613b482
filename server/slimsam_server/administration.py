"""Who may administer a tritonserver over gRPC: whoever has the key, or nobody."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from slimsam_server.errors import ServerError

RESTRICTED: Final = ("model-repository", "shared-memory", "trace", "logging")
"""The protocols that administer a server."""
KEY_VARIABLE: Final = "SLIMSAM_ADMIN_KEY"
"""The environment has the key here: a command line can be read by every user of the machine."""
HEADER: Final = "admin-key"
"""The key comes in the header triton-grpc-protocol-admin-key."""
UNSENDABLE_HEADER: Final = "Nobody"
"""No request can have a header of this name: HTTP/2 knows no capitals in names (RFC 9113, section
8.2.1), and gRPC's server ends a request that has one. Were that not so, its value is random."""


def restriction(protocols: Sequence[str] = RESTRICTED, key: str | None = None) -> str:
    """Give tritonserver's flag that closes protocols to all but who has the key.

    The flag is Triton's only way to be told, so the key stands in its command line. Without one
    nothing there is worth reading.

    Args:
        protocols: names of Triton's groups of gRPC calls.
        key: the header's value, printable ASCII; None or "" closes the protocols to everybody.

    Raises:
        ServerError: the key cannot be sent in a header.
    """
    name, value = (HEADER, key) if key else (UNSENDABLE_HEADER, secrets.token_hex(16))
    if not (value.isascii() and value.isprintable() and value == value.strip()):
        raise ServerError(
            f"{KEY_VARIABLE}: expected printable ASCII without spaces around it, "
            "which a header can carry, got something else; `openssl rand -hex 16` makes a key"
        )
    return f"--grpc-restricted-protocol={','.join(protocols)}:{name}={value}"
