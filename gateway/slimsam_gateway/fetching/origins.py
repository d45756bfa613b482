"""Origins: scheme, host and port, of which some are configured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

PORTS: Final = {"http": 80, "https": 443}
MAX_URL: Final = 4096
"""Characters of an address; presigned ones have a thousand or two."""
_HOST: Final = re.compile(r"[0-9a-z_.-]+|[0-9a-f:]*:[0-9a-f:.]+")
_SAFE: Final = "/:@!$&'()*+,;=~%?"
_UNSAFE: Final = re.compile(r"[\\\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Address:
    """An address that was taken apart.

    Attributes:
        scheme: "http" or "https".
        host: a name or an IP address, in lower case and without brackets.
        port: from 1 to 65535.
        target: path and query, in ASCII.
    """

    scheme: str
    host: str
    port: int
    target: str = "/"

    @property
    def authority(self) -> str:
        """Host and port as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, the same text for the same origin."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """All of it."""
        return self.origin + self.target


@dataclass(frozen=True)
class Sources:
    """Where pictures may be fetched from; origins as `origin_of` gives them.

    Attributes:
        home: the origin that relative addresses belong to. It may be anywhere.
        public: others, whose hosts have to be at public addresses.
        private: others, whose hosts may be anywhere.
    """

    home: str
    public: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()

    def allows(self, address: Address) -> bool:
        """Whether something may be fetched from there."""
        return address.origin in self.public or self.may_be_private(address)

    def may_be_private(self, address: Address) -> bool:
        """Whether its host may be at an address that is not public."""
        return address.origin == self.home or address.origin in self.private


def origin_of(text: str) -> str:
    """Give an origin, such as https://labels.example, in the one form that is compared.

    Raises:
        ValueError: it is none, or has a path, a query, or a user.
    """
    address = parse(text)
    if address.target != "/" or "?" in text or "#" in text:
        raise ValueError("something behind the host and the port")
    return address.origin


def parse(text: str, base: str | None = None) -> Address:
    """Take an address apart.

    Args:
        text: the address; the characters that URLs have not are quoted.
        base: what a relative one is relative to.

    Raises:
        ValueError: it is none of http or https.
    """
    if len(text) > MAX_URL:
        raise ValueError(f"more than {MAX_URL:,} characters")
    # Readers of URLs differ in what these mean, so there is no right answer to give.
    if _UNSAFE.search(text):
        raise ValueError("a backslash or a control character")
    parts = urlsplit(text if base is None else urljoin(base, text))
    if parts.scheme not in PORTS:
        raise ValueError("another scheme than http and https")
    if "@" in parts.netloc:
        raise ValueError("a user before the host")
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise ValueError("no host")
    port = parts.port if parts.port is not None else PORTS[parts.scheme]
    if port == 0:
        raise ValueError("port 0")
    target = quote(parts.path or "/", safe=_SAFE.replace("?", ""))
    if parts.query:
        target += "?" + quote(parts.query, safe=_SAFE)
    return Address(parts.scheme, host, port, target)
