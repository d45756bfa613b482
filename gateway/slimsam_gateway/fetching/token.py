"""The token by which Label Studio knows the gateway, and the header that has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

REFRESH: Final = "/api/token/refresh"
Post = Callable[[str, bytes], Awaitable[bytes]]
"""Posts JSON to a path of the token's own origin, and gives the answer's JSON."""


class Token:
    """A legacy token, or a personal access token.

    The latter is a JSON Web Token, which is exchanged for another one that holds for minutes.

    Args:
        text: the token.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._access: str | None = None
        self._exchanging = asyncio.Lock()

    @property
    def is_personal(self) -> bool:
        """Whether it is to be exchanged."""
        return self._text.count(".") == 2

    async def header(self, post: Post) -> str:
        """Give the value of Authorization; of those who ask at once, one makes the exchange.

        Raises:
            ValueError: the exchange gave no token.
        """
        if not self.is_personal:
            return f"Token {self._text}"
        async with self._exchanging:
            if self._access is None:
                answer = await post(REFRESH, json.dumps({"refresh": self._text}).encode())
                content = json.loads(answer)
                access = content.get("access") if isinstance(content, dict) else None
                if not isinstance(access, str) or not access.isascii() or not access.isprintable():
                    raise ValueError("no access token")
                self._access = access
            return f"Bearer {self._access}"

    def expire(self, used: str) -> None:
        """Forget what the exchange gave, unless it has given something else meanwhile.

        Args:
            used: the header that was refused.
        """
        if used == f"Bearer {self._access}":
            self._access = None
