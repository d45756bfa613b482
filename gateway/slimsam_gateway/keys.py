"""API keys: a file of names and of the SHA-256 of each key, never the keys themselves."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from slimsam_client import SettingsError
from slimsam_client.quoting import quoted_value

_LINE: Final = re.compile(r"([0-9A-Za-z._-]{1,64})\s+([0-9a-fA-F]{64})")


class KeyRing:
    """Names by keys, of which the digests alone are known.

    SHA-256 without salt or rounds is right for keys of 128 random bits and more, which nobody can
    guess; it is not for passwords.

    Args:
        digests: pairs of a name and the SHA-256 of a key. A name may have several keys, so that one
            can be replaced by the next.
    """

    def __init__(self, digests: Iterable[tuple[str, bytes]]) -> None:
        self._digests = tuple(digests)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> KeyRing:
        """Read a file: a name and 64 hexadecimal digits in each line, comments behind #.

        Raises:
            SettingsError: it cannot be read, a line is something else, or there is none.
        """
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
            raise SettingsError(
                f"keys: expected a readable file, got {quoted_value(os.fspath(path))}: {reason}"
            ) from error
        digests = []
        for number, line in enumerate(text.splitlines(), 1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            match = _LINE.fullmatch(content)
            if match is None:  # the line may be a key that somebody wrote there, so it is not shown
                raise SettingsError(
                    f"keys: line {number}: expected a name of letters, digits, '.', '_' and '-', "
                    "and the SHA-256 of its key as 64 hexadecimal digits, got something else"
                )
            digests.append((match[1], bytes.fromhex(match[2])))
        if not digests:
            raise SettingsError(
                f"keys: expected at least one line, got none in {quoted_value(os.fspath(path))}"
            )
        return cls(digests)

    def name_of(self, token: str) -> str | None:
        """Give the name that a key belongs to; None if nobody has it.

        How long it takes does not tell which digest is nearly that of the token.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for name, known in self._digests:
            if hmac.compare_digest(digest, known):
                found = name
        return found
