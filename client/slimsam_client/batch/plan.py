"""What the workers of a batch agree on: what is computed, and which pictures each shard has."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal, get_args

from slimsam_client.batch.local_store import LocalStore
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.store import Store
from slimsam_client.errors import SettingsError
from slimsam_client.everything import GenerateSettings

PLAN: Final = "plan.json"
PER_SHARD: Final = 100
"""A shard has about so many pictures unless the number of shards is given."""
Format = Literal["coco", "parquet", "png"]


@dataclass(frozen=True)
class Task:
    """What is computed of each picture, and how it is written; every worker is given the same.

    Attributes:
        source: the pictures, as the user named them.
        prompts: the detections, as the user named them; None for everything mode.
        format: what is written.
        settings: settings of everything mode.
        multimask_output: as for `SlimSam.predict`; the mask of the highest score is kept.
    """

    source: str
    prompts: str | None
    format: Format
    settings: GenerateSettings = GenerateSettings()
    multimask_output: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON takes; settings of everything mode only where they matter."""
        content = dataclasses.asdict(self)
        if self.prompts is not None:
            del content["settings"]
        else:
            del content["multimask_output"]
        return content

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise SettingsError(
                f"format: expected {', '.join(get_args(Format))}, got {self.format!r}"
            )


@dataclass(frozen=True)
class Plan:
    """A batch, cut into shards.

    Attributes:
        task: what is computed.
        digest: the digest of the checkpoint that computes it; None where the server does not say.
        starts: index of the first picture of each shard, and the number of pictures.
        folder: where the shards' pictures are listed.
        lease: seconds after which a worker that gives no sign has lost its shard.
        categories: COCO's.
    """

    task: Task
    digest: str | None
    starts: list[int]
    folder: str
    lease: float
    categories: list[dict[str, Any]]

    @property
    def shards(self) -> int:
        """Count the shards."""
        return len(self.starts) - 1

    @property
    def images(self) -> int:
        """Count the pictures."""
        return self.starts[-1]

    def size(self, shard: int) -> int:
        """Count the pictures of a shard."""
        return self.starts[shard + 1] - self.starts[shard]

    def pictures(self, store: Store, shard: int) -> list[Picture]:
        """Read the pictures of a shard."""
        content = json.loads(store.read(f"{self.folder}/{shard_name(shard)}"))
        return [Picture.from_dict(picture) for picture in content]


def shard_name(shard: int) -> str:
    """Give a shard's number as keys have it."""
    return f"{shard:06}"


def result_key(task: Task, shard: int) -> str:
    """Give the key of a shard's result."""
    suffix = "parquet" if task.format == "parquet" else "json"
    return f"results/{shard_name(shard)}.{suffix}"


def read_plan(store: Store, task: Task) -> Plan | None:
    """Read the plan of a batch that has begun; None if it has not.

    Raises:
        SettingsError: it is of another task, or something else.
    """
    try:
        text = store.read(PLAN)
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
        begun = content.pop("task")
        plan = Plan(task, **content)
        _ = plan.shards, plan.images
    except (LookupError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{PLAN}: expected the plan of a batch, got something else ({error!s:.200}); give an "
            "empty folder to write to"
        ) from error
    if begun != task.as_dict():
        differ = sorted(
            name
            for name in {*begun, *task.as_dict()}
            if begun.get(name) != task.as_dict().get(name)
        )
        raise SettingsError(
            f"expected the batch that was begun in this folder, got one of another "
            f"{', '.join(differ)}; give another folder, or the same command as before"
        )
    return plan


def make_plan(
    store: Store,
    task: Task,
    pictures: Sequence[Picture],
    categories: list[dict[str, Any]],
    digest: str | None,
    shards: int | None,
    lease: float,
) -> Plan:
    """Cut a batch into shards, unless another worker has done so meanwhile; give what holds.

    Args:
        store: where the batch lies.
        task: what is computed.
        pictures: the pictures.
        categories: COCO's.
        digest: of the checkpoint that is served.
        shards: how many; one for each 100 pictures if not given.
        lease: seconds.

    Raises:
        SettingsError: a name cannot be that of a PNG or in Parquet, or the other worker's task is
            another.
    """
    for picture in pictures:
        if task.format == "png":
            check_name(picture.name)
        # A folder keeps names that are no text, and so does JSON.
        if task.format == "parquet" or (task.format == "png" and not isinstance(store, LocalStore)):
            check_text(picture.name)
    count = min(shards or -(-len(pictures) // PER_SHARD), len(pictures))
    starts = [len(pictures) * shard // count for shard in range(count + 1)]
    texts = [
        json.dumps([picture.as_dict() for picture in pictures[start:end]]).encode()
        for start, end in zip(starts, starts[1:], strict=False)
    ]
    # Lists of another content, of a worker that saw other files, do not get in the way.
    digest_of_lists = hashlib.sha256(b"\n".join(texts)).hexdigest()[:16]
    folder = f"plan/{digest_of_lists}"
    for shard, text in enumerate(texts):
        store.create(f"{folder}/{shard_name(shard)}", text)
    content = {
        "task": task.as_dict(),
        "digest": digest,
        "starts": starts,
        "folder": folder,
        "lease": lease,
        "categories": categories,
    }
    store.create(PLAN, json.dumps(content).encode())
    plan = read_plan(store, task)
    assert plan is not None
    return plan


def check_name(name: str) -> None:
    """Refuse a picture's name that leads out of the folder when it is joined to it.

    Raises:
        SettingsError: it does.
    """
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or "://" in name
    if leads_out or not path.name or "\0" in name:
        raise SettingsError(
            f"expected names of pictures below a folder, for PNGs to lie in, got {name!r:.200}; "
            "coco and parquet take any"
        )


def check_text(name: str) -> None:
    """Refuse a picture's name that is no text: bytes of a file's name that are not UTF-8.

    Raises:
        SettingsError: it is none.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"expected names of pictures in UTF-8, as Parquet and object stores hold them, got "
            f"{name!r:.200}; rename it, or have the format coco, which takes any"
        ) from error
