"""What X-AnyLabeling asks: its marks, and how closely polygons follow a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from slimsam_client import PromptError
from slimsam_client.quoting import quoted_value
from slimsam_gateway.json_pictures import read, written
from slimsam_gateway.settings import GatewaySettings

MODEL: Final = "slimsam"
"""The id of the one model."""
EPSILON_FACTOR: Final = 0.001
"""Without one in the request: what the slider's usual 10 stands for."""


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        picture: the encoded picture.
        prompt: the prompt of slimsam_click as JSON, for polygons; None if there is no mark.
        epsilon_factor: how far polygons may leave the mask, by their length.
    """

    picture: bytes
    prompt: bytes | None
    epsilon_factor: float

    @classmethod
    def from_json(cls, body: bytes, settings: GatewaySettings) -> Asked:
        """Read a request.

        Raises:
            ImageError: it has no picture, or a longer one than the settings allow.
            PromptError: the rest of it is wrong.
            Problem: it is too long.
        """
        picture, content = read(body, settings)
        model = content.get("model")
        if model != MODEL:
            raise PromptError(f"model: expected {MODEL!r}, got {quoted_value(model)}")
        params = content.get("params") or {}
        if not isinstance(params, dict):
            raise PromptError(f"params: expected an object, got {quoted_value(params)}")
        prompt = prompt_of(params.get("marks") or [])
        return cls(
            picture,
            None if prompt is None else written(prompt, settings.max_prompt_bytes),
            _factor_of(params.get("epsilon_factor")),
        )


def prompt_of(marks: Any) -> dict[str, Any] | None:
    """Give the prompt of marks; None if there are none.

    Points, with or without a rectangle, are of one object; several rectangles without points are
    of an object each.

    Raises:
        PromptError: they are no marks, or several rectangles beside points.
    """
    if not isinstance(marks, list):
        raise PromptError(f"marks: expected a list, got {quoted_value(marks)}")
    points, labels, boxes = [], [], []
    for number, mark in enumerate(marks):
        kind = mark.get("type") if isinstance(mark, dict) else None
        if kind == "point":
            points.append(_numbers(mark, number, 2))
            labels.append(mark.get("label", 1))
        elif kind == "rectangle":
            x0, y0, x1, y1 = _numbers(mark, number, 4)
            # A rectangle has the corner first where the mouse was pressed.
            boxes.append([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)])
        else:
            raise PromptError(
                f"mark {number}: expected a point or a rectangle, got {quoted_value(mark)}"
            )
    if points and len(boxes) > 1:
        raise PromptError(
            f"marks: expected at most one rectangle beside points, got {len(boxes)}; "
            "finish one object, then mark the next"
        )
    prompt: dict[str, Any] = {"format": "polygons"}
    if points:
        prompt.update(points=points, labels=labels)
    if boxes:
        prompt["box"] = boxes if len(boxes) > 1 else boxes[0]
    return prompt if marks else None


def _numbers(mark: dict[str, Any], number: int, count: int) -> list[float]:
    data = mark.get("data")
    if (
        not isinstance(data, list)
        or len(data) != count
        or any(isinstance(one, bool) or not isinstance(one, int | float) for one in data)
    ):
        raise PromptError(
            f"mark {number}: expected data of {count} numbers, got {quoted_value(data)}"
        )
    return data


def _factor_of(value: Any) -> float:
    if value is None:
        return EPSILON_FACTOR
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise PromptError(
            f"epsilon_factor: expected a number from 0 to 1, got {quoted_value(value)}"
        )
    return float(value)
