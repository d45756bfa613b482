"""Prompts from a Parquet file of their own: a row for each picture, or for each box."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

from slimsam_client.batch.columns import NAMES, prompts_of_columns
from slimsam_client.batch.locations import import_parquet, open_file
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.prompts import Prompts, join_prompts
from slimsam_client.errors import SettingsError

IMAGE: Final = "image"
"""This column has the pictures' names."""


def parquet_prompts(source: str) -> Callable[[Picture], Prompts | None]:
    """Read the prompts of pictures by their names; several rows of one picture are put together.

    Args:
        source: path or URL of the file, with `image` and the columns of `columns.NAMES`.

    Raises:
        SettingsError: it has no such columns, or values of other shapes.
        ImageError: it cannot be read.
    """
    parquet = import_parquet()
    rows: dict[str, list[Prompts]] = defaultdict(list)
    with open_file(source) as file:
        try:
            opened = parquet.ParquetFile(file)
            names = opened.schema_arrow.names
            if IMAGE not in names:
                raise ValueError(f"no column {IMAGE}")
            wanted = [IMAGE, *(name for name in NAMES if name in names)]
            for batch in opened.iter_batches(columns=wanted):
                for row in batch.to_pylist():
                    rows[str(row[IMAGE])].append(prompts_of_columns(row))
            joined = {name: join_prompts(parts) for name, parts in rows.items()}
        except (OSError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{source}: expected Parquet with the columns {IMAGE} and {', '.join(NAMES)}, got "
                f"something else ({error!s:.200})"
            ) from error

    def prompts_of(picture: Picture) -> Prompts | None:
        return joined.get(picture.name)

    return prompts_of
