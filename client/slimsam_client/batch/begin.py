"""The beginning of a batch: its plan, by whoever comes first."""

from __future__ import annotations

from typing import Any, Final

from slimsam_client.batch.detections import BESIDE, with_detections
from slimsam_client.batch.locations import same_place
from slimsam_client.batch.pictures import Columns
from slimsam_client.batch.plan import Plan, Task, make_plan
from slimsam_client.batch.sources import find_pictures
from slimsam_client.batch.store import Store
from slimsam_client.errors import SettingsError
from slimsam_client.integrations.coco import CATEGORY

LEASE: Final = 60.0
"""Seconds after which a worker that gives no sign has lost its shard."""


def begin(
    store: Store,
    task: Task,
    digest: str | None,
    *,
    columns: Columns | None = None,
    shards: int | None = None,
    lease: float = LEASE,
    leave_out: str | None = None,
) -> Plan:
    """Make the plan of a batch, or give that of another worker that was first.

    Args:
        store: where the batch lies.
        task: what is computed.
        digest: of the checkpoint that is served; None where the server does not say.
        columns: names of columns of Parquet files.
        shards: how many; one for each 100 pictures if not given.
        lease: seconds after which a worker that gives no sign has lost its shard.
        leave_out: a folder below the source that has no pictures: that of the batch.

    Raises:
        SettingsError: the other worker's task is another, or there are no pictures or prompts.
        ImageError: what lists the pictures or the prompts cannot be read.
        StorageError: a store fails.
    """
    if leave_out is not None and same_place(task.source, leave_out):
        raise SettingsError(f"expected results in another folder than {task.source}, got the same")
    beside = task.prompts == BESIDE
    pictures = find_pictures(task.source, columns or Columns(), beside, leave_out)
    categories: list[dict[str, Any]] = [dict(CATEGORY)]
    if task.prompts is not None:
        pictures, found = with_detections(pictures, task.prompts)
        categories = found or categories
    return make_plan(store, task, pictures, categories, digest, shards, lease)
