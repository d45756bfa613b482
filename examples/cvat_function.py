"""Functions of CVAT for `cvat-cli`: masks from clicks and boxes, or of all that is in a picture.

With CVAT Online or Enterprise, an agent answers the clicks of the page:

cvat-cli function create-native SlimSAM --function-file examples/cvat_function.py
cvat-cli function run-agent 7 --function-file examples/cvat_function.py -p url=str:localhost:8001

With any CVAT, all pictures of a task get the masks of everything in them, with one label:

cvat-cli task auto-annotate 1 --function-file examples/cvat_function.py \
    -p kind=str:everything -p label=str:object -p url=str:localhost:8001
"""

from __future__ import annotations

from collections.abc import Sequence

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk import models
from cvat_sdk.masks import encode_mask

from slimsam_client import Embedding, GenerateSettings, SlimSam
from slimsam_client.encodings import to_polygons


class Clicks:
    """A mask from points and a box; the agent keeps the embedding of a picture for a while."""

    spec = cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def __init__(self, sam: SlimSam) -> None:
        self._sam = sam

    def preprocess_image(
        self, context: cvataa.InteractionFunctionContext, image: PIL.Image.Image
    ) -> Embedding:
        """Encode a picture; the agent keeps what this gives."""
        return self._sam.embed(image)

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: Embedding,
        prompts: cvataa.InteractionPrompts,
    ) -> list[cvataa.InteractionResultShape]:
        """Give the best mask; none where it is empty."""
        points = [*prompts.pos_points, *prompts.neg_points]
        labels = [1] * len(prompts.pos_points) + [0] * len(prompts.neg_points)
        box = None
        if prompts.bounding_box is not None:
            (x0, y0), (x1, y1) = prompts.bounding_box
            box = [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]
        prediction = self._sam.predict(
            pp_image, points=points or None, labels=labels or None, box=box
        )
        mask, score = prediction.best_masks, float(prediction.best_scores)
        if not mask.any():
            return []
        confidence = models.AttributeValRequest(
            spec_id=int(cvataa.InteractionResultAttributes.CONFIDENCE),
            # The model's estimate may be a little outside what CVAT takes.
            value=str(min(max(score, 0.0), 1.0)),
        )
        return [
            cvataa.InteractionResultShape(
                type="mask", points=encode_mask(mask), attributes=[confidence]
            )
        ]


class Everything:
    """Masks of all that is in a picture, as shapes of one label."""

    def __init__(self, sam: SlimSam, label: str, settings: GenerateSettings) -> None:
        self._sam, self._settings = sam, settings
        self.spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec(label, 0)])

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> Sequence[cvataa.DetectionAnnotation]:
        """Give a shape for each mask, or, as polygons, for each of its parts."""
        shapes = []
        for record in self._sam.generate(image, self._settings):
            if record.predicted_iou < (context.conf_threshold or 0):
                continue
            mask = record.segmentation
            if not context.conv_mask_to_poly:
                shapes.append(cvataa.mask(0, encode_mask(mask)))
                continue
            # A polygon of CVAT has no holes.
            for outer, *_ in to_polygons(mask):
                shapes.append(cvataa.polygon(0, outer.ravel().astype(float).tolist()))
        return shapes


def create(
    url: str = "localhost:8001",
    kind: str = "clicks",
    label: str = "object",
    points_per_side: int = 32,
) -> Clicks | Everything:
    """Make a function.

    Args:
        url: host:port of the server's gRPC service.
        kind: "clicks" or "everything".
        label: the task's label that shapes of everything get.
        points_per_side: of the grid of everything mode.

    Raises:
        ValueError: the kind is another.
    """
    if kind == "clicks":
        return Clicks(SlimSam(url))
    if kind == "everything":
        return Everything(SlimSam(url), label, GenerateSettings(points_per_side=points_per_side))
    raise ValueError(f"kind: expected 'clicks' or 'everything', got {kind!r}")
