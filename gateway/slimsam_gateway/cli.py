"""`slimsam-gateway`: the gateway as a command."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn

import uvicorn

from slimsam_client import SettingsError, SlimSamError
from slimsam_client.cli.messages import printable
from slimsam_client.cli.options import add_connection, count, headers_of, seconds, tls_of
from slimsam_client.cli.status import FAILED, OK, USAGE
from slimsam_gateway.app import create_app
from slimsam_gateway.heap import give_back_large_buffers
from slimsam_gateway.keys import KeyRing
from slimsam_gateway.label_studio_settings import LabelStudioSettings, read_token
from slimsam_gateway.listening import listening, running_beside
from slimsam_gateway.metrics import Metrics
from slimsam_gateway.settings import GatewaySettings

PROGRAM: Final = "slimsam-gateway"
DEFAULTS: Final = GatewaySettings()
LABEL_STUDIO_TOKEN: Final = "SLIMSAM_LABEL_STUDIO_TOKEN"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, until SIGINT or SIGTERM.

    Returns:
        The exit status.
    """
    parser = command_parser()
    options = parser.parse_args(arguments)
    give_back_large_buffers()
    try:
        settings = _settings(options)
        if settings.keys is None and not is_loopback(options.host):
            parser.error(
                f"--host: expected a loopback address without --keys, got {options.host}; "
                "whoever reaches the gateway could use the server"
            )
        metrics = Metrics()
        app = create_app(settings, metrics=metrics)
    except SlimSamError as error:
        parser.error(str(error))
    server = uvicorn.Server(listening(app, options.host, options.port))
    with contextlib.ExitStack() as stack:
        if options.metrics_port is not None:
            config = listening(metrics.app(), options.host, options.metrics_port)
            if not stack.enter_context(running_beside(config)).started:
                return FAILED
        # uvicorn raises Ctrl-C again after its end, and exits by itself where it cannot start.
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            server.run()
    return OK if server.started else FAILED


def command_parser() -> argparse.ArgumentParser:
    """Give the parser of the command's options."""
    parser = _Parser(
        prog=PROGRAM,
        description="REST and JSON before a Triton server that serves SlimSAM.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version(PROGRAM))
    add_connection(parser, DEFAULTS.timeout, "--server")
    group = parser.add_argument_group("gateway")
    group.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where it listens; %(default)s"
    )
    group.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="%(default)s; 0 takes a free one"
    )
    group.add_argument(
        "--keys",
        metavar="FILE",
        help="a name and the SHA-256 of its key in each line; needed beyond loopback",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that the header Host may have, beside --host and loopback's; may be repeated",
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="an origin whose pages may ask, such as https://app.example; may be repeated",
    )
    group.add_argument(
        "--metrics", action="store_true", help="serve /metrics, with a key like the rest"
    )
    group.add_argument(
        "--metrics-port",
        type=_port,
        metavar="N",
        help="serve /metrics alone on this port of --host, without a key, for any name of it",
    )
    group.add_argument(
        "--cvat", action="store_true", help="answer CVAT in the place of Nuclio's dashboard"
    )
    group.add_argument(
        "--example",
        type=Path,
        metavar="FILE",
        help="a picture that the page offers to everybody who reaches it; default: a drawn scene",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-timeout",
        type=seconds,
        default=DEFAULTS.max_timeout,
        metavar="S",
        help="seconds that a request may ask for at most; default: %(default)g",
    )
    limits.add_argument(
        "--max-image-bytes",
        type=count,
        default=DEFAULTS.max_image_bytes,
        metavar="N",
        help="bytes of a picture; default: %(default)s",
    )
    limits.add_argument(
        "--max-requests",
        type=count,
        default=DEFAULTS.max_requests,
        metavar="N",
        help="pictures and clicks under way at once; default: %(default)s",
    )
    limits.add_argument(
        "--max-active-bytes",
        type=count,
        default=DEFAULTS.max_active_bytes,
        metavar="N",
        help="bytes that they bring at once, each of more than a mebibyte; default: %(default)s",
    )
    _add_label_studio(parser)
    return parser


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print in one line what is wrong."""
        self.exit(USAGE, f"{self.prog}: error: {printable(message)}; see {self.prog} --help\n")


def _add_label_studio(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Label Studio")
    group.add_argument(
        "--label-studio",
        metavar="URL",
        help="be the ML backend of the Label Studio of this origin, at /label-studio",
    )
    group.add_argument(
        "--label-studio-token",
        metavar="FILE",
        help="the token by which it hands out its pictures; "
        f"default: the variable ${LABEL_STUDIO_TOKEN} itself",
    )
    group.add_argument(
        "--picture-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a further origin of pictures, at public addresses; may be repeated",
    )
    group.add_argument(
        "--private-picture-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="the same, at any address; may be repeated",
    )


def _label_studio(options: argparse.Namespace) -> LabelStudioSettings | None:
    if options.label_studio is None:
        if options.label_studio_token or options.picture_origin or options.private_picture_origin:
            raise SettingsError(
                "--label-studio-token, --picture-origin, --private-picture-origin: expected "
                "--label-studio beside them, got none"
            )
        return None
    path = options.label_studio_token
    token = os.environ.get(LABEL_STUDIO_TOKEN, "") if path is None else read_token(path)
    return LabelStudioSettings(
        options.label_studio,
        token,
        tuple(options.picture_origin),
        tuple(options.private_picture_origin),
    )


def _settings(options: argparse.Namespace) -> GatewaySettings:
    listens = f"[{options.host}]" if ":" in options.host else options.host.lower()
    named = () if _is_unspecified(options.host) else (listens,)
    return GatewaySettings(
        url=options.url,
        tls=tls_of(options),
        headers=headers_of(options),
        keys=None if options.keys is None else KeyRing.read(options.keys),
        hosts=(*named, *options.allow_host),
        origins=tuple(options.allow_origin),
        timeout=options.timeout,
        max_timeout=options.max_timeout,
        max_image_bytes=options.max_image_bytes,
        max_requests=options.max_requests,
        max_active_bytes=options.max_active_bytes,
        metrics=options.metrics,
        cvat=options.cvat,
        example=options.example,
        label_studio=_label_studio(options),
    )


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
