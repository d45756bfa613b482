"""What Triton's configurations say of instances, batches and queues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from slimsam_client.contract import CLICK, DECODER, ENCODER, IMAGE, ModelSpec


@dataclass(frozen=True)
class ModelShape:
    """Of one model.

    Attributes:
        instances: batches that are under way at once.
        max_batch: requests in a batch.
        max_queue: requests that may wait; None for any number.
    """

    instances: int
    max_batch: int
    max_queue: int | None


@dataclass(frozen=True)
class ServerShape:
    """Of the models that uploads and clicks go through."""

    image: ModelShape
    encoder: ModelShape
    click: ModelShape
    decoder: ModelShape


def read_shape(repository: Path, target: str) -> ServerShape:
    """Read the configurations of a target."""
    return ServerShape(
        *(_of_model(repository, spec, target) for spec in (IMAGE, ENCODER, CLICK, DECODER))
    )


def _of_model(repository: Path, spec: ModelSpec, target: str) -> ModelShape:
    directory = repository / spec.name
    chosen = directory / "configs" / f"{target}.pbtxt"
    path = chosen if chosen.exists() else directory / "config.pbtxt"
    config = text_format.Parse(path.read_text(), ModelConfig())
    longest = config.dynamic_batching.default_queue_policy.max_queue_size
    return ModelShape(
        sum(group.count or 1 for group in config.instance_group) or 1,
        max(1, config.max_batch_size),
        longest or None,
    )
