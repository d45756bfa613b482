"""Pictures in a tar, as webdataset has them: `a.jpg` and `a.json`, of one key, are a sample."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from typing import Any

from slimsam_client.batch.columns import prompts_of_columns
from slimsam_client.batch.locations import open_file
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.prompts import Prompts
from slimsam_client.errors import ImageError
from slimsam_client.image.suffixes import IMAGE_SUFFIXES

MAX_JSON = 2**24
"""The JSON of a sample has at most so many bytes."""


def tar_pictures(place: str, with_prompts: bool) -> list[Picture]:
    """List the pictures of a tar that is not compressed, by their members' places in the file.

    Args:
        place: path or URL of the tar; it is read through once.
        with_prompts: whether to read prompts from the JSON of each sample, by the same names as
            Parquet's columns.

    Raises:
        ImageError: it is no tar, or the JSON of a sample is none.
    """
    found: list[Picture] = []
    prompts: dict[str, Prompts] = {}
    with open_file(place) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    key, _, suffix = member.name.rpartition(".")
                    if not member.isreg():
                        continue
                    if f".{suffix}".lower() in IMAGE_SUFFIXES:
                        found.append(Picture(member.name, place, (member.offset_data, member.size)))
                    elif with_prompts and suffix == "json":
                        content = archive.extractfile(member)
                        assert content is not None
                        given = _sample(content.read(MAX_JSON), f"{place}: {member.name}")
                        prompts[key] = given
        except ImageError:
            raise
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise ImageError(
                f"{place}: expected a tar that is not compressed, got {error}"
            ) from error
    return [
        replace(picture, prompts=prompts.get(picture.name.rpartition(".")[0])) for picture in found
    ]


def _sample(text: bytes, name: str) -> Prompts:
    try:
        content: dict[str, Any] = json.loads(text)
        return prompts_of_columns(content)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ImageError(
            f"{name}: expected a JSON object with boxes or points, got something else "
            f"({error!s:.200})"
        ) from error
