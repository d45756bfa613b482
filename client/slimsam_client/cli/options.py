"""What the commands' parsers share: kinds of values, and how to reach the server."""

from __future__ import annotations

import argparse
import os
import re

from slimsam_client.client import SlimSam
from slimsam_client.tls import Tls

DEFAULT_URL = "localhost:8001"


def add_connection(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Add the options that say how to reach the server.

    Args:
        parser: of a command.
        timeout: the default, in seconds.
    """
    group = parser.add_argument_group("server")
    group.add_argument(
        "--url",
        default=os.environ.get("SLIMSAM_URL") or DEFAULT_URL,
        metavar="HOST:PORT",
        help=f"its gRPC service; default: $SLIMSAM_URL, or {DEFAULT_URL}",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=timeout,
        metavar="S",
        help="seconds that one request may take; default: %(default)g",
    )
    group.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="gRPC metadata of every request, such as authorization:'Bearer ...'; may be repeated",
    )
    group.add_argument(
        "--tls", action="store_true", help="use TLS; any of the following files does so too"
    )
    group.add_argument(
        "--root-certificates",
        metavar="PEM",
        help="who may have signed the server's certificate; default: gRPC's own list",
    )
    group.add_argument(
        "--certificate-chain", metavar="PEM", help="the client's certificate, for mutual TLS"
    )
    group.add_argument("--private-key", metavar="PEM", help="the key of that certificate")


def connect(options: argparse.Namespace) -> SlimSam:
    """Make the client that the options ask for."""
    files = Tls(options.root_certificates, options.certificate_chain, options.private_key)
    return SlimSam(
        options.url,
        options.timeout,
        ssl=options.tls if files == Tls() else files,
        headers=dict(options.header),
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option for output that machines read."""
    parser.add_argument(
        "--json", action="store_true", help=f"print {what} as one JSON document, and nothing else"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option against progress."""
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="show no progress; only terminals are shown any"
    )


def seconds(text: str) -> float:
    """Read a time span."""
    try:
        value = float(text)
        if not 0 < value < float("inf"):
            raise ValueError
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}") from error
    return value


def count(text: str) -> int:
    """Read a whole number from 1."""
    try:
        value = int(text)
        if value < 1:
            raise ValueError
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a whole number above 0, got {text!r}"
        ) from error
    return value


def _header(text: str) -> tuple[str, str]:
    # What gRPC takes as metadata; it refuses the rest without saying which.
    match = re.fullmatch(r"([0-9A-Za-z_.-]+):\s*([ -~]*)", text)
    if match is None or match[1].lower().endswith("-bin"):
        raise argparse.ArgumentTypeError(
            "expected NAME:VALUE, a name of letters, digits, '_', '.' and '-' that does not end in "
            f"-bin, and a value of ASCII, got {text!r}"
        )
    return match[1], match[2]
