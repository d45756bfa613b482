"""`slimsam-serve`: serve a model repository on this machine, in the foreground."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slimsam_client import SlimSam
from slimsam_server.errors import ServerError
from slimsam_server.launch import EmbeddedServer
from slimsam_server.monitor import PROBE_SECONDS
from slimsam_server.supervisor import Supervisor
from slimsam_server.targets import SERVED_HERE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until SIGTERM or SIGINT.

    Returns:
        0 after a signal; 1 if the server could not start, or has died and is not to be started
        again.
    """
    options = _parser().parse_args(arguments)
    try:
        server = EmbeddedServer(
            options.model_repository,
            options.target,
            options.grpc_port,
            options.metrics_port,
            options.verbose,
            options.allow_shared_memory,
            options.backends,
        )
    except ServerError as error:
        print(f"slimsam-serve: error: {error}", file=sys.stderr)
        return 1

    def ready() -> str:
        return (
            f"ready: grpc {server.grpc_url}, metrics {server.metrics_url}, "
            f"target {options.target}, models {' '.join(server.models())}"
        )

    def connect() -> SlimSam:
        return SlimSam(server.grpc_url, PROBE_SECONDS)

    return Supervisor("slimsam-serve", server, connect, ready, options.restart).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slimsam-serve", description=__doc__)
    parser.add_argument(
        "--model-repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--target", default="openvino", choices=sorted(SERVED_HERE), help="default: %(default)s"
    )
    parser.add_argument(
        "--grpc-port", type=int, default=8001, metavar="N", help="default: %(default)s; 0: any free"
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=8002,
        metavar="N",
        help="default: %(default)s; 0: any free",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show Triton's own log on standard error"
    )
    parser.add_argument(
        "--allow-shared-memory",
        action="store_true",
        help="let clients on this machine send tensors through shared memory; trust all its users",
    )
    parser.add_argument(
        "--backends",
        type=Path,
        metavar="DIR",
        help="Triton's own C++ backends of 24.10, such as its container's "
        "/opt/tritonserver/backends; default: stand-ins in Python",
    )
    parser.add_argument(
        "--no-restart",
        dest="restart",
        action="store_false",
        help="end with exit status 1 when the server or a model has failed; "
        "default: start the server again, after pauses that grow",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
