"""A picture of a batch: where it is, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slimsam_client.batch.locations import read
from slimsam_client.batch.parquet_cells import read_cell
from slimsam_client.batch.prompts import Prompts


@dataclass(frozen=True)
class Picture:
    """A picture, and where it is.

    Attributes:
        name: its name in the result; no other picture of the batch has it.
        place: path or URL of the file that it is, or is in.
        span: first byte and bytes of a member of a tar.
        row: row group, row in it, and column, of a Parquet file.
        prompts: its own prompts, if there are any.
    """

    name: str
    place: str
    span: tuple[int, int] | None = None
    row: tuple[int, int, str] | None = None
    prompts: Prompts | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON takes."""
        content: dict[str, Any] = {"name": self.name, "place": self.place}
        if self.span:
            content["span"] = list(self.span)
        if self.row:
            content["row"] = list(self.row)
        if self.prompts is not None:
            content["prompts"] = self.prompts.as_dict()
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Picture:
        """Read what `as_dict` gave."""
        prompts = content.get("prompts")
        return cls(
            content["name"],
            content["place"],
            tuple(content["span"]) if "span" in content else None,
            tuple(content["row"]) if "row" in content else None,
            None if prompts is None else Prompts(**prompts),
        )

    def read(self) -> bytes:
        """Read the encoded picture.

        Raises:
            ImageError: it cannot be read.
            StorageError: its store fails.
        """
        if self.row is not None:
            return read_cell(self.place, *self.row)
        return read(self.place, *(self.span or ()))


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a Parquet file, or of the keys of a webdataset's JSON.

    Attributes:
        image: encoded pictures; a struct of `bytes` and `path`; or paths and URLs.
        name: names of the pictures; None takes `path` of such a struct, or counts the rows.
    """

    image: str = "image"
    name: str | None = None
