"""The settings of the gateway's side of Label Studio."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from slimsam_client import SettingsError
from slimsam_client.quoting import quoted_value
from slimsam_client.transport.options import checked_seconds
from slimsam_gateway.fetching.origins import Sources, origin_of


@dataclass(frozen=True)
class LabelStudioSettings:
    """What the gateway is told of a Label Studio.

    Attributes:
        url: its origin, such as https://labels.example, as the gateway reaches it; it may be at any
            address.
        token: by which it hands out its pictures: a legacy token or a personal access token.
        picture_origins: further origins of pictures, at public addresses.
        private_picture_origins: further origins of pictures, at any address.
        fetch_seconds: how long a picture may take to come.

    Raises:
        SettingsError: one of them is wrong.
    """

    url: str
    token: str = field(repr=False)
    picture_origins: tuple[str, ...] = ()
    private_picture_origins: tuple[str, ...] = ()
    fetch_seconds: float = 20.0

    def __post_init__(self) -> None:
        self.sources  # noqa: B018 - it raises
        if not self.token or not self.token.isascii() or not self.token.isprintable():
            raise SettingsError(
                "Label Studio's token: expected one line of ASCII, got something else; copy it "
                "from the account's settings"
            )
        checked_seconds(self.fetch_seconds)

    @property
    def sources(self) -> Sources:
        """Where pictures may be fetched from."""
        return Sources(
            _origin("label_studio", self.url),
            frozenset(_origin("picture_origins", one) for one in self.picture_origins),
            frozenset(
                _origin("private_picture_origins", one) for one in self.private_picture_origins
            ),
        )


def read_token(path: str | os.PathLike[str]) -> str:
    """Read a token from a file, which has nothing else.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise SettingsError(
            "Label Studio's token: expected a readable file, got "
            f"{quoted_value(os.fspath(path))}: {reason}"
        ) from error


def _origin(name: str, text: str) -> str:
    try:
        return origin_of(text)
    except ValueError as error:
        raise SettingsError(
            f"{name}: expected an origin such as https://labels.example, without a path, got "
            f"{quoted_value(text)}: {error}"
        ) from None
