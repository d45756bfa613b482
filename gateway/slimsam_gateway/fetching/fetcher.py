"""Fetches pictures: from configured origins, bounded in size and time, a token to its own origin.

Every address on the way is checked as the first one is, so that a redirect leads nowhere else, and
is connected to by the IP address that was checked.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import Final

import h11

from slimsam_client.quoting import quoted, quoted_value
from slimsam_gateway.admission import Take
from slimsam_gateway.fetching.addresses import addresses_of, is_public
from slimsam_gateway.fetching.http import Answer, TooLong, exchange
from slimsam_gateway.fetching.origins import Address, Sources, parse
from slimsam_gateway.fetching.token import Token
from slimsam_gateway.problems import PICTURE_FETCH, PICTURE_SOURCE, Problem

MAX_REDIRECTS: Final = 4
MAX_TOKEN_BYTES: Final = 2**16
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_PICTURE: Final = re.compile(r"image/.*|[a-z]+/octet-stream|")
_ETAG: Final = re.compile(r'(W/)?"[!#-~]{0,200}"')


@dataclass(frozen=True)
class Fetched:
    """What became of a picture.

    Attributes:
        content: its file; None if it is as it was.
        etag: by which one may ask next time whether it still is; None if the origin gives none.
    """

    content: bytes | None
    etag: str | None


class Fetcher:
    """Fetches pictures.

    Args:
        sources: where from.
        token: what the home origin asks for. No other one sees it.
        max_bytes: bytes of a picture.
        seconds: how long one may take, with its redirects.
    """

    def __init__(self, sources: Sources, token: str, max_bytes: int, seconds: float) -> None:
        self._sources = sources
        self._token = Token(token)
        self._max_bytes, self._seconds = max_bytes, seconds
        self._secure: ssl.SSLContext | None = None

    async def fetch(self, url: str, etag: str | None = None, take: Take | None = None) -> Fetched:
        """Fetch a picture.

        Args:
            url: where it is; a relative address is of the home origin.
            etag: that of the picture that is known; None if none is.
            take: takes room for the picture; None where nothing is counted.

        Raises:
            Problem: it may not be fetched, it cannot be, it is no picture, or there is no room.
        """
        try:
            return await asyncio.wait_for(self._fetch(url, etag, take), self._seconds)
        except asyncio.TimeoutError:
            raise Problem(
                PICTURE_FETCH,
                f"picture: expected all of it within {self._seconds:g} s, got a part or nothing; "
                "look at what serves it",
            ) from None

    async def _fetch(self, url: str, etag: str | None, take: Take | None) -> Fetched:
        address = self._checked(url, self._sources.home, "picture")
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._asked(address, etag, take)
            if answer.status in _REDIRECTS and "location" in answer.headers:
                address = self._checked(answer.headers["location"], address.url, "redirect")
                continue
            if answer.status == 304 and etag is not None:
                return Fetched(None, etag)
            return self._picture(address, answer)
        raise Problem(
            PICTURE_FETCH,
            f"picture: expected at most {MAX_REDIRECTS} redirects from {address.origin}, got more; "
            "look at what serves it",
        )

    def _checked(self, url: str, base: str, what: str) -> Address:
        """Take an address apart, if something may be fetched from there.

        Messages have its origin alone: the rest may be a secret by which anybody may fetch it.
        """
        try:
            address = parse(url, base)
        except ValueError as error:
            raise Problem(
                PICTURE_SOURCE,
                f"{what}: expected an address of http or https, got one with {quoted(str(error))}",
            ) from None
        if not self._sources.allows(address):
            raise Problem(
                PICTURE_SOURCE,
                f"{what}: expected an origin that is configured, got "
                f"{quoted_value(address.origin)}; {PICTURE_SOURCE.advice}",
            )
        return address

    async def _asked(self, address: Address, etag: str | None, take: Take | None) -> Answer:
        # To one who wants pictures alone Label Studio answers 406, though it would send one.
        headers = {"Accept": "*/*"} | ({} if etag is None else {"If-None-Match": etag})
        if address.origin != self._sources.home:
            return await self._exchanged(address, headers, self._max_bytes, take=take)
        used = await self._authorization()
        answer = await self._exchanged(
            address, {**headers, "Authorization": used}, self._max_bytes, take=take
        )
        if answer.status != 401 or not self._token.is_personal:
            return answer
        # Others may have been refused before, or be at the exchange: theirs is as good.
        self._token.expire(used)
        headers["Authorization"] = await self._authorization()
        return await self._exchanged(address, headers, self._max_bytes, take=take)

    async def _authorization(self) -> str:
        async def post(path: str, content: bytes) -> bytes:
            address = parse(path, self._sources.home)
            headers = {"Content-Type": "application/json"}
            answer = await self._exchanged(address, headers, MAX_TOKEN_BYTES, content)
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            return answer.body

        try:
            return await self._token.header(post)
        except (RecursionError, ValueError) as error:
            raise Problem(
                PICTURE_FETCH,
                f"token: expected {self._sources.home} to exchange it for an access token, got "
                f"{quoted(str(error))}; have the operator renew it",
            ) from None

    async def _exchanged(
        self,
        address: Address,
        headers: dict[str, str],
        max_bytes: int,
        content: bytes | None = None,
        take: Take | None = None,
    ) -> Answer:
        try:
            hosts = await addresses_of(address.host, address.port)
            if not self._sources.may_be_private(address) and not all(map(is_public, hosts)):
                raise Problem(
                    PICTURE_SOURCE,
                    f"picture: expected {address.origin} at a public address, got a private one; "
                    "have the operator name it by --private-picture-origin, if it is right",
                )
            if self._secure is None and address.scheme == "https":
                # All authorities of the system are read: too long for a loop, and for each click.
                self._secure = await asyncio.to_thread(ssl.create_default_context)
            return await exchange(address, hosts, headers, max_bytes, self._secure, content, take)
        except TooLong:
            raise Problem(
                PICTURE_FETCH,
                f"picture: expected at most {max_bytes:,} bytes from {address.origin}, got more; "
                "make it smaller, or have the operator give more by --max-image-bytes",
            ) from None
        except (OSError, h11.ProtocolError, UnicodeError) as error:
            raise Problem(
                PICTURE_FETCH,
                f"picture: expected an answer of {address.origin}, got {quoted(str(error))}",
            ) from None

    def _picture(self, address: Address, answer: Answer) -> Fetched:
        if answer.status != 200:
            refused = answer.status in (401, 403) and address.origin == self._sources.home
            advice = "; have the operator look at the token" if refused else ""
            raise Problem(
                PICTURE_FETCH,
                f"picture: expected {address.origin} to answer 200, got {answer.status}{advice}",
            )
        coding = answer.headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise Problem(
                PICTURE_FETCH,
                f"picture: expected no Content-Encoding of {address.origin}, got "
                f"{quoted_value(coding)}",
            )
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not _PICTURE.fullmatch(kind):
            raise Problem(
                PICTURE_FETCH,
                f"picture: expected one from {address.origin}, got the Content-Type "
                f"{quoted_value(kind)}",
            )
        etag = answer.headers.get("etag", "")
        return Fetched(answer.body, etag if _ETAG.fullmatch(etag) else None)
