"""Settings of everything mode, with SAM's names and defaults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slimsam_client.contract import MAX_PROMPTS
from slimsam_client.errors import SettingsError
from slimsam_client.numeric import as_integer, as_number
from slimsam_client.quoting import quoted, quoted_value


def _setting(default: float, low: float, high: float, text: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "text": text})


@dataclass(frozen=True)
class GenerateSettings:
    """Settings of everything mode (segment-anything, `SamAutomaticMaskGenerator`).

    Numbers may be of any numeric type, NumPy's too; they are kept as int and float.

    Attributes:
        points_per_side: points along each side of the grid, 1 to 256; 32 gives 1024 points.
        points_per_batch: points in one request, 1 to 64 as in SAM; of more than the contract's 16,
            16 are taken.
        pred_iou_thresh: masks with a lower predicted IoU are dropped, 0 to 1; 0 keeps all.
        stability_score_thresh: masks with a lower stability score are dropped, 0 to 1; 0 keeps all.
        stability_score_offset: how far the threshold is moved for the stability score, in logits.
        box_nms_thresh: box IoU above which the mask of lower predicted IoU is dropped, 0 to 1.
        crop_n_layers: layer i runs again on 4**i crops of the image, 0 to 4.
        crop_nms_thresh: box IoU above which the mask of the larger crop is dropped, 0 to 1.
        crop_overlap_ratio: by how much of the image's short side crops overlap, 0 to 1; later
            layers by less.
        crop_n_points_downscale_factor: points_per_side of layer i is divided by its i-th power.
        min_mask_region_area: holes and separate regions with fewer pixels are removed; 0 keeps
            them. Needs scipy: `pip install slimsam-client[regions]`.
    """

    points_per_side: int = _setting(32, 1, 256, "points along each side of the grid")
    points_per_batch: int = _setting(
        MAX_PROMPTS, 1, 64, f"points in one request, {MAX_PROMPTS} at most"
    )
    pred_iou_thresh: float = _setting(0.88, 0, 1, "least predicted IoU of a mask")
    stability_score_thresh: float = _setting(0.95, 0, 1, "least stability score of a mask")
    stability_score_offset: float = _setting(
        1.0, 0, 100, "logits by which the threshold moves for the stability score"
    )
    box_nms_thresh: float = _setting(0.7, 0, 1, "box IoU above which two masks are one")
    crop_n_layers: int = _setting(0, 0, 4, "layers of crops; layer i has 4**i")
    crop_nms_thresh: float = _setting(
        0.7, 0, 1, "box IoU above which two masks of different crops are one"
    )
    crop_overlap_ratio: float = _setting(
        512 / 1500, 0, 1, "share of the short side by which crops overlap"
    )
    crop_n_points_downscale_factor: int = _setting(
        1, 1, 256, "divides points_per_side from layer to layer"
    )
    min_mask_region_area: int = _setting(
        0, 0, 2**31, "pixels below which holes and islands are removed"
    )

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            value = getattr(self, setting.name)
            whole = isinstance(setting.default, int)
            number = as_integer(value) if whole else as_number(value)
            low, high = setting.metadata["low"], setting.metadata["high"]
            if number is None or not low <= number <= high:
                kind = "an integer" if whole else "a number"
                raise SettingsError(
                    f"{setting.name}: expected {kind} within {low}..{high}, "
                    f"got {quoted_value(value)}"
                )
            object.__setattr__(self, setting.name, number)  # JSON takes no other numeric types

    @property
    def points_per_request(self) -> int:
        """`points_per_batch`, within the contract's limit."""
        return min(self.points_per_batch, MAX_PROMPTS)

    def side_of_layer(self, layer: int) -> int:
        """Give how many points the grid of a layer's crops has along each side."""
        divisor: int = self.crop_n_points_downscale_factor**layer
        return max(self.points_per_side // divisor, 1)

    def to_json(self) -> str:
        """Write the settings as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> GenerateSettings:
        """Read settings from a JSON object; those that it does not name keep their defaults.

        Raises:
            SettingsError: it is no JSON object, or a name or a value is wrong.
        """
        try:
            content = json.loads(text)
        except (RecursionError, ValueError) as error:
            raise SettingsError(f"settings: expected a JSON object, got {error}") from error
        if not isinstance(content, Mapping):
            raise SettingsError(f"settings: expected a JSON object, got {type(content).__name__}")
        known = [setting.name for setting in dataclasses.fields(cls)]
        if unknown := sorted(set(content) - set(known)):
            found = quoted(", ".join(map(repr, unknown)))
            raise SettingsError(f"settings: expected {', '.join(known)}; got {found}")
        return cls(**content)
