"""What a labeling configuration says: which picture, and which brush the masks are of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from xml.parsers.expat import ExpatError, ParserCreate

from slimsam_client.quoting import quoted, quoted_value
from slimsam_gateway.problems import LABEL_STUDIO, Problem

MAX_CHARACTERS: Final = 2**20


@dataclass(frozen=True)
class Labeling:
    """The tags of a configuration that matter here.

    Attributes:
        pictures: the names of Image tags, and the field of a task that each shows.
        brushes: the names of what BrushLabels tags are for, and of the tags.
    """

    pictures: dict[str, str] = field(default_factory=dict)
    brushes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Labeling:
        """Read a configuration.

        Raises:
            Problem: it is none.
        """
        if len(text) > MAX_CHARACTERS:
            raise Problem(
                LABEL_STUDIO,
                f"label_config: expected at most {MAX_CHARACTERS:,} characters, got {len(text):,}",
            )
        labeling = cls()
        parser = ParserCreate()
        parser.StartElementHandler = labeling._see
        # Without one there are no entities, whose expansion may take any time.
        parser.StartDoctypeDeclHandler = _refuse
        try:
            parser.Parse(text, True)
        except (ExpatError, UnicodeError) as error:
            raise Problem(
                LABEL_STUDIO, f"label_config: expected XML, got {quoted(str(error))}"
            ) from None
        return labeling

    def field_of(self, name: str) -> str:
        """Give the field of a task that has a picture's address.

        Raises:
            Problem: there is no such picture.
        """
        value = self.pictures.get(name, "")
        if not value.startswith("$"):
            raise Problem(
                LABEL_STUDIO,
                f"label_config: expected an Image tag of the name {quoted_value(name)} and a value "
                f"such as $image, got {quoted_value(value) if value else 'none'}",
            )
        return value[1:]

    def brush_of(self, name: str) -> str:
        """Give the name of the BrushLabels tag for a picture.

        Raises:
            Problem: there is none.
        """
        if name not in self.brushes:
            raise Problem(
                LABEL_STUDIO,
                f"label_config: expected a BrushLabels tag whose toName is {quoted_value(name)}, "
                f"for the masks, got none; {LABEL_STUDIO.advice}",
            )
        return self.brushes[name]

    def _see(self, tag: str, attributes: dict[str, str]) -> None:
        name = attributes.get("name", "")
        if tag == "Image":
            self.pictures[name] = attributes.get("value", "")
        elif tag == "BrushLabels":
            self.brushes.setdefault(attributes.get("toName", ""), name)


def _refuse(*_: object) -> None:
    raise Problem(LABEL_STUDIO, "label_config: expected no DOCTYPE, got one")
