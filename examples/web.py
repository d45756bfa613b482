"""`make web`: build, serve, and a page to click in.

    python examples/web.py                                  # as `make web`
    python examples/web.py --checkpoint DIR --image photo.jpg --port 8080

The options' values come from `CHECKPOINT=` and `IMAGE=`; an empty one is as none.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from artifacts import REPOSITORY, ROOT, prepare

from slimsam_server import EmbeddedServer
from slimsam_server.ports import free_port

LOG: Final = ROOT / "demo-output" / "gateway.log"
PORT: Final = 8000
START_SECONDS: Final = 60.0


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Build, serve, and a page to click in.")
    parser.add_argument(
        "--checkpoint", metavar="NAME", help="demo, a directory, or an id on the hub"
    )
    parser.add_argument("--image", metavar="FILE", help="a picture that the page begins with")
    parser.add_argument(
        "--port", type=int, help=f"where the page is; default: {PORT}, or a free one if it is taken"
    )
    options = parser.parse_args()
    if options.image and not Path(options.image).is_file():
        parser.error(f"--image: expected a file, got {options.image}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    prepare(options.checkpoint or None)
    print("starting tritonserver and the gateway on loopback")
    port = options.port or (PORT if _is_free(PORT) else free_port())
    with (
        suppress(KeyboardInterrupt),
        EmbeddedServer(REPOSITORY) as server,
        gateway(server.grpc_url, port, options.image) as process,
    ):
        address = f"http://localhost:{port}/#example"
        print(f"  gRPC {server.grpc_url}; requests of the page: {LOG.relative_to(ROOT)}")
        print(f"click in {address} (Ctrl-C ends it)", flush=True)
        if sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            webbrowser.open(address)
        process.wait()


@contextmanager
def gateway(url: str, port: int, image: str | None) -> Iterator[subprocess.Popen[str]]:
    """Run slimsam-gateway once it answers; end it afterwards."""
    LOG.parent.mkdir(exist_ok=True)
    command = [str(Path(sys.executable).parent / "slimsam-gateway"), "--server", url]
    command += ["--port", str(port), *(["--example", image] if image else [])]
    with LOG.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)
    try:
        end = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"slimsam-gateway did not start:\n{LOG.read_text()}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def _is_free(port: int) -> bool:
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    # A proxy of the environment does not lead to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/v1", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
