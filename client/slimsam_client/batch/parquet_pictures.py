"""Pictures in a column of a Parquet file, or paths of pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slimsam_client.batch.columns import NAMES, prompts_of_columns
from slimsam_client.batch.locations import is_url, open_file
from slimsam_client.batch.parquet_cells import open_parquet, whole_parquet
from slimsam_client.batch.pictures import Columns, Picture
from slimsam_client.errors import ImageError


def parquet_pictures(place: str, columns: Columns, with_prompts: bool) -> list[Picture]:
    """List the pictures of a Parquet file; the pictures themselves are not read.

    Args:
        place: path or URL of the file.
        columns: names of its columns.
        with_prompts: whether to read the columns of prompts, too.

    Raises:
        ImageError: it is no Parquet file, is damaged, or has no such columns.
    """
    found: list[Picture] = []
    with open_file(place) as file:
        opened = open_parquet(file, place)
        schema = opened.schema_arrow
        kind = _kind(schema, columns, place)
        wanted = [columns.name] if columns.name else []
        if kind == "path":
            wanted.append(columns.image)
        elif kind == "struct" and not columns.name:
            wanted.append(f"{columns.image}.path")
        if with_prompts:
            wanted += [name for name in NAMES if name in schema.names]
        count = 0
        for group in range(opened.num_row_groups):
            size = opened.metadata.row_group(group).num_rows
            with whole_parquet(place):
                rows = opened.read_row_group(group, wanted).to_pylist() if wanted else [{}] * size
            for index, row in enumerate(rows):
                found.append(_picture(place, columns, kind, row, (group, index), count))
                count += 1
                if with_prompts:
                    found[-1] = _with_prompts(found[-1], row)
    return found


def _kind(schema: Any, columns: Columns, place: str) -> str:
    for name in filter(None, (columns.image, columns.name)):
        if name not in schema.names:
            raise ImageError(
                f"{place}: expected a column {name}, got {', '.join(schema.names)}; "
                "--image-column and --name-column name others"
            )
    kind = str(schema.field(columns.image).type)
    if "binary" in kind and not kind.startswith(("struct", "list")):
        return "bytes"
    if kind.startswith("struct") and "bytes: " in kind:
        return "struct"
    if "string" in kind and not kind.startswith(("struct", "list")):
        return "path"
    raise ImageError(
        f"{place}: expected encoded pictures or paths in {columns.image}, got {kind:.200}"
    )


def _picture(
    place: str, columns: Columns, kind: str, row: dict[str, Any], at: tuple[int, int], count: int
) -> Picture:
    cell = row.get(columns.image)
    name = row.get(columns.name) if columns.name else None
    if name is None and kind == "struct" and cell:
        name = cell.get("path")
    if kind == "path":
        path = str(cell)
        folder = place.rpartition("/")[0]
        absolute = is_url(path) or path.startswith("/") or not folder
        return Picture(str(name or path), path if absolute else f"{folder}/{path}")
    return Picture(str(name or f"{count:09}"), place, row=(*at, columns.image))


def _with_prompts(picture: Picture, row: dict[str, Any]) -> Picture:
    try:
        return replace(picture, prompts=prompts_of_columns(row))
    except (TypeError, ValueError) as error:
        raise ImageError(f"{picture.place}: {picture.name!r:.200}: {error}") from error
