"""`slimsam-serve`: serve a model repository on this machine, in the foreground."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from slimsam_server.checks import ARTEFACTS
from slimsam_server.errors import ServerError
from slimsam_server.launch import EmbeddedServer

SECONDS_BETWEEN_LOOKS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until SIGTERM or SIGINT.

    Returns:
        0 after a signal; 1 if the server could not start or has died.
    """
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    server = EmbeddedServer(
        options.model_repository,
        options.target,
        options.grpc_port,
        options.metrics_port,
        options.verbose,
        options.allow_shared_memory,
    )

    def interrupt(number: int, frame: object) -> None:
        if stop.is_set():
            return
        stop.set()
        if not serving:
            raise _Interrupted  # while it starts: leave, and clean up on the way

    serving = False
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    try:
        server.start()
        serving = True
        print(
            f"ready: grpc {server.grpc_url}, metrics {server.metrics_url}, "
            f"target {options.target}, models {' '.join(server.models())}",
            flush=True,
        )
        while not stop.wait(SECONDS_BETWEEN_LOOKS):
            if failure := server.failure():
                raise ServerError(failure)
    except ServerError as error:
        print(f"slimsam-serve: error: {error}", file=sys.stderr)
        return 1
    except _Interrupted:
        pass
    finally:
        server.stop()
    return 0


class _Interrupted(BaseException):
    """A signal came while the server was starting."""


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
        "--target", default="openvino", choices=sorted(ARTEFACTS), help="default: %(default)s"
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
