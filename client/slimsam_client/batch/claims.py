"""Claims on shards: who works on which, and who does not any more.

A claim is a file that is created if there is none, so one worker has it. Its worker writes it anew
while it lives; who waits sees by that, and by its own clock, whether it does: the workers' clocks
need not agree. The next claim on the same shard is a file of the next number. So nothing is ever
taken away from a worker but by a file that only one can create.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Final

from slimsam_client.batch.plan import shard_name
from slimsam_client.batch.store import Store

FOLDER: Final = "claims"
FREE: Final = ".free"
"""A file of a claim's name and this suffix says that its worker has given it up."""
BEATS_PER_LEASE: Final = 4


@dataclass(frozen=True)
class Claim:
    """A shard that this worker may work on.

    Attributes:
        shard: the shard.
        number: how many claims there were on it before.
    """

    shard: int
    number: int

    @property
    def key(self) -> str:
        """The claim's file."""
        return f"{FOLDER}/{shard_name(self.shard)}-{self.number:04}"


class Claims:
    """The claims of a batch, as one worker sees them.

    Args:
        store: where the batch lies.
        worker: name of this worker, for people who look.
        lease: seconds after which a worker that gives no sign has lost its shard.
    """

    def __init__(self, store: Store, worker: str, lease: float) -> None:
        self._store = store
        self._lease = lease
        self._token = f"{worker} {secrets.token_hex(8)}"
        self._beats = 0
        self._looked = float("-inf")
        self._newest: dict[int, tuple[int, str, bool]] = {}
        self._seen: dict[int, tuple[tuple[int, str], float]] = {}

    def look(self) -> None:
        """List all claims, and note since when each gives no sign."""
        self._looked = time.monotonic()  # what is listed may be as old as this
        listed = self._store.versions(FOLDER)
        self._newest = {}
        for key, version in listed.items():
            shard, number = _parsed(key)
            if key.endswith(FREE):
                continue
            if shard not in self._newest or number > self._newest[shard][0]:
                self._newest[shard] = number, version, f"{key}{FREE}" in listed
        now = time.monotonic()
        for shard, (number, version, _) in self._newest.items():
            if self._seen.get(shard, (None, now))[0] != (number, version):
                self._seen[shard] = (number, version), now

    def take(self, shard: int) -> Claim | None:
        """Claim a shard that is free, as far as is known; None if it is not, or not any more."""
        number = 0
        if shard in self._newest:
            last, _, free = self._newest[shard]
            # Up to the last look: of what was done since then nothing is known.
            silent = self._looked - self._seen[shard][1]
            if not free and silent < self._lease:
                return None
            number = last + 1
        claim = Claim(shard, number)
        content = self._token.encode()
        if self._store.create(claim.key, content) or self._store.read(claim.key) == content:
            return claim
        self._newest[shard] = number, "", False
        self._seen[shard] = (number, ""), time.monotonic()
        return None

    def beat(self, claim: Claim) -> bool:
        """Give a sign of life; give whether the claim still holds."""
        if self._is_lost(claim):
            return False
        self._beats += 1
        self._store.replace(claim.key, f"{self._token} {self._beats}".encode())
        return True

    def give_up(self, claim: Claim) -> None:
        """Say that somebody else may have the shard at once."""
        self._store.create(f"{claim.key}{FREE}", self._token.encode())

    def _is_lost(self, claim: Claim) -> bool:
        try:
            self._store.read(Claim(claim.shard, claim.number + 1).key)
        except FileNotFoundError:
            return False
        return True

    @property
    def seconds_between_beats(self) -> float:
        """How often to `beat`, and to `look` while there is nothing to take."""
        return self._lease / BEATS_PER_LEASE


def _parsed(key: str) -> tuple[int, int]:
    shard, number = key.rpartition("/")[2].removesuffix(FREE).split("-")
    return int(shard), int(number)
