"""A request for predictions: which picture, and what was clicked on it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from slimsam_client.image.load import MAX_SIDE
from slimsam_client.quoting import quoted, quoted_value
from slimsam_gateway.label_studio.labeling import Labeling
from slimsam_gateway.problems import LABEL_STUDIO, Problem

KEYPOINT: Final = "keypointlabels"
RECTANGLE: Final = "rectanglelabels"
ROTATION: Final = "image_rotation"


@dataclass(frozen=True)
class Prediction:
    """What is asked for.

    Attributes:
        url: the address of the picture, relative or not.
        size: (height, width) in pixels of the picture as Label Studio shows it.
        points: (x, y) in pixels of `size`.
        labels: 1 for each point of the object, 0 for each of what is around it.
        box: x0, y0, x1, y1 in pixels; None if there is none.
        names: the labels that the mask is to have.
        brush: the name of the tag whose mask it is.
        picture: the name of the picture's tag.
    """

    url: str
    size: tuple[int, int]
    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    box: tuple[float, float, float, float] | None
    names: tuple[str, ...]
    brush: str
    picture: str

    @property
    def prompt(self) -> bytes:
        """The prompt of `slimsam_click`; Label Studio refines no mask by its id."""
        prompt: dict[str, Any] = {"keep_masks": False}
        if self.points:
            prompt |= {"points": self.points, "labels": self.labels}
        if self.box is not None:
            prompt["box"] = self.box
        return json.dumps(prompt).encode()


def read_prediction(body: bytes) -> Prediction | None:
    """Read a request.

    Several keypoints are of one object, and so is a box beside them; of several boxes the last one
    counts, since a prompt has one for each object.

    Returns:
        What is asked for; None if nothing was clicked, as when a task is opened.

    Raises:
        Problem: it is none of Label Studio's.
    """
    try:
        content = json.loads(body)
    except (RecursionError, ValueError) as error:
        raise Problem(
            LABEL_STUDIO, f"body: expected a JSON object, got {quoted(str(error))}"
        ) from None
    context = _object(_object(content, "body").get("params") or {}, "params").get("context")
    regions = [
        region
        for region in _list(_object(context or {}, "context").get("result") or [], "result")
        if _object(region, "result").get("type") in (KEYPOINT, RECTANGLE)
    ]
    if not regions:
        return None
    last = regions[-1]
    size = _size(last)
    picture = _text(last.get("to_name"), "to_name")
    regions = [region for region in regions if region.get("to_name") == picture]
    labeling = Labeling.read(_text(content.get("label_config"), "label_config"))
    tasks = _list(content.get("tasks"), "tasks")
    if len(tasks) != 1:
        raise _unexpected("tasks", "one, whose picture is clicked on", len(tasks))
    data = _object(_object(tasks[0], "task").get("data"), "data")
    name = labeling.field_of(picture)
    url = _text(data.get(name), f"data.{quoted(name)}")
    points, labels, box = [], [], None
    for region in regions:
        value = _object(region.get("value"), "value")
        if region["type"] == KEYPOINT:
            points.append(_pixels(_percent(value, "x"), _percent(value, "y"), size))
            labels.append(_sign(region.get("is_positive", True)))
        else:
            box = _box(value, size)
    return Prediction(
        url,
        size,
        tuple(points),
        tuple(labels),
        box,
        _names(_object(last["value"], "value").get(last["type"])),
        labeling.brush_of(picture),
        picture,
    )


def _size(region: dict[str, Any]) -> tuple[int, int]:
    sides = [region.get(name) for name in ("original_height", "original_width")]
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        raise _unexpected("original_height, original_width", f"both from 1 to {MAX_SIDE:,}", sides)
    # Label Studio turns what it shows, and keeps the coordinates of what it shows then.
    if region.get(ROTATION):
        raise _unexpected(ROTATION, "0", region[ROTATION], "turn the picture back before the click")
    height, width = map(int, sides)  # type: ignore[arg-type]
    return height, width


def _box(value: dict[str, Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Give a rectangle's corners, or those of what encloses it if it is turned."""
    height, width = size
    x, y = _percent(value, "x") * width / 100, _percent(value, "y") * height / 100
    across = _percent(value, "width") * width / 100
    down = _percent(value, "height") * height / 100
    angle = math.radians(_number(value.get("rotation", 0), "rotation"))
    sine, cosine = math.sin(angle), math.cos(angle)
    if angle == 0:
        sine, cosine = 0.0, 1.0
    xs = [x + a * across * cosine - b * down * sine for a in (0, 1) for b in (0, 1)]
    ys = [y + a * across * sine + b * down * cosine for a in (0, 1) for b in (0, 1)]
    return (
        _clipped(min(xs), width),
        _clipped(min(ys), height),
        _clipped(max(xs), width),
        _clipped(max(ys), height),
    )


def _pixels(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    height, width = size
    return _clipped(x * width / 100, width), _clipped(y * height / 100, height)


def _clipped(value: float, most: int) -> float:
    return min(max(value, 0.0), float(most))


def _sign(value: object) -> int:
    """Give a keypoint's label: alt-clicks are not positive."""
    if value not in (True, False):
        raise _unexpected("is_positive", "true or false", value)
    return int(bool(value))


def _names(value: object) -> tuple[str, ...]:
    names = _list(value, "labels")
    if not names or not all(isinstance(name, str) for name in names):
        raise _unexpected("labels", "at least one label", value, "choose a label before the click")
    return tuple(names)


def _percent(value: dict[str, Any], name: str) -> float:
    return _number(value.get(name), name)


def _number(value: object, name: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Integers may have any number of digits.
        if -1e6 <= value <= 1e6:
            return float(value)
    raise _unexpected(name, "a number", value)


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unexpected(name, "a JSON object", value)
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _unexpected(name, "a list", value)
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _unexpected(name, "a text", value)
    return value


def _unexpected(name: str, expected: str, found: object, advice: str = "") -> Problem:
    # An address may be a secret, and is among what stands in the wrong place.
    kind = quoted_value(found) if not isinstance(found, (str, dict)) else type(found).__name__
    detail = f"{name}: expected {expected}, got {kind}"
    return Problem(LABEL_STUDIO, f"{detail}; {advice}" if advice else detail)
