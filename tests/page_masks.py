"""The masks that the page is to have, by the SDK."""

from __future__ import annotations

from slimsam_client import Prediction, SlimSam
from slimsam_client.image.load import ImageSource

Click = tuple[tuple[float, float], int]
"""A click is (x, y) in pixels of the picture, and its label: 1 for the object, 0 for the rest."""


def clicked(
    sam: SlimSam, picture: ImageSource, *clicks: Click, seen: int | None = None
) -> Prediction:
    """Click one after the other, as SAM's demo does.

    Args:
        sam: a client.
        picture: the picture.
        clicks: the first has candidates; each further one refines the mask that is seen into one.
        seen: the candidate of the first click that is seen; None for the best.

    Returns:
        What the last click gives.
    """
    embedding = sam.embed(picture)
    points, labels = zip(*clicks, strict=True)
    prediction = sam.predict(embedding, points=points[:1], labels=labels[:1])
    for count in range(2, len(clicks) + 1):
        index = int(prediction.scores.argmax()) if count > 2 or seen is None else seen
        prediction = sam.predict(
            embedding,
            points=points[:count],
            labels=labels[:count],
            mask_input=prediction.low_res_logits[index],
            multimask_output=False,
        )
    return prediction
