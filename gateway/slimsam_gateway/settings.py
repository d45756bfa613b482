"""The settings of a gateway, checked once at its start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slimsam_client import SettingsError, Tls
from slimsam_client.clicks.request import MAX_PROMPT_BYTES
from slimsam_client.clicks.upload import MAX_BYTES
from slimsam_client.quoting import quoted_value
from slimsam_client.transport.options import checked_seconds
from slimsam_gateway.keys import KeyRing
from slimsam_gateway.label_studio_settings import LabelStudioSettings

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
"""These names of the machine itself no page on another one can be given by DNS."""
ANY: Final = "*"

_ORIGIN: Final = re.compile(r"https?://[^/?#@\s,]+")
_HOST: Final = re.compile(r"\[[0-9a-f:.]+\]|[0-9a-z_.-]+")


@dataclass(frozen=True)
class GatewaySettings:
    """What a gateway is told.

    Attributes:
        url: host:port of the server's gRPC service.
        tls: as for `AsyncSlimSam`.
        headers: gRPC metadata of every request.
        keys: the keys of those who may ask; None lets everybody ask.
        hosts: names that the header Host may have beside those of loopback, without a port; "*"
            stands for any.
        origins: origins, such as https://app.example, whose pages may ask; "*" stands for any.
            Pages of the gateway's own address always may.
        timeout: seconds for a picture or a click, if the request does not say.
        max_timeout: the most seconds that a request may ask for, which everything mode has if the
            request does not say.
        max_image_bytes: bytes of a picture.
        max_prompt_bytes: bytes of a prompt.
        max_requests: pictures and clicks that are under way at once; more are answered 503.
        max_active_bytes: bytes that those of them bring at once which have more than a mebibyte;
            more are answered 503. The gateway holds four times as many.
        metrics: whether there is /metrics.
        cvat: whether CVAT finds functions here, as at Nuclio's dashboard.
        example: a picture that the page offers, to everybody who reaches it; None is a drawn scene.
        label_studio: the Label Studio whose ML backend this is; None if it is that of none.

    Raises:
        SettingsError: one of them is wrong.
    """

    url: str = "localhost:8001"
    tls: bool | Tls = False
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: KeyRing | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    timeout: float = 30.0
    max_timeout: float = 300.0
    max_image_bytes: int = MAX_BYTES
    max_prompt_bytes: int = MAX_PROMPT_BYTES
    max_requests: int = 64
    max_active_bytes: int = 2**28
    metrics: bool = False
    cvat: bool = False
    example: Path | None = None
    label_studio: LabelStudioSettings | None = None

    def __post_init__(self) -> None:
        for host in self.hosts:
            if host != ANY and not _HOST.fullmatch(host):
                raise SettingsError(
                    "hosts: expected names or addresses in lower case, without a port, such as "
                    f"gateway.example or [2001:db8::1], got {quoted_value(host)}"
                )
        for origin in self.origins:
            if origin != ANY and not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    "origins: expected origins such as https://app.example, without a path, "
                    f"got {quoted_value(origin)}"
                )
        checked_seconds(self.timeout)
        if checked_seconds(self.max_timeout) < self.timeout:
            raise SettingsError(
                f"max_timeout: expected at least timeout, {self.timeout:g} s, "
                f"got {self.max_timeout:g} s"
            )
        for name in ("max_image_bytes", "max_prompt_bytes", "max_requests", "max_active_bytes"):
            if getattr(self, name) < 1:
                raise SettingsError(
                    f"{name}: expected a number from 1, got {quoted_value(getattr(self, name))}"
                )
