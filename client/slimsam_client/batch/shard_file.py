"""A shard's result as a file: JSON, or Parquet with a row for each picture."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from slimsam_client.batch.answer import Answer
from slimsam_client.batch.locations import import_parquet
from slimsam_client.batch.plan import Task


def encode_answers(answers: Sequence[Answer], task: Task) -> bytes:
    """Write the answers of a shard; equal ones give equal bytes.

    Raises:
        MissingExtraError: pyarrow is not installed, for Parquet.
    """
    if task.format != "parquet":
        rows = [answer.as_dict() for answer in answers]
        return json.dumps(rows, separators=(",", ":")).encode()
    parquet = import_parquet()
    import pyarrow

    rows = [
        {**answer.as_dict(), "image": _text(answer.image), "error": _text(answer.error)}
        for answer in answers
    ]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, _schema(pyarrow)), file, compression="zstd")
    return file.getvalue()


def decode_answers(content: bytes, task: Task) -> list[Answer]:
    """Read what `encode_answers` wrote."""
    if task.format != "parquet":
        rows: list[dict[str, Any]] = json.loads(content)
    else:
        rows = import_parquet().read_table(io.BytesIO(content)).to_pylist()
    return [Answer.from_dict(row) for row in rows]


def _text(value: str | None) -> str | None:
    """Escape what UTF-8 lacks: an error may name a path whose bytes are no text."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode()


def _schema(pyarrow: Any) -> Any:
    mask = pyarrow.struct(
        [
            ("counts", pyarrow.string()),
            ("area", pyarrow.int64()),
            ("bbox", pyarrow.list_(pyarrow.int32())),
            ("score", pyarrow.float64()),
            ("category_id", pyarrow.int64()),
            ("stability_score", pyarrow.float64()),
        ]
    )
    return pyarrow.schema(
        [
            ("image", pyarrow.string()),
            ("height", pyarrow.int32()),
            ("width", pyarrow.int32()),
            ("error", pyarrow.string()),
            ("masks", pyarrow.list_(mask)),
        ]
    )
