"""Options and types of values that the commands share, among them those of the connection."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import TypeVar

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.client import SlimSam
from slimsam_client.errors import SettingsError
from slimsam_client.everything import GenerateSettings
from slimsam_client.transport.options import checked_header
from slimsam_client.transport.tls import Tls

DEFAULT_URL = "localhost:8001"

C = TypeVar("C", SlimSam, AsyncSlimSam)


def add_connection(parser: argparse.ArgumentParser, timeout: float, address: str = "--url") -> None:
    """Add the options that say how to reach the server.

    Args:
        parser: parser of a command.
        timeout: the default timeout, in seconds.
        address: the name of the option that has the server's address.
    """
    group = parser.add_argument_group("server")
    group.add_argument(
        address,
        dest="url",
        default=os.environ.get("SLIMSAM_URL") or DEFAULT_URL,
        metavar="HOST:PORT",
        help=f"its gRPC service; default: $SLIMSAM_URL, or {DEFAULT_URL}",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=timeout,
        metavar="S",
        help="seconds that one request may take; default: %(default)s",
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
        default=os.environ.get("SLIMSAM_ROOT_CERTIFICATES") or None,
        metavar="PEM",
        help="who may have signed the server's certificate; default: $SLIMSAM_ROOT_CERTIFICATES, "
        "or gRPC's own list",
    )
    group.add_argument(
        "--certificate-chain",
        default=os.environ.get("SLIMSAM_CERTIFICATE_CHAIN") or None,
        metavar="PEM",
        help="the client's certificate, for mutual TLS; default: $SLIMSAM_CERTIFICATE_CHAIN",
    )
    group.add_argument(
        "--private-key",
        default=os.environ.get("SLIMSAM_PRIVATE_KEY") or None,
        metavar="PEM",
        help="the key of that certificate; default: $SLIMSAM_PRIVATE_KEY",
    )


def connect(options: argparse.Namespace, client: type[C]) -> C:
    """Make the client that the options ask for."""
    return client(options.url, options.timeout, tls=tls_of(options), headers=headers_of(options))


def headers_of(options: argparse.Namespace) -> dict[str, str]:
    """Give the headers that the options ask for.

    Raises:
        SettingsError: a name is there twice.
    """
    headers: dict[str, str] = {}
    for name, value in options.header:
        if name in headers:
            raise SettingsError(f"--header: expected each name once, got {name} twice")
        headers[name] = value
    return headers


def tls_of(options: argparse.Namespace) -> bool | Tls:
    """Give a client's `tls` as the options ask for it."""
    files = Tls(options.root_certificates, options.certificate_chain, options.private_key)
    return options.tls if files == Tls() else files


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings of everything mode, which are those of `GenerateSettings`."""
    group = parser.add_argument_group("settings")
    for setting in dataclasses.fields(GenerateSettings):
        kind = type(setting.default)
        text, low, high = (setting.metadata[key] for key in ("text", "low", "high"))
        group.add_argument(
            "--" + setting.name.replace("_", "-"),
            type=kind,
            default=setting.default,
            metavar="N" if kind is int else "X",
            help=f"{text}, {low} to {high}; default: {setting.default:.4g}",
        )


def settings_of(options: argparse.Namespace) -> GenerateSettings:
    """Give the settings that the options ask for."""
    return GenerateSettings(
        **{
            setting.name: getattr(options, setting.name)
            for setting in dataclasses.fields(GenerateSettings)
        }
    )


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where everything mode runs."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--on-server",
        action="store_true",
        default=None,
        dest="on_server",
        help="run in the server's model slimsam_automatic, one request per image; "
        "the default where the server has it",
    )
    where.add_argument(
        "--in-client",
        action="store_false",
        dest="on_server",
        help="run here, with one request per batch of points",
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option for output that machines read."""
    parser.add_argument(
        "--json", action="store_true", help=f"print {what} as one JSON document, and nothing else"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option that switches progress off."""
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
    name, colon, value = text.partition(":")
    try:
        if not colon:
            raise SettingsError("headers: expected NAME:VALUE, there is no colon")
        return checked_header(name, value.lstrip())
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("headers: ")) from error
