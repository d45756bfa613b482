"""The reasons for which a server does not open the shared memory of a client."""

from __future__ import annotations

from slimsam_client.errors import AccessDeniedError, SharedMemoryError, SlimSamError


def shared_memory_refused(error: SlimSamError) -> SharedMemoryError | None:
    """Give the error for a server that does not share memory; None if it failed otherwise.

    Args:
        error: the error of the attempt to register a region.
    """
    details = str(error)
    if "open shared memory region" in details:
        return SharedMemoryError(
            "shared_memory: expected a server on this host, of the same user and with the same "
            "/dev/shm (docker run --ipc=host), this one cannot open this process's memory; "
            f"do without shared_memory ({details})"
        )
    denied = isinstance(error, AccessDeniedError)
    # Triton 26.04 and later say "Client shared memory is disabled"; there are also servers that are
    # not Triton.
    if denied or "shared memory" in details or "UNIMPLEMENTED" in details:
        return SharedMemoryError(
            "shared_memory: expected a server that allows it, this one does not; start it with "
            "slimsam-serve --allow-shared-memory, or tritonserver with --allow-client-shm=true and "
            "shared-memory not among its restricted protocols; or do without shared_memory "
            f"({details})"
        )
    return None
