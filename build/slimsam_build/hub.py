"""Checkpoints on the Hugging Face hub: one commit of a repository, in the local cache."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from slimsam_build.checkpoint_files import CONFIG, EXPECTED, WEIGHTS, is_index, shards_of
from slimsam_build.errors import CheckpointError, reason
from slimsam_build.geometry import read_config
from slimsam_build.quiet import quiet_hub

ID: Final = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w][\w./-]*))?")
"""A repository, and where a revision follows, a branch, a tag or a commit of it."""
LOCAL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)
"""Errors of the disk that the cache is on, not of the network."""


def download(repository: str, revision: str | None) -> tuple[Path, str]:
    """Fetch configuration and weights of one commit, or find them in the cache.

    Args:
        repository: OWNER/NAME.
        revision: a branch, a tag or a commit; None takes the main branch.

    Returns:
        The directory, and the commit's hash.

    Raises:
        CheckpointError: they cannot be had.
    """
    name = f"{repository}@{revision}" if revision else repository
    with quiet_hub(), _translated(name, repository):
        config = Path(huggingface_hub.hf_hub_download(repository, CONFIG, revision=revision))
        # The cache keeps each commit in a directory of its name. What follows is of this commit,
        # even if the branch moves on meanwhile.
        commit = config.parent.name
        read_config(config)  # before hundreds of megabytes are fetched for nothing
        for file in WEIGHTS:
            try:
                path = Path(huggingface_hub.hf_hub_download(repository, file, revision=commit))
            except LocalEntryNotFoundError:  # there is no network
                if not _may_do_without(repository, file, commit):
                    raise
                continue
            except RemoteEntryNotFoundError:
                continue
            for shard in shards_of(path) if is_index(path) else ():
                try:
                    huggingface_hub.hf_hub_download(repository, shard, revision=commit)
                except RemoteEntryNotFoundError as error:
                    raise CheckpointError(
                        f"checkpoint {name}: expected all weights that its {file} names, found no "
                        f"{shard} in {repository}; give another revision or repository"
                    ) from error
            return config.parent, commit
    raise CheckpointError(
        f"checkpoint {name}: expected {EXPECTED} in it, found none; "
        "give a repository in Hugging Face format"
    )


def _may_do_without(repository: str, file: str, commit: str) -> bool:
    """Say whether the cache knows that a commit lacks a file of weights, or has another of them."""

    def cached(name: str) -> object:
        return huggingface_hub.try_to_load_from_cache(repository, name, revision=commit)

    known_to_lack_it = cached(file) is huggingface_hub._CACHED_NO_EXIST
    return known_to_lack_it or any(isinstance(cached(name), str) for name in WEIGHTS)


@contextmanager
def _translated(name: str, repository: str) -> Iterator[None]:
    """Turn the hub's errors into ours."""
    try:
        yield
    except GatedRepoError as error:
        raise CheckpointError(
            f"checkpoint {name}: expected a repository that may be read, found a gated one; "
            "accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {name}: expected a branch, a tag or a commit after the @, found none of "
            f"that name in {repository}; check the spelling"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {name}: expected a directory, or a repository of that name on the Hugging "
            "Face hub, found neither; check the spelling, or log in with `hf auth login` if it is "
            "private"
        ) from error
    except RemoteEntryNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {name}: expected a config.json and all weights in it, found them missing; "
            "give a repository in Hugging Face format"
        ) from error
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in LOCAL:
            raise CheckpointError(
                f"checkpoint {name}: expected to write it into the cache of the Hugging Face hub, "
                f"got {reason(error)}; see to space and mode, or set HF_HOME to another directory"
            ) from error
        at = f"{repository} --revision {name.partition('@')[2]}" if "@" in name else repository
        raise CheckpointError(
            f"checkpoint {name}: found no such directory; expected to reach the Hugging Face hub, "
            f"or to find it in its cache, got {type(error).__name__}; fetch it where there is a "
            f"network with `hf download {at} --local-dir DIR` and give DIR"
        ) from error
