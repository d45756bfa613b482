"""Reading the pictures of a batch: what fails for one of them, and what for this whole machine."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slimsam_client.batch.locations import UnreadableError, is_url, local_path
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.plan import Plan
from slimsam_client.batch.retrying import CredentialsError, StorageError
from slimsam_client.batch.store import Store
from slimsam_client.errors import ImageError
from slimsam_client.quoting import quoted

SAMPLE: Final = 8
"""So many pictures of other shards are tried where none of a shard can be read."""


async def read_picture(picture: Picture, store: Store) -> bytes:
    """Read an encoded picture.

    Args:
        picture: the picture.
        store: where the batch lies.

    Raises:
        ImageError: it cannot be read, or the place where it lies does not answer.
        StorageError: the batch's own store fails, or this machine has no credentials.
    """
    try:
        return await asyncio.to_thread(picture.read)
    except StorageError as error:
        if isinstance(error, CredentialsError) or store.holds(picture.place):
            raise
        cause = error.__cause__
        raise ImageError(
            f"{picture.place}: expected an answer, got "
            f"{quoted(f'{type(cause).__name__}: {cause}')}; check the address"
        ) from error


async def check_machine(
    plan: Plan, store: Store, shard: int, pictures: Sequence[Picture], reason: str
) -> None:
    """Refuse a shard's result, of which all pictures failed, where this machine is to blame.

    It is where it lacks the pictures. A file that is missing by itself leaves others in its folder;
    and where a folder is gone, or one URL is dead, those of other shards are not.

    Args:
        plan: the batch.
        store: where it lies.
        shard: the shard.
        pictures: its pictures.
        reason: why the first of them failed.

    Raises:
        StorageError: this machine lacks the pictures.
    """
    local = [picture for picture in pictures if not is_url(picture.place)]
    lacking = await asyncio.to_thread(lambda: all(map(_is_lacking, local)))
    if lacking and not await _any_can_be_read(await _sample(plan, store, shard, pictures)):
        raise StorageError(
            f"expected the pictures of shard {shard}, {len(pictures)} from {pictures[0].place} on, "
            f"got none of them on this machine ({quoted(reason, 300)}); have it see "
            f"{plan.task.source} where the machine of the plan did, and run the same again"
        )


def _is_lacking(picture: Picture) -> bool:
    path = Path(local_path(picture.place))
    if os.path.lexists(path):
        return False
    if picture.span is not None or picture.row is not None:
        return True  # the one file is all of the source, or many pictures of it
    try:
        with os.scandir(path.parent) as entries:  # empty is where nothing is mounted
            return next(entries, None) is None
    except OSError:
        return True


async def _sample(
    plan: Plan, store: Store, shard: int, pictures: Sequence[Picture]
) -> list[Picture]:
    """Some pictures of a shard, and of others."""
    found = random.sample(pictures, min(len(pictures), SAMPLE))
    others = [other for other in range(plan.shards) if other != shard]
    for other in random.sample(others, min(len(others), SAMPLE)):
        found.append(random.choice(await asyncio.to_thread(plan.pictures, store, other)))
    return found


async def _any_can_be_read(pictures: Sequence[Picture]) -> bool:
    def can_be_read(picture: Picture) -> bool:
        try:
            picture.read()
        except (UnreadableError, StorageError):
            return False
        except ImageError:  # it was read, and is none
            return True
        return True

    tried = [asyncio.to_thread(can_be_read, picture) for picture in pictures]
    return any(await asyncio.gather(*tried))
