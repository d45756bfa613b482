"""The pictures of a batch, found in folders, lists, tars and Parquet files."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from slimsam_client.batch.locations import (
    absolute,
    file_system,
    files_below,
    is_url,
    local_path,
    read,
)
from slimsam_client.batch.parquet_pictures import parquet_pictures
from slimsam_client.batch.pictures import Columns, Picture
from slimsam_client.batch.retrying import patiently
from slimsam_client.batch.tar_pictures import tar_pictures
from slimsam_client.errors import ImageError, SettingsError
from slimsam_client.image.suffixes import IMAGE_SUFFIXES

LISTS = (".lst", ".txt")
TARS = (".tar",)
PARQUETS = (".parquet", ".pq")


def find_pictures(
    source: str, columns: Columns, with_prompts: bool, leave_out: str | None = None
) -> list[Picture]:
    """List the pictures of a source, in its order, each by its absolute path or URL.

    Args:
        source: path or URL of a folder, a list file, a tar, a Parquet file or a picture; or a
            pattern with * of such files.
        columns: names of columns.
        with_prompts: whether prompts beside the pictures are read, too.
        leave_out: a folder that is not looked into.

    Raises:
        SettingsError: there is none, or two have the same name.
        ImageError: a list, a tar or a Parquet file cannot be read.
    """
    found: list[Picture] = []
    for name, place in _files(source, leave_out):
        found += _of_file(name, place, columns, with_prompts)
    if not found:
        raise SettingsError(
            f"{source}: expected pictures ({', '.join(IMAGE_SUFFIXES)}), or .tar or .parquet files "
            "of some, found none"
        )
    names: set[str] = set()
    for picture in found:
        if picture.name in names:
            raise SettingsError(
                f"{source}: expected pictures of different names, got two of {picture.name!r:.200}"
            )
        names.add(picture.name)
    return [replace(picture, place=absolute(picture.place)) for picture in found]


def _files(source: str, leave_out: str | None) -> Iterator[tuple[str, str]]:
    """Names, which are empty for a source that is one file, and places."""
    suffixes = (*IMAGE_SUFFIXES, *TARS, *PARQUETS)
    if "*" in source:
        places = _matches(source)
        start = source[: source.index("*")].rpartition("/")[0]
        for place in places:
            yield place.removeprefix(start).lstrip("/"), place
    elif source.lower().endswith(LISTS):
        yield from _listed(source)
    elif source.lower().endswith(suffixes) and not (
        not is_url(source) and Path(local_path(source)).is_dir()
    ):
        name = source.rpartition("/")[2]
        yield (name if name.lower().endswith(IMAGE_SUFFIXES) else ""), source
    else:
        folder = source.rstrip("/") or "/"
        try:
            below = files_below(folder, leave_out=leave_out)
        except FileNotFoundError as error:
            raise SettingsError(f"{source}: expected a folder, found none") from error
        for name in below:
            if name.lower().endswith(suffixes):
                yield name, f"{folder}/{name}"


def _matches(pattern: str) -> list[str]:
    if not is_url(pattern):
        return sorted(glob.glob(local_path(pattern), recursive=True))
    system, path = file_system(pattern)
    protocol = pattern.partition("://")[0]
    return sorted(f"{protocol}://{found}" for found in patiently(lambda: system.glob(path), path))


def _listed(source: str) -> Iterator[tuple[str, str]]:
    """The lines of a list: paths relative to its folder, or URLs."""
    folder = source.rpartition("/")[0]
    try:
        lines = read(source).decode().splitlines()
    except UnicodeDecodeError as error:
        raise ImageError(f"{source}: expected a list of paths in UTF-8, got others") from error
    for line in filter(None, map(str.strip, lines)):
        absolute = is_url(line) or line.startswith("/") or not folder
        yield line, line if absolute else f"{folder}/{line}"


def _of_file(name: str, place: str, columns: Columns, with_prompts: bool) -> list[Picture]:
    suffix = place.lower()
    if suffix.endswith(TARS):
        found = tar_pictures(place, with_prompts)
    elif suffix.endswith(PARQUETS):
        found = parquet_pictures(place, columns, with_prompts)
    else:
        return [Picture(name, place)]
    return [replace(picture, name=f"{name}/{picture.name}" if name else picture.name)
            for picture in found]  # fmt: skip
